"""Map the ids of masks through tables."""

from __future__ import annotations

import numpy as np

from dseg.images import Pixels

LOOKUP_PIXELS = 1 << 16  # pixels looked up at once, so that they stay in the processor's cache


def look_up(table: Pixels, ids: Pixels) -> Pixels:
    """Map ids of any shape through a table of 256 entries; both uint8."""
    flat = ids.reshape(-1)
    found = np.empty_like(flat)
    for start in range(0, flat.size, LOOKUP_PIXELS):
        block = slice(start, start + LOOKUP_PIXELS)
        table.take(flat[block], out=found[block], mode="clip")  # no temporary buffer in this mode
    return found.reshape(ids.shape)
