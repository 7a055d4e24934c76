"""Label the frames of a video, and write them as a video of overlays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from dseg.errors import DsegError
from dseg.files import write_json
from dseg.images import Pixels
from dseg.jsonio import read_object
from dseg.parallel import Advance
from dseg.predict.inputs import ImageFile, VideoFile
from dseg.predict.live import newest, stopped_by_interrupt
from dseg.predict.pipeline import Run
from dseg.predict.predictor import Predictor
from dseg.predict.results import Results
from dseg.predict.run_files import remove_parts
from dseg.predict.summary import Failure, Summary
from dseg.render import OverlayStyle
from dseg.video import (
    Frame,
    Sampling,
    VideoInfo,
    VideoWriter,
    open_video,
    written_video,
)

VIDEO = "video"  # kind of result, and its folder


def _no_progress(what: str, count: int) -> AbstractContextManager[Advance]:
    return nullcontext(lambda: None)


@dataclass(frozen=True, kw_only=True)
class VideoOptions:
    """What is read and written of videos.

    Attributes:
        kinds: kinds of results: ``video``, and those of images, which are written for each frame.
        sampling: which frames are read.
        progress: shows the progress of a video with a number of frames, 0 if unknown.
        on_stop: called when Ctrl-C ends a webcam or stream.
    """

    kinds: tuple[str, ...] = (VIDEO,)
    sampling: Sampling = field(default_factory=Sampling)
    progress: Callable[[str, int], AbstractContextManager[Advance]] = _no_progress
    on_stop: Callable[[], None] = lambda: None


class VideoTarget(NamedTuple):
    """Where the results of videos go, and how they are made: as of ``predict_images``."""

    out: Path
    style: OverlayStyle
    overlay_format: str
    max_pixels: int
    threads: int
    batch_size: int | None


def label_video(
    predictor: Predictor, video: VideoFile, target: VideoTarget, options: VideoOptions
) -> Summary:
    """Label the frames of a video, write the results, and return their outcome.

    Results of a frame are ``<out>/<kind>/<video>/<HH-MM-SS.mmm>.png``, and the overlays of all
    frames ``<out>/video/<video>.mp4``. A video is skipped if an earlier run has labelled all of
    it in the same way. What can be read of a damaged video is labelled.

    Raises:
        DsegError: a result cannot be written.
    """
    record = target.out / VIDEO / f"{video.name}.json"
    written = target.out / VIDEO / f"{video.name}.mp4"
    facts = _describe(video, options)
    if _is_complete(record, facts) and (VIDEO not in options.kinds or written.exists()):
        return Summary(skipped=1)
    record.unlink(missing_ok=True)
    remove_parts(target.out, video.name)
    kinds = [kind for kind in options.kinds if kind != VIDEO]
    style = replace(target.style, fixed=True)
    results = Results(target.out, kinds, predictor.label_space, style, target.overlay_format)
    run = Run(predictor, results, target.threads, target.batch_size)
    with ExitStack() as stack:
        try:
            info, frames = stack.enter_context(
                open_video(video.source, options.sampling, max_pixels=target.max_pixels)
            )
        except DsegError as fault:
            run.summary.failed.append(Failure(video.path, fault.problem, fault.hint))
            return run.summary
        _label(run, video, info, frames, written, options)
    if not run.summary.failed and not video.is_live:
        write_json(record, {**facts, "frames": run.summary.done})
    return run.summary


def _label(
    run: Run,
    video: VideoFile,
    info: VideoInfo,
    frames: Iterator[Frame],
    written: Path,
    options: VideoOptions,
) -> None:
    """Label the frames; the video of overlays gets its name when all are written."""
    if info.has_audio:
        run.summary.note(f"{video.path}: its sound is not copied.")
    rate = info.rate / options.sampling.every
    if options.sampling.rate is not None:
        rate = min(rate, Fraction(options.sampling.rate).limit_denominator(1001))
    with ExitStack() as stack:
        writer: list[VideoWriter] = []

        def encode(overlay: Pixels, at: float) -> None:
            if not writer:  # a video without any frame is not written
                writer.append(stack.enter_context(written_video(written, rate)))
            writer[0].add(overlay, at)

        if video.is_live:
            stop = stack.enter_context(stopped_by_interrupt(options.on_stop))
            frames = stack.enter_context(newest(frames, stop, run.ended))
        advance = stack.enter_context(options.progress(video.name.name, info.count or 0))
        image = ImageFile(Path(video.path), video.name)
        sink = encode if VIDEO in options.kinds else None
        run.label_frames(image, info.size, frames, sink, advance)


def _describe(video: VideoFile, options: VideoOptions) -> dict[str, Any]:
    """Return what the results of a video depend on, besides the manifest of the folder."""
    path = Path(video.path)
    size = path.stat().st_size if path.is_file() else None
    facts = {"source": path.name, "bytes": size, **asdict(options.sampling)}
    return {**facts, "kinds": sorted(options.kinds)}


def _is_complete(record: Path, facts: dict[str, Any]) -> bool:
    """Return True if an earlier run wrote all these results of the whole video."""
    try:
        theirs = read_object(record)
    except (OSError, ValueError):
        return False
    kinds = theirs.pop("kinds", None)
    wanted = {**facts, "frames": theirs.get("frames"), "kinds": None}
    same = {**theirs, "kinds": None} == wanted
    return same and isinstance(kinds, list) and set(facts["kinds"]) <= set(kinds)
