"""Options and prediction of images, shared by infer and multiscale-infer."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dseg.cli.console import hushed, progress, say
from dseg.cli.infer.summary import (
    make_facts,
    say_summary,
    say_where_to_look,
    sharded_progress,
)
from dseg.cli.options.from_config import options_of
from dseg.cli.options.load_network import load_network
from dseg.cli.options.shared import json_option
from dseg.cli.options.types import FILE, FOLDER, Command, Kinds, Option
from dseg.cli.stdio import emit_json
from dseg.config import NetworkConfig
from dseg.errors import EXIT_FAILED_INPUTS, DsegError

if TYPE_CHECKING:
    from dseg.predict import ImageFile
    from dseg.predict.inputs import VideoFile

DEFAULT_KINDS = ("label_ids", "color", "overlay")
ONLY_MULTI_SCALE = ("scales", "flip", "fusion")
INPUT_OPTIONS: tuple[Option, ...] = (
    click.argument("sources", metavar="[SOURCE]...", nargs=-1),
    click.option("--img-dir", type=FILE, metavar="DIR", help="Folder of images; same as a SOURCE."),
)
RESULT_OPTIONS: tuple[Option, ...] = (
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
        help="Kinds of results: label_ids, train_ids, color, overlay, confidence, entropy (a heat "
        "map), mask:car,person (255 where the class is; mask:car+bus joins classes), coco (one "
        "JSON file of all masks), areas (a table of class fractions), video (overlays as MP4); of "
        "videos, the other kinds are written for each frame.  [default: label_ids,color,overlay; "
        "of videos: video]",
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
        type=click.FloatRange(0, 1),
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
)
VIDEO_OPTIONS: tuple[Option, ...] = (
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
        type=click.FloatRange(min=0, min_open=True),
        metavar="F",
        help="Label at most F frames per second of videos.",
    ),
    click.option(
        "--seconds",
        type=click.FloatRange(min=0, min_open=True),
        metavar="S",
        help="Label the first S seconds of videos, webcams and streams.",
    ),
)
SPEED_OPTIONS: tuple[Option, ...] = (
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
    click.option(
        "--max-pixels",
        type=click.IntRange(min=1),
        metavar="N",
        default=200_000_000,
        show_default=True,
        help="Refuse images with more pixels, before they are decoded.",
    ),
    json_option("a summary"),
    click.option("-q", "--quiet", is_flag=True, help="Print nothing but messages on faults."),
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


class AliasCommand(click.Command):
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
    named = [network.pop(name) for name in ("model", "weights")]
    options = [*INPUT_OPTIONS, *named, *RESULT_OPTIONS, *VIDEO_OPTIONS]
    options += [*network.values(), *SPEED_OPTIONS]

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def run(
    network: NetworkConfig,
    *,
    sources: tuple[str, ...],
    img_dir: Path | None,
    out: Path,
    kinds: tuple[str, ...] | None,
    overlay_format: str,
    opacity: float,
    legend: str,
    side_by_side: bool,
    overwrite: bool,
    every: int,
    fps: float | None,
    seconds: float | None,
    max_pixels: int,
    json_file: Path | None,
    quiet: bool,
    batch_size: int | None,
    compiled: bool,
    multi_scale: bool = False,
) -> None:
    """Find the images, load the network, write the masks, and report the result.

    Under torchrun each process predicts a shard of the images; the first does everything else.

    Raises:
        DsegError: no images, an unknown network, checkpoint or device, or existing results of
            another run.
    """
    from dseg.distributed import joined
    from dseg.predict import predict_images
    from dseg.predict.inputs import describe_unread
    from dseg.predict.masks import make_mask_tables
    from dseg.predict.videos import VideoOptions
    from dseg.render import OverlayStyle
    from dseg.video import Sampling

    with hushed(quiet), joined("cpu") as group:
        network.check()
        if compiled:
            network = _compiled_by_torch(network)
        images, videos, unread = group.from_main(lambda: _find(sources, img_dir, out))
        image_kinds, video_kinds = _split_kinds(kinds, images)
        used = (image_kinds if images else ()) + (video_kinds if videos else ())
        predictor, manifest = load_network(network, group, multi_scale=multi_scale)
        make_mask_tables(used, predictor.label_space)  # refuses unknown classes
        if "confidence" in used or "entropy" in used:
            predictor.refuse_labels_only()
        if "overlay" in used or "video" in used:
            style = OverlayStyle(opacity=opacity, legend=legend, side_by_side=side_by_side)
            manifest = replace(manifest, overlay=style)
        if compiled:
            predictor.compile()
        options = VideoOptions(
            kinds=video_kinds,
            sampling=Sampling(every=every, rate=fps, seconds=seconds),
            progress=lambda name, count: progress(name, count, quiet=quiet or not group.main),
            on_stop=lambda: say("Stopping; Ctrl-C again to quit at once."),
        )
        with sharded_progress("labelled", images, group, quiet=quiet) as advance:
            summary = predict_images(
                predictor,
                images,
                out,
                manifest,
                kinds=image_kinds,
                overlay_format=overlay_format,
                overwrite=overwrite,
                max_pixels=max_pixels,
                batch_size=batch_size,
                advance=advance,
                group=group,
                videos=videos,
                video_options=options,
            )
        if group.main:
            say_summary(summary, manifest, predictor, out, group, network.protocol_name)
            if unread:
                say(f"Files of unsupported formats: {describe_unread(unread)}.")
            say_where_to_look(images, videos, summary, predictor, out, used, overlay_format)
            if json_file is not None:
                emit_json(json_file, make_facts(summary, manifest, predictor, out, group, unread))
        group.barrier()  # torchrun ends all processes with the first that fails
    if summary.failed:
        raise click.exceptions.Exit(EXIT_FAILED_INPUTS)


def _compiled_by_torch(network: NetworkConfig) -> NetworkConfig:
    """Return the configuration with PyTorch as the runtime, which ``--compile`` compiles."""
    if network.runtime not in ("auto", "torch"):
        raise DsegError(
            f"--compile is of PyTorch; --runtime {network.runtime} compiles every network itself.",
            hint="use --runtime torch with --compile, or leave --compile out.",
        )
    return replace(network, runtime="torch")


def _split_kinds(
    kinds: tuple[str, ...] | None, images: Sequence[ImageFile]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the kinds of results of images, and those of videos.

    Raises:
        DsegError: only ``video`` is named, but there are images.
    """
    if kinds is None:
        return DEFAULT_KINDS, ("video",)
    of_images = tuple(kind for kind in kinds if kind != "video")
    if images and not of_images:
        raise DsegError(
            f"--save video is for videos, but {len(images)} images are named ({images[0].path}).",
            hint="add a kind for images: --save overlay,video.",
        )
    return of_images, kinds


def _find(
    sources: tuple[str, ...], img_dir: Path | None, out: Path
) -> tuple[list[ImageFile], list[VideoFile], Counter[str]]:
    """Find the images and videos, and count files of unsupported formats."""
    from dseg.predict import find_images
    from dseg.predict.inputs import split_live, split_videos
    from dseg.video import has_library, library_error

    named = [*_from_stdin(sources), *([img_dir] if img_dir is not None else [])]
    if not named:
        raise DsegError("No images are named.", hint="name a folder: --img-dir DIR, or a SOURCE.")
    unread: Counter[str] = Counter()
    live, named = split_live(named)
    _refuse_overwriting(named, out)
    found = []
    if named:
        found = find_images(named, leave_out=out, unread=unread, videos=has_library())
    images, videos = split_videos(found)
    videos += live
    if videos and not has_library():
        raise library_error(str(videos[0].path))
    return images, videos, unread


def _from_stdin(sources: tuple[str, ...]) -> list[str | Path]:
    """Replace ``-`` by the lines of standard input, or its NUL-separated names (find -print0)."""
    named: list[str | Path] = []
    for source in sources:
        if source == "-":  # bytes: file names need not be valid text
            listed = _without_bom(sys.stdin.buffer.read())
            lines = listed.split(b"\0") if b"\0" in listed else listed.splitlines()
            named += [os.fsdecode(line) for line in lines if line]
        else:
            named.append(source)
    return named


def _without_bom(listed: bytes) -> bytes:
    """Return a list as UTF-8, without the byte order mark that Windows programs write."""
    if listed.startswith((b"\xff\xfe", b"\xfe\xff")):
        return listed.decode("utf-16", "replace").encode()
    return listed.removeprefix(b"\xef\xbb\xbf")


def _refuse_overwriting(named: list[str | Path], out: Path) -> None:
    """Refuse to write results over the images."""
    from dseg.images import RESULT_KINDS

    results = Path(os.path.realpath(out))
    for source in named:
        place = Path(os.path.realpath(source))
        if place == results:
            raise DsegError(f"{out} is the folder of the images.", hint="name another --out.")
        if any(place.is_relative_to(results / kind) for kind in RESULT_KINDS):
            raise DsegError(
                f"{source} is in a folder to which results of {out} are written.",
                hint="name another --out.",
            )
