"""Reading images ahead, within a budget of pixels that are held at once."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from threading import Condition
from typing import NamedTuple

import torch

from dseg.images import Pixels, read_image, read_size
from dseg.parallel import Threads, is_choice_ours
from dseg.predict.inputs import ImageFile
from dseg.protocol import Protocol, Size
from dseg.video import Frame, describe_time

SMALL = 32_768  # pixels of the largest view; a larger one is computed by all threads


class PixelBudget:
    """A budget that threads acquire from in a fixed order, and release to.

    More than the budget is granted only while nothing else is held. So no more is ever held than
    the budget or the largest single amount, and the next in order is served as soon as it fits.

    Args:
        budget: amount that can be held at once, in any unit.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._held = self._turn = 0
        self._closed = False
        self._changed = Condition()

    def acquire(self, turn: int, amount: int) -> None:
        """Wait until all earlier turns were served and the amount fits.

        Args:
            turn: position in the order: 0, 1, 2, ..., without gaps.
            amount: amount to hold until ``release``.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._fits(turn, amount))
            self._held += amount
            self._turn += 1
            self._changed.notify_all()

    def release(self, amount: int) -> None:
        """Release an acquired amount."""
        with self._changed:
            self._held -= amount
            self._changed.notify_all()

    def close(self) -> None:
        """Wake all waiting threads, as nothing more will be released."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _fits(self, turn: int, amount: int) -> bool:
        return turn == self._turn and (self._held == 0 or self._held + amount <= self.budget)


class DecodedImage(NamedTuple):
    """A decoded image.

    Attributes:
        pixels: (H, W, 3) uint8, RGB.
        held: number of pixels acquired from the budget, to be released.
        seconds: time that decoding took.
        image: name of the results, if it is known only after decoding, as for video frames.
        at: time of a video frame in seconds.
    """

    pixels: Pixels
    held: int
    seconds: float
    image: ImageFile | None = None
    at: float = 0.0


class ImageTask(NamedTuple):
    """An image that is being read.

    Attributes:
        image: the file.
        size: (height, width) from the header, None if unknown; does not wait for the budget.
        decoded: the pixels, once they fit the budget; None after the last frame of a video.
    """

    image: ImageFile
    size: Future[Size | None]
    decoded: Future[DecodedImage] | Future[DecodedImage | None]


class Reader:
    """Reads images ahead of the consumer.

    Args:
        budget: the budget that pixels are acquired from, in the order of the images.
        max_pixels: maximum number of pixels of an image.
        on_note: called, by any thread, with a remark on a file for the user.
    """

    def __init__(self, budget: PixelBudget, max_pixels: int, on_note: Callable[[str], None]):
        self._budget, self._max_pixels, self._on_note = budget, max_pixels, on_note

    def read_all(
        self, threads: Threads, count: int, images: Iterable[ImageFile]
    ) -> Iterator[ImageTask]:
        """Yield images in order, while ``threads`` read the next ``count`` of them."""
        ahead: deque[ImageTask] = deque()
        for turn, image in enumerate(images):
            size: Future[Size | None] = Future()
            ahead.append(ImageTask(image, size, threads.submit(self._read, turn, image, size)))
            if len(ahead) > count:
                yield ahead.popleft()
        while ahead:
            yield ahead.popleft()

    def _read(self, turn: int, image: ImageFile, size: Future[Size | None]) -> DecodedImage:
        start = time.perf_counter()
        found = self._find_size(image)
        size.set_result(found)
        held = found[0] * found[1] if found is not None else 0
        asked = time.perf_counter()
        self._budget.acquire(turn, held)
        waited = time.perf_counter() - asked
        try:
            pixels = read_image(image.path, self._max_pixels, self._on_note)
        except BaseException:
            self._budget.release(held)
            raise
        return DecodedImage(pixels, held, time.perf_counter() - start - waited)

    def _find_size(self, image: ImageFile) -> Size | None:
        """Return the (height, width) from an image's header, None if it cannot be read."""
        try:
            return read_size(image.path, self._max_pixels)
        except Exception:  # read_image raises it again
            return None


class FrameReader:
    """Reads the frames of a video ahead of the consumer, by one thread.

    Args:
        budget: the budget that pixels are acquired from, in the order of the frames.
        video: the file, and the folder of the results of its frames.
        size: (height, width) of a frame.
        frames: the frames, from ``open_video``.
    """

    def __init__(self, budget: PixelBudget, video: ImageFile, size: Size, frames: Iterator[Frame]):
        self._budget, self._video, self._size, self._frames = budget, video, size, frames
        self._turn = 0

    def read_all(self, thread: Threads, count: int) -> Iterator[ImageTask]:
        """Yield frames in order, while ``thread``, a pool of one, reads the next ``count``.

        The last task that is yielded has no frame, or the error that ended the video.
        """
        size: Future[Size | None] = Future()
        size.set_result(self._size)
        ahead: deque[Future[DecodedImage | None]] = deque()
        while True:
            while len(ahead) <= count:
                ahead.append(thread.submit(self._read))
            oldest = ahead.popleft()
            yield ImageTask(self._video, size, oldest)
            if oldest.exception() is not None or oldest.result() is None:
                return

    def _read(self) -> DecodedImage | None:
        start = time.perf_counter()
        held = self._size[0] * self._size[1]
        self._budget.acquire(self._turn, held)
        self._turn += 1
        waited = time.perf_counter() - start
        try:
            frame = next(self._frames, None)
        except BaseException:
            self._budget.release(held)
            raise
        if frame is None:
            self._budget.release(held)
            return None
        image = ImageFile(self._video.path, self._video.name / describe_time(frame.seconds))
        seconds = time.perf_counter() - start - waited
        return DecodedImage(frame.pixels, held, seconds, image, frame.seconds)


def find_threads(size: Size, protocol: Protocol, most: int) -> int:
    """Return the number of threads for an image of that (height, width), at most ``most``.

    On a busy machine, threads wait longer for each other than computing a small image takes.
    """
    height, width = protocol.input_of(size)
    return 1 if height * width * max(protocol.scales) ** 2 <= SMALL else most


def use_threads(count: int) -> None:
    """Compute with that many threads from now on, unless the user has set their number."""
    if is_choice_ours() and torch.get_num_threads() != count:
        torch.set_num_threads(count)
