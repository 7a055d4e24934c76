"""Label many images and videos, and write the files of the whole run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from dseg.distributed import Group
from dseg.errors import DsegError
from dseg.images import MANIFEST, MAX_PIXELS
from dseg.predict.inputs import ImageFile, VideoFile
from dseg.predict.manifest import Manifest, claimed_folder
from dseg.predict.pipeline import Run
from dseg.predict.predictor import Predictor
from dseg.predict.results import Results
from dseg.predict.summary import Summary, join_summaries
from dseg.predict.videos import VideoOptions, VideoTarget, label_video
from dseg.render import OverlayStyle


def predict_images(
    predictor: Predictor,
    images: Sequence[ImageFile],
    out: Path,
    manifest: Manifest,
    *,
    kinds: Sequence[str] = ("label_ids", "color", "overlay"),
    overwrite: bool = False,
    overlay_format: str = "png",
    max_pixels: int = MAX_PIXELS,
    batch_size: int | None = None,
    advance: Callable[[], None] = lambda: None,
    group: Group | None = None,
    videos: Sequence[VideoFile] = (),
    video_options: VideoOptions | None = None,
) -> Summary:
    """Label images and write ``<out>/<kind>/<name>.png`` for each kind (overlays also as jpg).

    Then write the files of all results of the folder, also of earlier runs: the contact sheet
    ``overview.jpg`` of overlays, and those that join what was written of each image
    (``coco.json``, ``areas.csv``).

    An image whose results of all kinds exist is skipped, so that a run continues where it was
    stopped. An image that cannot be read or labelled is listed and does not stop the run.

    Args:
        predictor: the network.
        images: the images, from ``find_images``.
        out: output folder.
        manifest: how the results are made, also how overlays look; written into the folder.
        kinds: kinds of results, from ``RESULT_KINDS``; ``mask:`` and class names joined by ``+``.
        overwrite: make all results of these images again, whatever made them before.
        overlay_format: ``png``, or ``jpg``, which is written faster and is smaller.
        max_pixels: maximum number of pixels of an image.
        batch_size: number of consecutive images of one size that are labelled at once, where they
            are not read in tiles; by default chosen for the device.
        advance: called once for each image of this process.
        group: the processes that the images are sharded over; all return the summary of the whole.
        videos: videos, whose frames are labelled after the images; each by one process.
        video_options: what is written of videos.

    Raises:
        DsegError: the folder holds results of another manifest, or cannot be written; or the
            network has no class of that name.
    """
    group = group or Group()
    style = manifest.overlay or OverlayStyle()
    results = Results(out, kinds, predictor.label_space, style, overlay_format, images)
    with ExitStack() as claim:
        claimed = claimed_folder(out, manifest, images, videos, overwrite=overwrite)
        group.from_main(lambda: claim.enter_context(claimed))
        group.from_main(lambda: _refuse_twins(out, [*images, *videos]))
        threads = group.cores_per_process()
        run = Run(predictor, results, threads, batch_size)
        start = time.perf_counter()
        todo = []
        for image in group.shard(images):
            if results.exist(image):
                run.summary.skipped += 1
                advance()
            else:
                todo.append(image)
        run.label(todo, max_pixels, advance)
        options = video_options or VideoOptions()
        shard = group.shard(videos)
        if shard:
            target = VideoTarget(out, style, overlay_format, max_pixels, threads, batch_size)
            for video in shard:
                run.summary.add_video(label_video(predictor, video, target, options))
        run.summary.seconds = time.perf_counter() - start
        summary = join_summaries(group.gather(run.summary), [*images, *videos])
        thumbs = group.gather(results.thumbs)
        if group.main:
            joined = {name: thumb for own in thumbs for name, thumb in own.items()}
            notes = results.finish(joined, changed=summary.done + summary.frames > 0)
            for note in notes:
                summary.note(note)
        return summary


def _refuse_twins(out: Path, sources: Sequence[ImageFile | VideoFile]) -> None:
    """Refuse images or videos that have the same results where the disk of ``out`` ignores case.

    Raises:
        DsegError: there are two of them.
    """
    known: dict[str, ImageFile | VideoFile] = {}
    for source in sources:
        other = known.setdefault(str(source.name).casefold(), source)
        if other is not source and (out / MANIFEST.upper()).exists():
            raise DsegError(
                f"{other.path} and {source.path} would have the same results in {out}, whose disk "
                "does not distinguish upper and lower case.",
                hint="rename one of them, or label them in two runs, each with another --out.",
            )
