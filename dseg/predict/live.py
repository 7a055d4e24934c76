"""Webcams and streams: always the newest frame, until Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, Full, Queue
from types import FrameType

from dseg.video import Frame

WAIT_S = 0.2  # between looks at whether to stop
End = Exception | None


@contextmanager
def stopped_by_interrupt(on_stop: Callable[[], None]) -> Iterator[threading.Event]:
    """Yield an event that the first Ctrl-C sets within the body; a second one interrupts.

    Args:
        on_stop: called at the first Ctrl-C.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        on_stop()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def newest(
    frames: Iterator[Frame], stop: threading.Event, ended: threading.Event
) -> Iterator[Iterator[Frame]]:
    """Read frames in a thread as fast as they come; yield an iterator of the newest ones.

    Frames that come while an earlier one is labelled are dropped. The iterator ends with the
    frames, or when ``stop`` or ``ended`` is set.
    """
    slot: Queue[Frame | End] = Queue(maxsize=1)
    args = (frames, slot, stop, ended)
    thread = threading.Thread(target=_read_all, args=args, daemon=True)
    thread.start()
    try:
        yield _take(slot, stop, ended)
    finally:
        ended.set()
        thread.join()


def _read_all(
    frames: Iterator[Frame],
    slot: Queue[Frame | End],
    stop: threading.Event,
    ended: threading.Event,
) -> None:
    end: End = None
    try:
        for frame in frames:
            if stop.is_set() or ended.is_set():
                return
            _replace(slot, frame)
    except Exception as fault:
        end = fault
    while not (stop.is_set() or ended.is_set()):  # the last frame is taken before the end
        try:
            slot.put(end, timeout=WAIT_S)
            return
        except Full:
            continue


def _replace(slot: Queue[Frame | End], frame: Frame) -> None:
    """Put a frame in place of the one that nobody has taken."""
    with suppress(Empty):
        slot.get_nowait()
    slot.put(frame)


def _take(
    slot: Queue[Frame | End], stop: threading.Event, ended: threading.Event
) -> Iterator[Frame]:
    while not (stop.is_set() or ended.is_set()):
        try:
            found = slot.get(timeout=WAIT_S)
        except Empty:
            continue
        if found is None:
            return
        if isinstance(found, Exception):
            raise found
        yield found
