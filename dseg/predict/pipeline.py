"""Label many images: reading, forward and writing overlap, within bounded memory."""

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
from dseg.predict.prediction import CompileError, Pending
from dseg.predict.predictor import Predictor
from dseg.predict.readahead import (
    DecodedImage,
    ImageTask,
    PixelBudget,
    Reader,
    find_threads,
    use_threads,
)
from dseg.predict.result import Prediction
from dseg.predict.summary import Failure, Summary, join_summaries
from dseg.protocol import Size
from dseg.render import look_up, render_overlay

# Pixels held from decoding to the end of writing, at most 12 bytes each, for 8 reading and 8
# writing threads. With 16 threads twice as many, with 32 or more four times.
PIXELS_AHEAD = 64_000_000
IN_FLIGHT = {"cuda": 2}  # batches that a GPU computes while the next one is prepared
LOW_MEMORY_HINT = (
    "close other programs, name a smaller --tile or --input-size, or save fewer kinds (--save)."
)
StartedBatch = list[tuple[ImageFile, DecodedImage, Pending]]


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
) -> Summary:
    """Label images and write ``<out>/<kind>/<name>.png`` for each kind (overlays also as jpg).

    An image whose results of all kinds exist is skipped, so that a run continues where it was
    stopped. An image that cannot be read or labelled is listed and does not stop the run.

    Args:
        predictor: the network.
        images: the images, from ``find_images``.
        out: output folder.
        manifest: how the results are made, written into the folder.
        kinds: kinds of results, from ``RESULT_KINDS``.
        overwrite: make all results of these images again, whatever made them before.
        overlay_format: ``png``, or ``jpg``, which is written faster and is smaller.
        max_pixels: maximum number of pixels of an image.
        batch_size: number of consecutive images of one size that are labelled at once, where they
            are not read in tiles; by default chosen for the device.
        advance: called once for each image of this process.
        group: the processes that the images are sharded over; all return the summary of the whole.

    Raises:
        DsegError: the folder holds results of another manifest, or cannot be written.
    """
    group = group or Group()
    with ExitStack() as claim:
        claimed = claimed_folder(out, manifest, images, overwrite=overwrite)
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
        return join_summaries(group.gather(run.summary), images)


class _Run:
    """One pass over images: threads read and write, the calling thread computes.

    Args:
        threads: number of reading threads, and of writing threads.
        predictor, out, kinds, overlay_format, batch_size: as of ``predict_images``.
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
        self.compute_threads = torch.get_num_threads()
        self.budget = PixelBudget(PIXELS_AHEAD * max(1, min(threads, 32) // 8))
        self.summary = Summary()
        self._note_lock = Lock()
        self._advance: Callable[[], None] = lambda: None
        self._batch: list[tuple[ImageFile, DecodedImage]] = []  # images of one size
        self._pending: deque[StartedBatch] = deque()
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
        """Read, label and write; an error in writing ends the run after the images in flight."""
        self._advance = advance
        reader = Reader(self.budget, max_pixels, self._note)
        with Threads(self.threads) as readers, self._writers:
            try:
                for task in reader.read_all(readers, self.threads, images):
                    self._add_to_batch(task)
                self._start_batch()
                self._finish(0)
                self._wait_for_writing(0)
            finally:
                use_threads(self.compute_threads)
                self.budget.close()
                readers.shutdown(cancel_futures=True)

    def _note(self, note: str) -> None:
        with self._note_lock:
            self.summary.note(note)

    def _add_to_batch(self, task: ImageTask) -> None:
        """Add an image to the batch, and start the batch when it is full or of another size.

        This cannot deadlock on the budget: all images of a batch fit the budget together, and
        results in flight are finished before an image is waited for.
        """
        size = task.size.result()
        if self._batch and size != self._batch[0][1].pixels.shape[:2]:
            self._start_batch()
        if not task.decoded.done():
            self._finish(0)
        try:
            decoded = task.decoded.result()
        except Exception as fault:
            self._drop(task.image, 0, fault)
            return
        self.summary.read_s += decoded.seconds
        self._batch.append((task.image, decoded))
        height, width = decoded.pixels.shape[:2]
        if size != (height, width) or len(self._batch) >= self._batch_size_at((height, width)):
            self._start_batch()

    def _batch_size_at(self, size: Size) -> int:
        """Return the number of images of that (height, width) in a batch."""
        fitting = max(1, self.budget.budget // (size[0] * size[1]))
        return min(self.predictor.batch_at(size, self.batch_size), fitting)

    def _start_batch(self) -> None:
        """Start to label the batch: at once, or one by one if memory is insufficient."""
        batch, self._batch = self._batch, []
        if not batch:
            return
        start = time.perf_counter()
        images = [decoded.pixels for _, decoded in batch]
        height, width = images[0].shape[:2]
        use_threads(find_threads((height, width), self.predictor.protocol, self.compute_threads))
        confidence = "confidence" in self.kinds
        at_once: list[Pending] | None = None
        if len(batch) > 1:
            at_once = self.predictor.begin_batch(images, confidence=confidence)
        started: StartedBatch = []
        for index, (image, decoded) in enumerate(batch):
            try:
                if at_once is not None:
                    pending = at_once[index]
                else:
                    pending = self.predictor.begin(decoded.pixels, confidence=confidence)
                started.append((image, decoded, pending))
            except Exception as fault:
                self._drop(image, decoded.held, fault)
        self.summary.forward_s += time.perf_counter() - start
        self._pending.append(started)
        self._finish(self.in_flight)

    def _finish(self, in_flight: int) -> None:
        """Fetch results and submit them for writing; leave at most ``in_flight`` batches."""
        while len(self._pending) > in_flight:
            for image, decoded, pending in self._pending.popleft():
                start = time.perf_counter()
                try:
                    prediction = pending.result()
                except Exception as fault:
                    self._drop(image, decoded.held, fault)
                    continue
                finally:
                    self.summary.forward_s += time.perf_counter() - start
                if prediction.tile is not None and self.predictor.protocol.tile is None:
                    self.summary.tiled += 1
                writing = self._writers.submit(self._write, image, decoded, prediction)
                self._writing.append((image, writing))
                self._advance()
            self._wait_for_writing(self.threads)

    def _drop(self, image: ImageFile, held: int, fault: Exception) -> None:
        """List an image that could not be read or labelled, and release its pixels."""
        self.budget.release(held)
        self._fail(image, fault)
        self._advance()

    def _fail(self, image: ImageFile, fault: Exception) -> None:
        """List an image that failed; raise any error not caused by the image or low memory."""
        if is_out_of_memory(fault):
            fault = memory_error(f"on {image.path}", LOW_MEMORY_HINT)
        elif not isinstance(fault, DsegError) or isinstance(fault, CompileError):
            raise fault
        self.summary.failed.append(Failure(image.path, fault.problem, fault.hint))

    def _wait_for_writing(self, limit: int) -> None:
        """Wait until at most ``limit`` images are being written."""
        while len(self._writing) > limit:
            image, writing = self._writing.popleft()
            try:
                self.summary.write_s += writing.result()
                self.summary.done += 1
            except Exception as fault:
                if not is_out_of_memory(fault):
                    raise
                self._fail(image, fault)

    def _write(self, image: ImageFile, decoded: DecodedImage, prediction: Prediction) -> float:
        """Write all kinds of results, release the pixels, and return the seconds."""
        start = time.perf_counter()
        try:
            for kind in self.kinds:
                rendered, palette = self._render(kind, decoded.pixels, prediction)
                target = self.target(kind, image)
                if target.suffix == ".jpg":
                    write_jpeg(target, rendered)
                else:
                    write_png(target, rendered, palette)
        finally:
            self.budget.release(decoded.held)
        return time.perf_counter() - start

    def _render(
        self, kind: str, pixels: Pixels, prediction: Prediction
    ) -> tuple[Pixels, list[int] | None]:
        """Return the pixels of a kind of result, and their palette if they are ids in colour."""
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
