"""Stop a run on SIGTERM (as for pre-empted machines) and Ctrl-C, after its state is saved."""

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
    """The signal, if any, that asked the process to stop.

    Attributes:
        signal: number of the signal; 0 for none.
    """

    def __init__(self) -> None:
        self.signal = 0

    def __call__(self) -> bool:
        """Return True if a signal was received."""
        return self.signal != 0

    @property
    def exit_code(self) -> int:
        """Exit code: 128 plus the signal's number, so 130 after Ctrl-C."""
        return 128 + self.signal if self.signal else 0


@contextmanager
def stopping_on_signals() -> Iterator[Stop]:
    """Record signals instead of ending at once; a second Ctrl-C interrupts immediately.

    Outside the main thread, which alone can handle signals, nothing is changed.
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
