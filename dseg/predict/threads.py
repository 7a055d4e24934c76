"""How many threads compute an image: one for small ones, which they only hinder."""

from __future__ import annotations

import torch

from dseg.cores import is_choice_ours
from dseg.protocol import Protocol, Size

SMALL = 32_768  # pixels of the largest view; more are computed by all threads


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
