"""The base class of both pickle readers, with bounded nesting, instructions and keys."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from dseg.checkpoints.limits import Keys, LimitError, Metered

OPEN = 1_000  # deepest nesting of containers in a pickle


class BoundedUnpickler(pickle._Unpickler):
    """Executes a pickle; bounds the number of instructions, the nesting and the rare keys."""

    metastack: list[list[Any]]  # the base class defines these six
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
            LimitError: containers are nested too deeply.
        """
        if len(self.metastack) > OPEN:
            raise LimitError(f"it has more than {OPEN:,} nested containers")
        self.metastack.append(self.stack)
        self.stack = []
        self.append = self.stack.append
