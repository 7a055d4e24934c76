"""Many images: reading, forward and writing overlap, and memory does not grow with their number."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from threading import Lock

import numpy as np
import torch

from dseg.distributed import Group
from dseg.errors import DsegError
from dseg.images import MAX_PIXELS, Pixels, write_jpeg, write_png
from dseg.labels import LabelSpace, make_lookup
from dseg.memory import is_out_of_memory, memory_error
from dseg.parallel import Threads
from dseg.predict.inputs import ImageFile
from dseg.predict.manifest import Manifest, claimed_folder
from dseg.predict.prediction import CompileError, Pending, Prediction
from dseg.predict.predictor import Predictor
from dseg.predict.readahead import (
    DecodedImage,
    ImageTask,
    PixelBudget,
    Reader,
    find_threads,
    use_threads,
)
from dseg.predict.summary import Failure, Summary, join
from dseg.protocol import Size
from dseg.render import render_overlay

# Pixels from being decoded to being written, for 8 threads that read and 8 that write: 12 bytes
# each at most. With 16 threads twice as many, with 32 or more four times.
PIXELS_AHEAD = 64_000_000
IN_FLIGHT = {"cuda": 2}  # batches that a GPU computes while the next one is made ready
LOOKED_UP = 1 << 16  # pixels that are looked up at once, in the processor's cache
LESS = "close other programs, name a smaller --tile or --input-size, or save fewer kinds (--save)."
Begun = list[tuple[ImageFile, DecodedImage, Pending]]


def predict_images(
    predictor: Predictor,
    images: Sequence[ImageFile],
    out: Path,
    settings: Manifest,
    *,
    kinds: Sequence[str] = ("label_ids", "color", "overlay"),
    overwrite: bool = False,
    overlay_format: str = "png",
    max_pixels: int = MAX_PIXELS,
    batch_size: int | None = None,
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
        batch_size: images of one size, in a row, that are labelled at once where they are read
            whole; by default chosen for the device.
        advance: called once for each image of this process.
        group: the processes that share the images out; all get the summary of the whole.

    Raises:
        DsegError: the folder holds results of other settings, or cannot be written.
    """
    group = group or Group()
    with ExitStack() as claim:
        claimed = claimed_folder(out, settings, images, overwrite=overwrite)
        group.from_main(lambda: claim.enter_context(claimed))
        threads = group.cores_per_process()
        run = _Run(predictor, out, kinds, overlay_format, threads, batch_size)
        start = time.perf_counter()
        todo = []
        for image in group.shard(images):
            if all(run.target(kind, image).exists() for kind in kinds):
                run.summary.skipped += 1
                advance()
            else:
                todo.append(image)
        run.label(todo, max_pixels, advance)
        run.summary.seconds = time.perf_counter() - start
        return join(group.gather(run.summary), images)


class _Run:
    """One pass over images: threads read ahead and write behind, the caller's computes.

    Args:
        threads: that read, and as many that write.
        batch_size: as of ``predict_images``.
    """

    def __init__(
        self,
        predictor: Predictor,
        out: Path,
        kinds: Sequence[str],
        overlay_format: str,
        threads: int,
        batch_size: int | None,
    ) -> None:
        self.predictor = predictor
        self.out = out
        self.kinds = kinds
        self.overlay_format = overlay_format
        self.threads = threads
        self.batch_size = batch_size
        self.in_flight = IN_FLIGHT.get(predictor.device.type, 0)
        self.computing = torch.get_num_threads()
        self.room = PixelBudget(PIXELS_AHEAD * max(1, min(threads, 32) // 8))
        self.summary = Summary()
        self._noting = Lock()
        self._advance: Callable[[], None] = lambda: None
        self._batch: list[tuple[ImageFile, DecodedImage]] = []  # images of one size
        self._pending: deque[Begun] = deque()
        self._writing: deque[tuple[ImageFile, Future[float]]] = deque()
        self._writers = Threads(threads)
        space = predictor.label_space
        to_label_ids = make_lookup(enumerate(space.label_ids), default=space.void_label_id)
        self.label_ids = np.frombuffer(to_label_ids, np.uint8)

    def target(self, kind: str, image: ImageFile) -> Path:
        suffix = self.overlay_format if kind == "overlay" else "png"
        return self.out / kind / f"{image.name}.{suffix}"

    def label(
        self, images: Iterable[ImageFile], max_pixels: int, advance: Callable[[], None]
    ) -> None:
        """Read, label and write; a fault of writing ends the run after what is under way."""
        self._advance = advance
        reader = Reader(self.room, max_pixels, self._note)
        with Threads(self.threads) as readers, self._writers:
            try:
                for reading in reader.read_all(readers, self.threads, images):
                    self._take(reading)
                self._begin()
                self._finish(0)
                self._wait_for_writing(0)
            finally:
                use_threads(self.computing)
                self.room.close()
                readers.shutdown(cancel_futures=True)

    def _note(self, note: str) -> None:
        with self._noting:
            self.summary.note(note)

    def _take(self, reading: ImageTask) -> None:
        """Add an image to the batch, and begin the batch when it is full or of another size.

        Nothing that waits for room waits for what is held here: an image that joins the batch has
        room beside it, and results are fetched before an image is waited for.
        """
        size = reading.size.result()
        if self._batch and size != self._batch[0][1].pixels.shape[:2]:
            self._begin()
        if not reading.read.done():
            self._finish(0)
        try:
            read = reading.read.result()
        except Exception as fault:
            self._drop(reading.image, 0, fault)
            return
        self.summary.read_s += read.seconds
        self._batch.append((reading.image, read))
        height, width = read.pixels.shape[:2]
        if size != (height, width) or len(self._batch) >= self._batch_at((height, width)):
            self._begin()

    def _batch_at(self, size: Size) -> int:
        """Return how many images of a (height, width) make a batch."""
        fitting = max(1, self.room.budget // (size[0] * size[1]))
        return min(self.predictor.batch_at(size, self.batch_size), fitting)

    def _begin(self) -> None:
        """Begin to label the batch: at once, or where memory is too short one by one."""
        batch, self._batch = self._batch, []
        if not batch:
            return
        start = time.perf_counter()
        images = [read.pixels for _, read in batch]
        height, width = images[0].shape[:2]
        use_threads(find_threads((height, width), self.predictor.protocol, self.computing))
        confidence = "confidence" in self.kinds
        at_once: list[Pending] | None = None
        if len(batch) > 1:
            at_once = self.predictor.begin_batch(images, confidence=confidence)
        begun: Begun = []
        for place, (image, read) in enumerate(batch):
            try:
                if at_once is not None:
                    pending = at_once[place]
                else:
                    pending = self.predictor.begin(read.pixels, confidence=confidence)
                begun.append((image, read, pending))
            except Exception as fault:
                self._drop(image, read.room, fault)
        self.summary.forward_s += time.perf_counter() - start
        self._pending.append(begun)
        self._finish(self.in_flight)

    def _finish(self, in_flight: int) -> None:
        """Fetch results and let them be written, until at most so many batches are in flight."""
        while len(self._pending) > in_flight:
            for image, read, pending in self._pending.popleft():
                start = time.perf_counter()
                try:
                    prediction = pending.result()
                except Exception as fault:
                    self._drop(image, read.room, fault)
                    continue
                finally:
                    self.summary.forward_s += time.perf_counter() - start
                if prediction.tile is not None and self.predictor.protocol.tile is None:
                    self.summary.tiled += 1
                writing = self._writers.submit(self._write, image, read, prediction)
                self._writing.append((image, writing))
                self._advance()
            self._wait_for_writing(self.threads)

    def _drop(self, image: ImageFile, room: int, fault: Exception) -> None:
        """Give an image up that could not be read or labelled."""
        self.room.give(room)
        self._fail(image, fault)
        self._advance()

    def _fail(self, image: ImageFile, fault: Exception) -> None:
        """List an image that failed; raise what is no fault of the image or of memory."""
        if is_out_of_memory(fault):
            fault = memory_error(f"on {image.path}", LESS)
        elif not isinstance(fault, DsegError) or isinstance(fault, CompileError):
            raise fault
        self.summary.failed.append(Failure(image.path, fault.problem, fault.hint))

    def _wait_for_writing(self, most: int) -> None:
        """Wait until no more than so many images are being written."""
        while len(self._writing) > most:
            image, writing = self._writing.popleft()
            try:
                self.summary.write_s += writing.result()
                self.summary.done += 1
            except Exception as fault:
                if not is_out_of_memory(fault):
                    raise
                self._fail(image, fault)

    def _write(self, image: ImageFile, read: DecodedImage, prediction: Prediction) -> float:
        start = time.perf_counter()
        try:
            for kind in self.kinds:
                shown, palette = self._render(kind, read.pixels, prediction)
                target = self.target(kind, image)
                if target.suffix == ".jpg":
                    write_jpeg(target, shown)
                else:
                    write_png(target, shown, palette)
        finally:
            self.room.give(read.room)
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
            return look_up(self.label_ids, prediction.train_ids), None
        return prediction.train_ids, None


def look_up(table: Pixels, ids: Pixels) -> Pixels:
    """Return the entry of a table of 256 for each of the ids, which may have any shape."""
    flat = ids.reshape(-1)
    found = np.empty_like(flat)
    for start in range(0, flat.size, LOOKED_UP):
        piece = slice(start, start + LOOKED_UP)
        table.take(flat[piece], out=found[piece], mode="clip")  # which needs no buffer
    return found.reshape(ids.shape)
