"""What a download shows: messages, and the bytes that have arrived."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

AdvanceBytes = Callable[[int], None]


@contextmanager
def _no_progress(what: str, done: int, total: int) -> Iterator[AdvanceBytes]:
    yield lambda count: None


@dataclass(frozen=True)
class Display:
    """Functions that show a download; by default nothing is shown.

    Attributes:
        note: is called with each message, one line.
        progress: is called with the name of a file, the bytes that are there already, and all
            bytes (0 if unknown); returns a context with a function that is called with the number
            of further bytes.
    """

    note: Callable[[str], None] = lambda line: None
    progress: Callable[[str, int, int], AbstractContextManager[AdvanceBytes]] = _no_progress


SILENT = Display()
_current: ContextVar[Display] = ContextVar("display", default=SILENT)


@contextmanager
def showing(display: Display) -> Iterator[None]:
    """Show the progress of downloads to which no display is passed, such as those of a training."""
    token = _current.set(display)
    try:
        yield
    finally:
        _current.reset(token)


def current_display() -> Display:
    """Return the display of ``showing``, ``SILENT`` outside."""
    return _current.get()
