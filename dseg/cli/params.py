"""Options that several commands share, and the types that read their values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dseg.errors import EXIT_FAILED_INPUTS, DsegError
from dseg.registry import find_model

Command = Callable[..., Any]
Option = Callable[[Command], Command]

KIND_NAMES = {
    "label_ids": "label_ids",
    "ids": "label_ids",
    "train_ids": "train_ids",
    "color": "color",
    "colour": "color",
    "overlay": "overlay",
    "confidence": "confidence",
    "conf": "confidence",
}


class ModelName(click.ParamType):  # type: ignore[type-arg]  # not generic in older clicks
    """A network of the table, in any case and spelling of ``-`` and ``_``."""

    name = "network"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return find_model(value)
        except DsegError as fault:
            self.fail(f"{fault.problem} {fault.hint[0].upper()}{fault.hint[1:]}", param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        from click.shell_completion import CompletionItem

        from dseg.registry import MODELS, plain_name

        return [
            CompletionItem(n) for n in MODELS if plain_name(n).startswith(plain_name(incomplete))
        ]


class Kinds(click.ParamType):  # type: ignore[type-arg]  # not generic in older clicks
    """Kinds of results, separated by commas."""

    name = "kinds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        words = [word.strip().lower().replace("-", "_") for word in str(value).split(",")]
        for word in words:
            if word not in KIND_NAMES:
                self.fail(f"{word!r} is none of {', '.join(sorted(KIND_NAMES))}.", param, ctx)
        return tuple(dict.fromkeys(KIND_NAMES[word] for word in words))


class TileSize(click.ParamType):  # type: ignore[type-arg]  # not generic in older clicks
    """``HxW``, or one number for a square."""

    name = "HxW"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        sides = str(value).lower().split("x")
        if not 1 <= len(sides) <= 2 or not all(side.isdecimal() for side in sides):
            self.fail(f"{value!r} is not a size like 1024x2048 (height x width).", param, ctx)
        return int(sides[0]), int(sides[-1])


class Share(click.ParamType):  # type: ignore[type-arg]  # not generic in older clicks
    """A number such as ``0.25`` or ``1/3``."""

    name = "fraction"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        upper, slash, lower = str(value).partition("/")
        try:
            return float(upper) / (float(lower) if slash else 1.0)
        except (ValueError, ZeroDivisionError):
            self.fail(f"{value!r} is not a fraction like 0.25 or 1/3.", param, ctx)


FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(path_type=Path)


def json_option(what: str) -> Option:
    """``--json FILE``: write ``what`` as strict JSON, ``-`` for stdout."""
    return click.option(
        "--json",
        "json_file",
        type=FILE,
        metavar="FILE",
        help=f"Write {what} as JSON, '-' for stdout.",
    )


def workers_option(what: str) -> Option:
    """``--workers N``: processes or threads, by default one a core."""
    return click.option(
        "-j", "--workers", type=click.IntRange(min=1), default=None, metavar="N", help=what
    )


device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda[:N]|mps",
    help="Where the network is.",
)

amp_option = click.option(
    "--amp",
    type=click.Choice(["off", "auto", "bf16", "fp16"]),
    default="off",
    show_default=True,
    help="Reduced precision within the network.",
)

accept_lossy_option = click.option(
    "--accept-lossy",
    is_flag=True,
    help="Read masks that JPEG or another lossy compression may have changed.",
)

quiet_option = click.option("-q", "--quiet", is_flag=True, help="No progress, only the result.")


def write_json(target: Path, value: object) -> None:
    """Write strict JSON (a NaN is an error) to a file or, for ``-``, to stdout.

    Stdout may have any encoding, so what goes there is ASCII.
    """
    import json

    to_stdout = str(target) == "-"
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=to_stdout) + "\n"
    write_text(target, text)


def write_text(target: Path, text: str) -> None:
    """Write a text to a file, to stdout for ``-``, or to a device or pipe that the path names.

    Raises:
        DsegError: it cannot be written.
    """
    if str(target) == "-":
        click.echo(text, nl=False)
        return
    # a name that is not UTF-8 has lone surrogates, whose backslash form is JSON too
    data = text.encode(errors="backslashreplace")
    if target.exists() and not target.is_file() and not target.is_dir():
        try:
            target.write_bytes(data)  # which is not to be replaced by a file
        except OSError as fault:
            raise DsegError(
                f"{target} cannot be written: {fault.strerror}.",
                hint="name a file.",
                exit_code=EXIT_FAILED_INPUTS,
            ) from fault
        return
    from dseg.files import written_whole

    with written_whole(target) as part:
        part.write_bytes(data)
