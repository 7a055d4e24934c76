"""Types that read the values of options."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dseg.errors import DsegError
from dseg.registry import find_model

PRECISIONS = ("fp32", "auto", "bf16", "fp16", "int8")
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
    "entropy": "entropy",
    "coco": "coco",
    "areas": "areas",
    "video": "video",
}


class ModelName(click.ParamType):  # type: ignore[type-arg]  # not generic in older clicks
    """Name of a network, in any case and with ``-`` or ``_``."""

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
    """Names of result folders, separated by commas; ``mask:`` is followed by class names."""

    name = "kinds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        kinds: list[str] = []
        in_masks = False  # class names follow until the name of a kind
        for word in (word.strip() for word in str(value).split(",")):
            name = word.lower().replace("-", "_")
            if name.startswith("mask:") and len(name) > len("mask:"):
                in_masks = True
                kinds.append(f"mask:{word[len('mask:') :]}")
            elif name in KIND_NAMES:
                in_masks = False
                kinds.append(KIND_NAMES[name])
            elif in_masks and word:
                kinds.append(f"mask:{word}")
            else:
                names = ", ".join([*sorted(KIND_NAMES), "mask:CLASS"])
                self.fail(f"{word!r} is not one of {names}.", param, ctx)
        return tuple(dict.fromkeys(kinds))


class ImageSize(click.ParamType):  # type: ignore[type-arg]  # not generic in older clicks
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


class SizeOrDynamic(ImageSize):
    """``HxW``, or ``dynamic`` for any size, which is None."""

    def convert(  # type: ignore[override]
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int] | None:
        return None if value == "dynamic" else super().convert(value, param, ctx)


class Number(click.FloatRange):
    """A finite number within limits."""

    name = "number"

    def _describe_range(self) -> str:
        """Return the limits for the help, without those that there are not."""
        return "" if self.min is None and self.max is None else super()._describe_range()

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        return _finite(self, float(super().convert(value, param, ctx)), value, param, ctx)


def _finite(
    kind: click.ParamType[Any],
    number: float,
    value: Any,
    param: click.Parameter | None,
    ctx: click.Context | None,
) -> float:
    """Return a number that was read from ``value``; a NaN or an infinity is a usage error."""
    if not math.isfinite(number):
        kind.fail(f"{value!r} is not a finite number.", param, ctx)
    return number


class Fraction(click.ParamType):  # type: ignore[type-arg]  # not generic in older clicks
    """A number such as ``0.25`` or ``1/3``."""

    name = "fraction"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        upper, slash, lower = str(value).partition("/")
        try:
            number = float(upper) / (float(lower) if slash else 1.0)
        except (ValueError, ZeroDivisionError):
            self.fail(f"{value!r} is not a fraction like 0.25 or 1/3.", param, ctx)
        return _finite(self, number, value, param, ctx)


FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(path_type=Path)


class PathText(click.Path):
    """A path as text, as it is written to files."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(Path(os.fsdecode(super().convert(value, param, ctx))))


def file_type(*, folder: bool, as_text: bool) -> click.Path:
    """Return the type of a path: a ``Path``, or its text."""
    if as_text:
        return PathText(file_okay=not folder)
    return FOLDER if folder else FILE


class Scales(click.ParamType):  # type: ignore[type-arg]  # not generic in older clicks
    """Numbers separated by commas."""

    name = "scales"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            scales = tuple(float(word) for word in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of scales like 0.5,1,1.5.", param, ctx)
        return tuple(_finite(self, scale, value, param, ctx) for scale in scales)


class Precision(click.ParamType):  # type: ignore[type-arg]  # not generic in older clicks
    """Name of a precision; ``off`` is the older name of fp32."""

    name = "precision"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        found = {"off": "fp32", "float32": "fp32"}.get(value.lower(), value.lower())
        if found not in PRECISIONS:
            self.fail(f"{value!r} is not one of {', '.join(PRECISIONS)}.", param, ctx)
        return found


class DatasetName(click.ParamType):  # type: ignore[type-arg]  # not generic in older clicks
    """Name of a data set, in any case."""

    name = "data set"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from dseg.datasets import find_dataset_name

        try:
            return find_dataset_name(value)
        except DsegError as fault:
            self.fail(f"{fault.problem} {fault.hint[0].upper()}{fault.hint[1:]}", param, ctx)
