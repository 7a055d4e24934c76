"""Room: how much may be held at once, asked for in turn."""

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

SMALL = 32_768  # pixels of the largest view; more are computed by all threads


class PixelBudget:
    """A budget that threads take from in order, and give back to.

    More than the budget is granted only to one who is alone. So no more is ever held than the
    budget or the largest single amount, and whoever comes next is served as soon as there is room.

    Args:
        budget: what all may hold together, in any unit.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._held = self._turn = 0
        self._closed = False
        self._changed = Condition()

    def take(self, turn: int, amount: int) -> None:
        """Wait until all earlier turns were served and there is room.

        Args:
            turn: 0, 1, 2, ...; each must be taken.
            amount: to be given back by ``give``.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._may_take(turn, amount))
            self._held += amount
            self._turn += 1
            self._changed.notify_all()

    def give(self, amount: int) -> None:
        """Give back what was taken."""
        with self._changed:
            self._held -= amount
            self._changed.notify_all()

    def close(self) -> None:
        """Let all who wait go on, as nothing will be given back any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _may_take(self, turn: int, amount: int) -> bool:
        return turn == self._turn and (self._held == 0 or self._held + amount <= self.budget)


class DecodedImage(NamedTuple):
    """A decoded image.

    Attributes:
        pixels: (H, W, 3) uint8, RGB.
        room: pixels that it takes of the budget, to be given back.
        seconds: that decoding it took.
    """

    pixels: Pixels
    room: int
    seconds: float


class ImageTask(NamedTuple):
    """An image that is being read.

    Attributes:
        size: (height, width) by its header, None where it is unknown. It is there without waiting
            for room.
        read: its pixels, once there is room for them.
    """

    image: ImageFile
    size: Future[Size | None]
    read: Future[DecodedImage]


class Reader:
    """Reads images ahead of whoever asks for them.

    Args:
        room: what the pixels take of, in the order of the images.
        max_pixels: that an image may have.
        on_note: called, by any thread, with what a person should know of a file.
    """

    def __init__(self, room: PixelBudget, max_pixels: int, on_note: Callable[[str], None]):
        self._room, self._max_pixels, self._on_note = room, max_pixels, on_note

    def read_all(
        self, threads: Threads, count: int, images: Iterable[ImageFile]
    ) -> Iterator[ImageTask]:
        """Yield images in order, while the next ``count`` of them are read by ``threads``."""
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
        room = found[0] * found[1] if found is not None else 0
        asked = time.perf_counter()
        self._room.take(turn, room)
        waited = time.perf_counter() - asked
        try:
            pixels = read_image(image.path, self._max_pixels, self._on_note)
        except BaseException:
            self._room.give(room)
            raise
        return DecodedImage(pixels, room, time.perf_counter() - start - waited)

    def _find_size(self, image: ImageFile) -> Size | None:
        """Return the (height, width) of an image by its header alone."""
        try:
            return read_size(image.path, self._max_pixels)
        except Exception:  # which reading it tells
            return None


def find_threads(size: Size, protocol: Protocol, most: int) -> int:
    """Return the threads for an image of that (height, width), at most ``most``.

    Beside other work, threads wait longer for each other than a small image takes.
    """
    height, width = protocol.input_of(size)
    return 1 if height * width * max(protocol.scales) ** 2 <= SMALL else most


def use_threads(count: int) -> None:
    """Compute with that many threads from here on, unless the user has chosen."""
    if is_choice_ours() and torch.get_num_threads() != count:
        torch.set_num_threads(count)
