"""Room: how much may be held at once, asked for in turn."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Condition


class Room:
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


class Threads(ThreadPoolExecutor):
    """Threads that make do with those there are when no more can be started."""

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except RuntimeError:
            if not self._threads:
                raise
