"""Label many images: reading, forward and writing overlap, within bounded memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from threading import Event, Lock

import torch

from dseg.errors import DsegError
from dseg.images import Pixels
from dseg.memory import is_out_of_memory, memory_error
from dseg.parallel import Threads
from dseg.predict.inputs import ImageFile
from dseg.predict.prediction import MEASURES, CompileError, Pending
from dseg.predict.predictor import Predictor
from dseg.predict.readahead import (
    DecodedImage,
    FrameReader,
    ImageTask,
    PixelBudget,
    Reader,
    find_threads,
    use_threads,
)
from dseg.predict.result import Prediction
from dseg.predict.results import Results
from dseg.predict.summary import Failure, Summary
from dseg.protocol import Size
from dseg.video import Frame

# Pixels held from decoding to the end of writing, at most 12 bytes each, for 8 reading and 8
# writing threads. With 16 threads twice as many, with 32 or more four times.
PIXELS_AHEAD = 64_000_000
IN_FLIGHT = {"cuda": 2}  # batches that a GPU computes while the next one is prepared
LOW_MEMORY_HINT = (
    "close other programs, name a smaller --tile or --input-size, or save fewer kinds (--save)."
)
Sink = Callable[[Pixels, float], None]  # takes an overlay and its time in a video
StartedBatch = list[tuple[ImageFile, DecodedImage, Pending]]


class Run:
    """One pass over images: threads read and write, the calling thread computes.

    Args:
        results: where results go.
        threads: number of reading threads, and of writing threads.
        predictor, batch_size: as of ``predict_images``.
    """

    def __init__(
        self, predictor: Predictor, results: Results, threads: int, batch_size: int | None
    ) -> None:
        self.predictor = predictor
        self.results = results
        self.maps = {name: name in results.folders for name in MEASURES}
        self.threads = threads
        self.batch_size = batch_size
        self.in_flight = IN_FLIGHT.get(predictor.device.type, 0)
        self.compute_threads = torch.get_num_threads()
        self.budget = PixelBudget(PIXELS_AHEAD * max(1, min(threads, 32) // 8))
        self.summary = Summary()
        self.ended = Event()  # set when nothing more is read
        self._note_lock = Lock()
        self._advance: Callable[[], None] = lambda: None
        self._batch: list[tuple[ImageFile, DecodedImage]] = []  # images of one size
        self._pending: deque[StartedBatch] = deque()
        self._writing: deque[tuple[ImageFile, Future[float]]] = deque()
        self._writers = Threads(threads)
        self._encoder: Threads | None = None
        self._sink: Sink | None = None

    def label(
        self, images: Iterable[ImageFile], max_pixels: int, advance: Callable[[], None]
    ) -> None:
        """Read, label and write; an error in writing ends the run after the images in flight."""
        reader = Reader(self.budget, max_pixels, self._note)
        with Threads(self.threads) as readers:
            self._label(reader.read_all(readers, self.threads, images), readers, advance)

    def label_frames(
        self,
        video: ImageFile,
        size: Size,
        frames: Iterator[Frame],
        sink: Sink | None,
        advance: Callable[[], None],
    ) -> None:
        """Read, label and write the frames of a video, as ``label`` does images.

        Args:
            video: the file, and the folder of the results of its frames.
            size: (height, width) of a frame.
            frames: the frames.
            sink: called with each overlay and its time, in order, by one thread.
        """
        self._sink = sink
        reader = FrameReader(self.budget, video, size, frames)
        with Threads(1) as thread, Threads(1) as self._encoder:
            self._label(reader.read_all(thread, self.threads), thread, advance)

    def _label(
        self, tasks: Iterator[ImageTask], readers: Threads, advance: Callable[[], None]
    ) -> None:
        self._advance = advance
        with self._writers:
            try:
                for task in tasks:
                    self._add_to_batch(task)
                self._start_batch()
                self._finish(0)
                self._wait_for_writing(0)
            finally:
                use_threads(self.compute_threads)
                self.ended.set()
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
        if decoded is None:  # the end of a video
            return
        self.summary.read_s += decoded.seconds
        self._batch.append((decoded.image or task.image, decoded))
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
        at_once: list[Pending] | None = None
        if len(batch) > 1:
            at_once = self.predictor.begin_batch(images, **self.maps)
        started: StartedBatch = []
        for index, (image, decoded) in enumerate(batch):
            try:
                if at_once is not None:
                    pending = at_once[index]
                else:
                    pending = self.predictor.begin(decoded.pixels, **self.maps)
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
                self._writing.append((image, self._submit(image, decoded, prediction)))
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

    def _submit(
        self, image: ImageFile, decoded: DecodedImage, prediction: Prediction
    ) -> Future[float]:
        """Submit results for writing, and a frame then for encoding; return the seconds."""
        if self._sink is None or self._encoder is None:
            return self._writers.submit(self._write, image, decoded, prediction)
        rendering = self._writers.submit(self._write_frame, image, decoded, prediction)
        return self._encoder.submit(self._encode, self._sink, rendering, decoded.at)

    def _write(self, image: ImageFile, decoded: DecodedImage, prediction: Prediction) -> float:
        """Write all kinds of results, release the pixels, and return the seconds."""
        start = time.perf_counter()
        try:
            self.results.write(image, decoded.pixels, prediction)
        finally:
            self.budget.release(decoded.held)
        return time.perf_counter() - start

    def _write_frame(
        self, image: ImageFile, decoded: DecodedImage, prediction: Prediction
    ) -> tuple[Pixels, float]:
        """Write the results of a frame as ``_write``; return its overlay and the seconds."""
        start = time.perf_counter()
        try:
            overlay = self.results.render_overlay(image, decoded.pixels, prediction)
            self.results.write(image, decoded.pixels, prediction, overlay)
        finally:
            self.budget.release(decoded.held)
        return overlay, time.perf_counter() - start

    @staticmethod
    def _encode(sink: Sink, rendering: Future[tuple[Pixels, float]], at: float) -> float:
        """Wait for an overlay and append it to the video; return the seconds of both."""
        overlay, seconds = rendering.result()
        start = time.perf_counter()
        sink(overlay, at)
        return seconds + time.perf_counter() - start
