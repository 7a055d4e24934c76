"""What may be wrong with an image, its scores, or the memory for it."""

from __future__ import annotations

import numpy as np
import torch

from dseg.errors import DsegError, NotFiniteError
from dseg.images import Pixels
from dseg.protocol import Size

REASON_AT_MOST = 200  # characters of a compiler's message


class CompileError(DsegError):
    """A network that ``torch.compile`` does not compile on this machine."""


def check_image(image: Pixels) -> None:
    """Raise a DsegError for an array that is not (H, W, 3) uint8."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise DsegError(
            f"An array of {image.dtype}, {list(image.shape)}, is not an image.",
            hint="give (H, W, 3) of uint8, RGB, as read_image does.",
        )


def compile_error(network: str, fault: Exception) -> CompileError:
    """Return the error of a network that cannot be compiled."""
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    reason = lines[0][:REASON_AT_MOST].rstrip(".") if lines else type(fault).__name__
    return CompileError(
        f"{network} cannot be compiled by torch.compile here: {reason}.",
        hint="leave --compile away: masks are the same without, up to rounding.",
    )


def not_finite_error(network: str, amp: torch.dtype | None) -> NotFiniteError:
    """Return the error of scores that are NaN or infinite, whose labels would mean nothing."""
    hint = "check the weights: dseg inspect."
    if amp == torch.float16:
        hint = "use --amp bf16 or --amp off: 16-bit floats end at 65504."
    return NotFiniteError(f"The scores of {network} are NaN or infinite on this image.", hint=hint)


def no_room_error(size: Size, tile: Size | None) -> DsegError:
    """Return the error of a shortage of memory where other tiles are not to be tried."""
    what = "whole" if tile is None else f"in tiles of {tile[0]}x{tile[1]}"
    return DsegError(
        f"An image of {size[0]}x{size[1]} does not fit into memory {what}; "
        "scores of other tiles could not be compared.",
        hint="name a --tile or --input-size, which scores record, or another --device.",
    )


def no_tile_error(size: Size, seen: Size) -> DsegError:
    """Return the error of an image of which no tile fits into memory.

    Args:
        size: (height, width) of the image.
        seen: (height, width) at which it is read.
    """
    return DsegError(
        f"Not even a tile of this {size[0]}x{size[1]} image fits into memory; it "
        f"is read at {seen[0]}x{seen[1]}.",
        hint="name a smaller --tile or --input-size, fewer --scales or another --device.",
    )
