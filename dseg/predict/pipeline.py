"""Many images: reading, forward and writing overlap, and memory does not grow with their number."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch

from dseg.cores import count_cores
from dseg.distributed import Group
from dseg.errors import DsegError
from dseg.images import MAX_PIXELS, Pixels, read_image, read_size, write_jpeg, write_png
from dseg.labels import LabelSpace, make_lookup
from dseg.memory import is_out_of_memory, memory_error
from dseg.predict.pending import Prediction
from dseg.predict.predictor import Predictor
from dseg.predict.record import Settings, claimed_folder
from dseg.predict.room import Room, Threads
from dseg.predict.sources import ImageFile
from dseg.predict.threads import find_threads, use_threads
from dseg.render import render_overlay

THREADS = 8  # at most, one a core, that read, and as many that write
NOTES_AT_MOST = 3
PIXELS_AHEAD = 64_000_000  # being decoded to being written, unless one image has more
Read = tuple[Pixels, int, float]  # an image, the room that it takes, seconds
LESS = "close other programs, name a smaller --tile or --input-size, or save fewer kinds (--save)."


class Failure(NamedTuple):
    """An image that could not be read, labelled or written, why, and what to do."""

    path: Path
    problem: str
    hint: str


@dataclass
class Summary:
    """What became of the images.

    Attributes:
        done: images labelled in this run.
        skipped: images whose results were there already.
        failed: the images that could not be read or labelled.
        tiled: images predicted in tiles because they are large.
        seconds: from the first image to the last file written.
        notes: what is to be known of images that were read, such as that they have pages; the
            first of them.
        noted: how many such notes there are.
        read_s, forward_s, write_s: seconds within each stage, summed over images.
    """

    done: int = 0
    skipped: int = 0
    failed: list[Failure] = field(default_factory=list)
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
        claimed = claimed_folder(out, settings, images, overwrite=overwrite)
        group.from_main(lambda: claim.enter_context(claimed))
        threads = min(THREADS, group.share_of(count_cores()))
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
            key=lambda failure: places[failure.path],
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
        self.computing = torch.get_num_threads()
        self.room = Room(PIXELS_AHEAD)
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
        writing: deque[tuple[ImageFile, Future[float]]] = deque()
        with (
            Threads(self.threads) as readers,
            Threads(self.threads) as writers,
        ):
            try:
                for image, reading in self._read_ahead(readers, images):
                    done = self._label_one(image, reading)
                    if done is not None:
                        writing.append((image, writers.submit(self._write, image, *done)))
                    while len(writing) > self.threads:
                        self._written(*writing.popleft())
                    advance()
                while writing:
                    self._written(*writing.popleft())
            finally:
                use_threads(self.computing)
                self.room.close()
                readers.shutdown(cancel_futures=True)

    def _read_ahead(
        self, readers: ThreadPoolExecutor, images: Iterable[ImageFile]
    ) -> Iterator[tuple[ImageFile, Future[Read]]]:
        ahead: deque[tuple[ImageFile, Future[Read]]] = deque()
        for turn, image in enumerate(images):
            ahead.append((image, readers.submit(self._read, turn, image)))
            if len(ahead) > self.threads:
                yield ahead.popleft()
        while ahead:
            yield ahead.popleft()

    def _read(self, turn: int, image: ImageFile) -> Read:
        start = time.perf_counter()
        size = self._find_size(image)
        asked = time.perf_counter()
        self.room.take(turn, size)
        waited = time.perf_counter() - asked
        try:
            pixels = read_image(image.path, self.max_pixels, self._note)
        except BaseException:
            self.room.give(size)
            raise
        return pixels, size, time.perf_counter() - start - waited

    def _find_size(self, image: ImageFile) -> int:
        """Return the pixels that reading an image will hold, by its header alone."""
        try:
            height, width = read_size(image.path, self.max_pixels)
        except DsegError:  # which reading it tells
            return 0
        return height * width

    def _note(self, note: str) -> None:
        """Keep what a reader has to say of a file, if it is among the first."""
        with self._noting:
            self.summary.noted += 1
            if len(self.summary.notes) < NOTES_AT_MOST:
                self.summary.notes.append(note)

    def _label_one(
        self, image: ImageFile, reading: Future[Read]
    ) -> tuple[Pixels, Prediction, int] | None:
        size = 0
        try:
            pixels, size, seconds = reading.result()
            self.summary.read_s += seconds
            start = time.perf_counter()
            height, width = pixels.shape[:2]
            use_threads(find_threads((height, width), self.predictor.protocol, self.computing))
            prediction = self.predictor.predict(pixels, confidence="confidence" in self.kinds)
            self.summary.forward_s += time.perf_counter() - start
        except Exception as fault:
            self.room.give(size)
            self._fail(image, fault)
            return None
        if prediction.tile is not None and self.predictor.protocol.tile is None:
            self.summary.tiled += 1
        return pixels, prediction, size

    def _fail(self, image: ImageFile, fault: Exception) -> None:
        """List an image that failed; raise what is no fault of the image or of memory."""
        if is_out_of_memory(fault):
            fault = memory_error(f"on {image.path}", LESS)
        elif not isinstance(fault, DsegError):
            raise fault
        self.summary.failed.append(Failure(image.path, fault.problem, fault.hint))

    def _written(self, image: ImageFile, writing: Future[float]) -> None:
        try:
            self.summary.write_s += writing.result()
            self.summary.done += 1
        except Exception as fault:
            if not is_out_of_memory(fault):
                raise
            self._fail(image, fault)

    def _write(self, image: ImageFile, pixels: Pixels, prediction: Prediction, size: int) -> float:
        start = time.perf_counter()
        try:
            for kind in self.kinds:
                shown, palette = self._render(kind, pixels, prediction)
                target = self.target(kind, image)
                if target.suffix == ".jpg":
                    write_jpeg(target, shown)
                else:
                    write_png(target, shown, palette)
        finally:
            self.room.give(size)
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
