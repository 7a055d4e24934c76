"""What infer and multiscale-infer share: their options, and one run over images."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dseg.cli.console import say
from dseg.cli.options.network import (
    INPUT_OPTIONS,
    NetworkOptions,
    inplace_option,
    model_option,
    partial_option,
    raw_option,
    weights_option,
)
from dseg.cli.options.shared import amp_option, device_option, json_option, quiet_option
from dseg.cli.options.types import FILE, FOLDER, Command, Kinds, Option
from dseg.cli.output import write_json
from dseg.cli.summary import make_facts, say_summary, sharded_progress
from dseg.errors import EXIT_FAILED_INPUTS, DsegError

if TYPE_CHECKING:
    from dseg.predict import ImageFile

PREDICT_OPTIONS: tuple[Option, ...] = (
    click.argument("sources", metavar="[SOURCE]...", nargs=-1),
    click.option("--img-dir", type=FILE, metavar="DIR", help="A folder of images, as a SOURCE."),
    model_option,
    weights_option,
    click.option(
        *("-o", "--out"),
        type=FOLDER,
        metavar="DIR",
        default=Path("dseg-out"),
        show_default=True,
        help="Where results go, one sub-folder for each kind.",
    ),
    click.option(
        "--save",
        "kinds",
        type=Kinds(),
        default="label_ids,color,overlay",
        show_default=True,
        help="Of label_ids, train_ids, color, overlay, confidence.",
    ),
    click.option(
        "--overlay-format",
        type=click.Choice(["png", "jpg"]),
        default="png",
        show_default=True,
        help="jpg is faster and smaller.",
    ),
    *INPUT_OPTIONS,
    device_option,
    amp_option,
    click.option(
        "--batch-size",
        type=click.IntRange(1, 256),
        metavar="N",
        help="Images of one size that are labelled at once, unless in tiles.  [default: 1 on the "
        "CPU, on CUDA as many as have 4 megapixels, at most 16]",
    ),
    click.option(
        "--compile",
        "compiled",
        is_flag=True,
        help="Compile the network (torch.compile): worth its minutes for many images of one size.",
    ),
    click.option("--overwrite", is_flag=True, help="Make again what is there already."),
    partial_option,
    inplace_option,
    raw_option,
    click.option(
        "--max-pixels",
        type=click.IntRange(min=1),
        metavar="N",
        default=200_000_000,
        show_default=True,
        help="Refuse images of more pixels, before they are decoded.",
    ),
    json_option("what was done"),
    quiet_option,
)
OPTION_ALIASES = {  # the authors' and other tools' spellings, so that old command lines work
    "--img_dir": "--img-dir",
    "--model_name": "--model",
    "--model-name": "--model",
    "--model_path": "--weights",
    "--model-path": "--weights",
    "--checkpoint": "--weights",
    "--output": "--out",
    "--output-dir": "--out",
}


class AliasCommand(click.Command):
    """A command that understands other tools' spellings without showing them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        for index, word in enumerate(args[:end]):
            name, equals, value = word.partition("=")
            args[index] = OPTION_ALIASES.get(name, name) + equals + value
        return super().parse_args(ctx, args)


def predict_options(command: Command) -> Command:
    """Add the options that infer and multiscale-infer share."""
    for option in reversed(PREDICT_OPTIONS):
        command = option(command)
    return command


def run(
    network: NetworkOptions,
    *,
    sources: tuple[str, ...],
    img_dir: Path | None,
    out: Path,
    kinds: tuple[str, ...],
    overlay_format: str,
    overwrite: bool,
    max_pixels: int,
    json_file: Path | None,
    quiet: bool,
    batch_size: int | None,
    compiled: bool,
    multi_scale: bool = False,
) -> None:
    """Find the images, load the network, write the masks, and say what was done.

    Under torchrun each process labels its share of the images; the first does all the rest.

    Raises:
        DsegError: nothing to do, no such network, weights or device, or results that stand in
            the way.
    """
    from dseg.distributed import joined
    from dseg.predict import predict_images
    from dseg.predict.inputs import describe_unread

    with joined("cpu") as group:
        network.check()
        images, unread = group.from_main(lambda: _find(sources, img_dir, out))
        predictor, settings = network.load(group, multi_scale=multi_scale)
        if compiled:
            predictor.compile()
        with sharded_progress("labelled", images, group, quiet=quiet) as advance:
            summary = predict_images(
                predictor,
                images,
                out,
                settings,
                kinds=kinds,
                overlay_format=overlay_format,
                overwrite=overwrite,
                max_pixels=max_pixels,
                batch_size=batch_size,
                advance=advance,
                group=group,
            )
        if group.main:
            say_summary(summary, settings, predictor, out, kinds, group, network.protocol_name)
            if unread:
                say(f"Not read, as their formats are others: {describe_unread(unread)}.")
            if json_file is not None:
                write_json(json_file, make_facts(summary, settings, predictor, out, group, unread))
        group.barrier()  # torchrun ends all with the first that exits with a failure
    if summary.failed:
        raise click.exceptions.Exit(EXIT_FAILED_INPUTS)


def _find(
    sources: tuple[str, ...], img_dir: Path | None, out: Path
) -> tuple[list[ImageFile], Counter[str]]:
    """Find the images that the user names, and count the files of formats that are not read."""
    from dseg.predict import find_images

    named = [*_from_stdin(sources), *([img_dir] if img_dir is not None else [])]
    if not named:
        raise DsegError("No image is named.", hint="name a folder: --img-dir DIR, or a SOURCE.")
    _keep_apart(named, out)
    unread: Counter[str] = Counter()
    return find_images(named, leave_out=out, unread=unread), unread


def _from_stdin(sources: tuple[str, ...]) -> list[str | Path]:
    """Replace ``-`` by the lines of standard input, or its parts between NULs (find -print0)."""
    named: list[str | Path] = []
    for source in sources:
        if source == "-":  # bytes: a file's name need not be text
            listed = _without_bom(sys.stdin.buffer.read())
            lines = listed.split(b"\0") if b"\0" in listed else listed.splitlines()
            named += [os.fsdecode(line) for line in lines if line]
        else:
            named.append(source)
    return named


def _without_bom(listed: bytes) -> bytes:
    """Return a list as UTF-8 without the mark that Windows programs begin it with."""
    if listed.startswith((b"\xff\xfe", b"\xfe\xff")):
        return listed.decode("utf-16", "replace").encode()
    return listed.removeprefix(b"\xef\xbb\xbf")


def _keep_apart(named: list[str | Path], out: Path) -> None:
    """Refuse to write results over what is to be read."""
    from dseg.images import RESULT_KINDS

    results = Path(os.path.realpath(out))
    for source in named:
        place = Path(os.path.realpath(source))
        if place == results:
            raise DsegError(f"{out} is the folder of the images.", hint="name another --out.")
        if any(place.is_relative_to(results / kind) for kind in RESULT_KINDS):
            raise DsegError(
                f"{source} lies where results of {out} are written.", hint="name another --out."
            )
