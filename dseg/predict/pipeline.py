"""Many images: reading, forward and writing overlap, and memory does not grow with their number."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import numpy as np

from dseg.distributed import Group
from dseg.errors import DsegError
from dseg.images import MAX_PIXELS, Pixels, read_image, write_jpeg, write_png
from dseg.labels import LabelSpace, make_lookup
from dseg.predict.predictor import Prediction, Predictor
from dseg.predict.record import Settings, claimed_folder
from dseg.predict.sources import ImageFile
from dseg.render import render_overlay

THREADS = 8  # at most, one a core, that read, and as many that write
NOTES_AT_MOST = 3
PIXELS_AHEAD = 64_000_000  # decoded or waiting to be written, unless one image has more


@dataclass
class Summary:
    """What became of the images.

    Attributes:
        done: images labelled in this run.
        skipped: images whose results were there already.
        failed: ``(file, problem)`` of each image that could not be read or labelled.
        tiled: images predicted in tiles because they are large.
        seconds: from the first image to the last file written.
        notes: what is to be known of images that were read, such as that they have pages; the
            first of them.
        noted: how many such notes there are.
        read_s, forward_s, write_s: seconds within each stage, summed over images.
    """

    done: int = 0
    skipped: int = 0
    failed: list[tuple[Path, str]] = field(default_factory=list)
    tiled: int = 0
    notes: list[str] = field(default_factory=list)
    noted: int = 0
    seconds: float = 0.0
    read_s: float = 0.0
    forward_s: float = 0.0
    write_s: float = 0.0


def predict_images(
    predictor: Predictor,
    images: Sequence[ImageFile],
    out: Path,
    settings: Settings,
    *,
    kinds: Sequence[str] = ("label_ids", "color", "overlay"),
    overwrite: bool = False,
    overlay_format: str = "png",
    max_pixels: int = MAX_PIXELS,
    advance: Callable[[], None] = lambda: None,
    group: Group | None = None,
) -> Summary:
    """Label images and write ``<out>/<kind>/<name>.png`` for each kind (an overlay may be a jpg).

    An image whose results of all kinds exist is skipped, so that a run goes on where it was
    stopped; one that cannot be read or labelled is listed and does not stop the run.

    Args:
        kinds: any of ``KINDS``.
        overlay_format: ``png``, or ``jpg``, which is written faster and is smaller.
        overwrite: make all results of these images again, whatever made them before.
        advance: called once for each image of this process.
        group: the processes that share the images out; all get the summary of the whole.

    Raises:
        DsegError: the folder holds results of other settings, or cannot be written.
    """
    group = group or Group()
    with ExitStack() as claim:
        if group.main:
            claim.enter_context(claimed_folder(out, settings, images, overwrite=overwrite))
        group.barrier()
        threads = min(THREADS, group.share_of(os.cpu_count() or 2))
        run = _Run(predictor, out, kinds, max_pixels, overlay_format, threads)
        start = time.perf_counter()
        todo = []
        for image in group.shard(images):
            if all(run.target(kind, image).exists() for kind in kinds):
                run.summary.skipped += 1
                advance()
            else:
                todo.append(image)
        run.label(todo, advance)
        run.summary.seconds = time.perf_counter() - start
        return _joined(group.gather(run.summary), images)


def _joined(parts: list[Summary], images: Sequence[ImageFile]) -> Summary:
    """Return one summary of all processes' parts; its failures are in the order of the images."""
    places = {image.path: place for place, image in enumerate(images)}
    return Summary(
        done=sum(part.done for part in parts),
        skipped=sum(part.skipped for part in parts),
        failed=sorted(
            (failure for part in parts for failure in part.failed),
            key=lambda failure: places[failure[0]],
        ),
        tiled=sum(part.tiled for part in parts),
        notes=[note for part in parts for note in part.notes][:NOTES_AT_MOST],
        noted=sum(part.noted for part in parts),
        seconds=max(part.seconds for part in parts),
        read_s=sum(part.read_s for part in parts),
        forward_s=sum(part.forward_s for part in parts),
        write_s=sum(part.write_s for part in parts),
    )


class _Run:
    """One pass over images: threads read ahead and write behind, the caller's computes."""

    def __init__(
        self,
        predictor: Predictor,
        out: Path,
        kinds: Sequence[str],
        max_pixels: int,
        overlay_format: str = "png",
        threads: int = THREADS,
    ) -> None:
        self.predictor = predictor
        self.out = out
        self.kinds = kinds
        self.max_pixels = max_pixels
        self.overlay_format = overlay_format
        self.threads = threads
        self.in_flight = threads  # images read ahead, and as many that wait to be written
        self.summary = Summary()
        self._noting = Lock()
        space = predictor.label_space
        to_label_ids = make_lookup(enumerate(space.label_ids), default=space.void_label_id)
        self.label_ids = np.frombuffer(to_label_ids, np.uint8)

    def target(self, kind: str, image: ImageFile) -> Path:
        suffix = self.overlay_format if kind == "overlay" else "png"
        return self.out / kind / f"{image.name}.{suffix}"

    def label(self, images: Iterable[ImageFile], advance: Callable[[], None]) -> None:
        """Read, label and write; a fault of writing ends the run after what is under way."""
        writing: deque[Future[float]] = deque()
        with (
            ThreadPoolExecutor(self.threads) as readers,
            ThreadPoolExecutor(self.threads) as writers,
        ):
            try:
                for image, reading in self._read_ahead(readers, images):
                    done = self._label_one(image, reading)
                    if done is not None:
                        pixels, prediction = done
                        writing.append(writers.submit(self._write, image, pixels, prediction))
                    while len(writing) > self.in_flight:
                        self._written(writing)
                    advance()
                while writing:
                    self._written(writing)
            finally:
                readers.shutdown(cancel_futures=True)

    def _read_ahead(
        self, readers: ThreadPoolExecutor, images: Iterable[ImageFile]
    ) -> Iterator[tuple[ImageFile, Future[tuple[Pixels, float]]]]:
        ahead: deque[tuple[ImageFile, Future[tuple[Pixels, float]]]] = deque()
        for image in images:
            ahead.append((image, readers.submit(self._read, image)))
            while len(ahead) > self.in_flight:
                yield ahead.popleft()
        yield from ahead

    def _read(self, image: ImageFile) -> tuple[Pixels, float]:
        start = time.perf_counter()
        pixels = read_image(image.path, self.max_pixels, self._note)
        return pixels, time.perf_counter() - start

    def _note(self, note: str) -> None:
        """Keep what a reader has to say of a file, if it is among the first."""
        with self._noting:
            self.summary.noted += 1
            if len(self.summary.notes) < NOTES_AT_MOST:
                self.summary.notes.append(note)

    def _label_one(
        self, image: ImageFile, reading: Future[tuple[Pixels, float]]
    ) -> tuple[Pixels, Prediction] | None:
        try:
            pixels, seconds = reading.result()
            self.summary.read_s += seconds
            self.in_flight = max(1, min(self.threads, PIXELS_AHEAD * 3 // pixels.size))
            start = time.perf_counter()
            prediction = self.predictor.predict(pixels, confidence="confidence" in self.kinds)
            self.summary.forward_s += time.perf_counter() - start
        except DsegError as fault:
            self.summary.failed.append((image.path, fault.problem))
            return None
        if prediction.tile is not None and self.predictor.protocol.tile is None:
            self.summary.tiled += 1
        return pixels, prediction

    def _written(self, writing: deque[Future[float]]) -> None:
        self.summary.write_s += writing.popleft().result()
        self.summary.done += 1

    def _write(self, image: ImageFile, pixels: Pixels, prediction: Prediction) -> float:
        start = time.perf_counter()
        for kind in self.kinds:
            shown, palette = self._render(kind, pixels, prediction)
            target = self.target(kind, image)
            if target.suffix == ".jpg":
                write_jpeg(target, shown)
            else:
                write_png(target, shown, palette)
        return time.perf_counter() - start

    def _render(
        self, kind: str, pixels: Pixels, prediction: Prediction
    ) -> tuple[Pixels, list[int] | None]:
        space: LabelSpace = self.predictor.label_space
        if kind == "color":
            return prediction.train_ids, space.palette()
        if kind == "overlay":
            return render_overlay(pixels, prediction.train_ids, space), None
        if kind == "confidence":
            assert prediction.confidence is not None
            return prediction.confidence, None
        if kind == "label_ids":
            return self.label_ids[prediction.train_ids], None
        return prediction.train_ids, None
