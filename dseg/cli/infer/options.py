"""The options of infer and multiscale-infer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from dseg.cli.options.from_config import options_of
from dseg.cli.options.groups import DsegCommand, group
from dseg.cli.options.shared import json_option, verbose_option
from dseg.cli.options.types import FILE, FOLDER, Command, Kinds, Number, Option
from dseg.config import NetworkConfig

ONLY_MULTI_SCALE = ("scales", "flip", "fusion")


def _join(
    ctx: click.Context, option: click.Parameter, given: tuple[tuple[str, ...], ...]
) -> tuple[str, ...] | None:
    """Return the kinds of all ``--save``, None if there is none."""
    return tuple(dict.fromkeys(kind for kinds in given for kind in kinds)) or None


INPUT_OPTIONS: tuple[Option, ...] = (
    click.argument("sources", metavar="[SOURCE]...", nargs=-1),
    group(
        "Input",
        click.option(
            "--img-dir", type=FILE, metavar="DIR", help="Folder of images; same as a SOURCE."
        ),
    ),
)
RESULT_OPTIONS = group(
    "Results",
    click.option(
        *("-o", "--out"),
        type=FOLDER,
        metavar="DIR",
        default=Path("dseg-out"),
        show_default=True,
        help="Folder for the results, with a sub-folder for each kind.",
    ),
    click.option(
        "--save",
        "kinds",
        type=Kinds(),
        multiple=True,
        callback=_join,
        help="Kinds of results, by commas: label_ids, train_ids, color, overlay, confidence, "
        "entropy (a heat map), mask:car,person (255 where the class is; mask:car+bus joins "
        "classes), coco (one JSON file of all masks), areas (a table of class fractions), video "
        "(overlays as MP4); of videos, the other kinds are written for each frame.  [default: "
        "label_ids,color,overlay; of videos: video]",
    ),
    click.option(
        "--overlay-format",
        type=click.Choice(["png", "jpg"]),
        default="png",
        show_default=True,
        help="Format of overlays; jpg is faster and smaller.",
    ),
    click.option(
        "--opacity",
        type=Number(0, 1),
        metavar="0..1",
        default=0.5,
        show_default=True,
        help="Opacity of the classes' colours in overlays.",
    ),
    click.option(
        "--legend",
        type=click.Choice(["strip", "inside", "none"]),
        default="strip",
        show_default=True,
        help="Legend of overlays: a strip below the image, inside it, or none.",
    ),
    click.option(
        "--side-by-side", is_flag=True, help="Place the image to the left of its overlay."
    ),
    click.option("--overwrite", is_flag=True, help="Replace existing results."),
    json_option("a summary"),
)
VIDEO_OPTIONS = group(
    "Video",
    click.option(
        "--every",
        type=click.IntRange(min=1),
        metavar="N",
        default=1,
        show_default=True,
        help="Label every Nth frame of videos.",
    ),
    click.option(
        "--fps",
        type=Number(min=0, min_open=True),
        metavar="F",
        help="Label at most F frames per second of videos.",
    ),
    click.option(
        "--seconds",
        type=Number(min=0, min_open=True),
        metavar="S",
        help="Label the first S seconds of videos, webcams and streams.",
    ),
)
SPEED_OPTIONS = group(
    "Speed",
    click.option(
        "--batch-size",
        type=click.IntRange(1, 256),
        metavar="N",
        help="Number of images of one size to predict at once, unless in tiles.  [default: 1 on "
        "the CPU; on CUDA as many as have 4 megapixels, at most 16]",
    ),
    click.option(
        "--compile",
        "compiled",
        is_flag=True,
        help="Compile the network with torch.compile: takes minutes, pays off for many images of "
        "one size.",
    ),
)
EXPERT_OPTIONS = group(
    "Expert",
    click.option(
        "--max-pixels",
        type=click.IntRange(min=1),
        metavar="N",
        default=200_000_000,
        show_default=True,
        help="Refuse images with more pixels, before they are decoded.",
    ),
)
GENERAL_OPTIONS = group(
    "General",
    click.option("-q", "--quiet", is_flag=True, help="Print nothing but messages on faults."),
    verbose_option,
)

OPTION_ALIASES = {  # spellings of the authors and of other tools, so that their command lines work
    "--img_dir": "--img-dir",
    "--model_name": "--model",
    "--model-name": "--model",
    "--model_path": "--weights",
    "--model-path": "--weights",
    "--checkpoint": "--weights",
    "--output": "--out",
    "--output-dir": "--out",
}


class AliasCommand(DsegCommand):
    """A command that accepts the spellings of other tools, without listing them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        for index, word in enumerate(args[:end]):
            name, equals, value = word.partition("=")
            args[index] = OPTION_ALIASES.get(name, name) + equals + value
        return super().parse_args(ctx, args)


def predict_options(*, multi_scale: bool) -> Callable[[Command], Command]:
    """Return a decorator that adds the options of infer, or those of multiscale-infer."""
    words = {"scales": "0.5,0.75,1.0,1.25,1.5,1.8, or the authors'", "flip": "flip"}
    network = options_of(NetworkConfig, words if multi_scale else {})
    if not multi_scale:
        network = {name: own for name, own in network.items() if name not in ONLY_MULTI_SCALE}
    options = [*INPUT_OPTIONS, network.pop("model"), *network.values(), RESULT_OPTIONS]
    options += [VIDEO_OPTIONS, SPEED_OPTIONS, EXPERT_OPTIONS, GENERAL_OPTIONS]

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add
