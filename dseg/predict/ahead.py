"""Reading ahead: images are decoded by threads, in order, within a budget of pixels."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import NamedTuple

from dseg.images import Pixels, read_image, read_size
from dseg.predict.room import Room, Threads
from dseg.predict.sources import ImageFile
from dseg.protocol import Size


class Read(NamedTuple):
    """A decoded image.

    Attributes:
        pixels: (H, W, 3) uint8, RGB.
        room: pixels that it takes of the budget, to be given back.
        seconds: that decoding it took.
    """

    pixels: Pixels
    room: int
    seconds: float


class Reading(NamedTuple):
    """An image that is being read.

    Attributes:
        size: (height, width) by its header, None where it is unknown. It is there without waiting
            for room.
        read: its pixels, once there is room for them.
    """

    image: ImageFile
    size: Future[Size | None]
    read: Future[Read]


class Reader:
    """Reads images ahead of whoever asks for them.

    Args:
        room: what the pixels take of, in the order of the images.
        max_pixels: that an image may have.
        on_note: called, by any thread, with what a person should know of a file.
    """

    def __init__(self, room: Room, max_pixels: int, on_note: Callable[[str], None]):
        self._room, self._max_pixels, self._on_note = room, max_pixels, on_note

    def read_all(
        self, threads: Threads, count: int, images: Iterable[ImageFile]
    ) -> Iterator[Reading]:
        """Yield images in order, while the next ``count`` of them are read by ``threads``."""
        ahead: deque[Reading] = deque()
        for turn, image in enumerate(images):
            size: Future[Size | None] = Future()
            ahead.append(Reading(image, size, threads.submit(self._read, turn, image, size)))
            if len(ahead) > count:
                yield ahead.popleft()
        while ahead:
            yield ahead.popleft()

    def _read(self, turn: int, image: ImageFile, size: Future[Size | None]) -> Read:
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
        return Read(pixels, room, time.perf_counter() - start - waited)

    def _find_size(self, image: ImageFile) -> Size | None:
        """Return the (height, width) of an image by its header alone."""
        try:
            return read_size(image.path, self._max_pixels)
        except Exception:  # which reading it tells
            return None
