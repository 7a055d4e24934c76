"""Stop a run on SIGTERM (as for pre-empted machines) and Ctrl-C, after its state is saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGBREAK")  # the last on Windows: Ctrl-Break
    if hasattr(signal, name)
)


class Stop:
    """The signal, if any, that asked the process to stop.

    Attributes:
        signal: number of the signal; 0 for none.
        asked: True once the training has asked for it, so that there is something to save.
    """

    def __init__(self) -> None:
        self.signal, self.asked = 0, False

    def __call__(self) -> bool:
        """Return True if a signal was received."""
        self.asked = True
        return self.signal != 0

    @property
    def exit_code(self) -> int:
        """Exit code: 128 plus the signal's number, so 130 after Ctrl-C."""
        return 128 + self.signal if self.signal else 0


@contextmanager
def stopping_on_signals(
    acknowledge: Callable[[str], None] = lambda text: None,
) -> Iterator[Stop]:
    """Record signals instead of ending at once, so that the training can save its state.

    A second Ctrl-C interrupts immediately, and so does one before the first step is done. Outside
    the main thread, which alone can handle signals, nothing is changed.

    Args:
        acknowledge: called from the signal's handler, between two instructions of the main thread,
            with what happens next; it must not take a lock.
    """
    stop = Stop()

    def remember(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and (stop.signal or not stop.asked):
            raise KeyboardInterrupt
        if not stop.signal:
            again = "; Ctrl-C again quits at once" if number == signal.SIGINT else ""
            acknowledge(f"Stopping after this step{again}.")
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
