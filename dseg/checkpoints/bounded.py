"""What reading a pickle costs, bounded: the base of both readers of pickles."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from dseg.checkpoints.limits import Keys, LimitError, Metered

OPEN = 1_000  # containers within each other while a pickle is read


class BoundedUnpickler(pickle._Unpickler):
    """Follows a pickle's instructions, whose number, depth and rare keys are bounded.

    Args:
        file: the pickle.
    """

    metastack: list[list[Any]]  # these six are the base class's
    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    read: Callable[[int], bytes]
    readline: Callable[[], bytes]

    def __init__(self, file: Metered) -> None:
        super().__init__(file, encoding="latin1")
        self.keys = Keys()

    def load_mark(self) -> None:
        """Open a container.

        Raises:
            LimitError: too many are open.
        """
        if len(self.metastack) > OPEN:
            raise LimitError(f"it has more than {OPEN:,} containers within each other")
        self.metastack.append(self.stack)
        self.stack = []
        self.append = self.stack.append
