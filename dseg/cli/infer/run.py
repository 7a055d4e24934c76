"""Prediction of images and videos, shared by infer and multiscale-infer."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

import click

from dseg.cli.console import hushed, progress, say
from dseg.cli.infer.details import say_details, say_times
from dseg.cli.infer.sources import find_sources, hide_temporary
from dseg.cli.infer.summary import (
    make_facts,
    say_summary,
    say_where_to_look,
    sharded_progress,
)
from dseg.cli.options.load_network import load_network
from dseg.cli.stdio import emit_json
from dseg.config import NetworkConfig
from dseg.errors import EXIT_FAILED_INPUTS, DsegError
from dseg.parallel import Advance


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
    verbose: bool,
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
    from dseg.predict.folder import split_kinds
    from dseg.predict.inputs import describe_unread
    from dseg.predict.masks import make_mask_tables
    from dseg.predict.videos import VideoOptions
    from dseg.render import OverlayStyle
    from dseg.sources import Workspace
    from dseg.video import Sampling

    with hushed(quiet), Workspace() as workspace, joined("cpu") as group:
        network.check()
        if compiled:
            network = _compiled_by_torch(network)
        images, videos, unread = group.from_main(
            lambda: find_sources(sources, img_dir, out, workspace)
        )
        image_kinds, video_kinds = split_kinds(kinds, images)
        used = (image_kinds if images else ()) + (video_kinds if videos else ())
        predictor, manifest = load_network(
            network, group, multi_scale=multi_scale, quiet=quiet, verbose=verbose
        )
        make_mask_tables(used, predictor.label_space)  # refuses unknown classes
        if "confidence" in used or "entropy" in used:
            predictor.refuse_labels_only()
        if "overlay" in used or "video" in used:
            style = OverlayStyle(opacity=opacity, legend=legend, side_by_side=side_by_side)
            manifest = replace(manifest, overlay=style)
        if compiled:
            predictor.compile()
        if verbose and group.main:
            say_details(predictor, manifest, network, images=len(images), videos=len(videos))
        with ExitStack() as bar:
            advance = bar.enter_context(sharded_progress("labelled", images, group, quiet=quiet))

            def show_video(name: str, count: int) -> AbstractContextManager[Advance]:
                bar.close()  # the images are done
                return progress(name, count, quiet=quiet or not group.main)

            options = VideoOptions(
                kinds=video_kinds,
                sampling=Sampling(every=every, rate=fps, seconds=seconds),
                progress=show_video,
                on_stop=lambda: say("Stopping; Ctrl-C again to quit at once."),
            )
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
        hide_temporary(summary, workspace)
        if group.main:
            say_summary(summary, manifest, predictor, out, group, network.protocol_name)
            if unread:
                say(f"Files of unsupported formats: {describe_unread(unread)}.")
            if verbose:
                say_times(summary)
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
