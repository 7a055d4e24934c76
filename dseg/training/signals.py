"""Stop on request: SIGTERM (pre-empted machines) and Ctrl-C let a run save and end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
)


class Stop:
    """Whether the process was told to stop, and by which signal.

    Attributes:
        signal: its number; 0 for none.
    """

    def __init__(self) -> None:
        self.signal = 0

    def __call__(self) -> bool:
        """Return True if to stop."""
        return self.signal != 0

    @property
    def exit_code(self) -> int:
        """The status to end with: 128 and the signal's number, so 130 after Ctrl-C."""
        return 128 + self.signal if self.signal else 0


@contextmanager
def stopping_on_signals() -> Iterator[Stop]:
    """Remember signals instead of dying of them; a second Ctrl-C interrupts at once.

    Outside of the main thread, where signals cannot be had, nothing is changed.
    """
    stop = Stop()

    def remember(number: int, frame: FrameType | None) -> None:
        if stop.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.signal = number

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, remember) for number in STOPS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
