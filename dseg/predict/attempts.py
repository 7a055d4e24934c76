"""How an image is predicted with the memory at hand: the tiles to try, images at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from dseg.predict.fusion import WHOLE_PIXELS
from dseg.protocol import Protocol, Size

BATCH_PIXELS, MAX_BATCH = 4_200_000, 16  # of a batch on CUDA: two images of Cityscapes
AUTO_TILES: tuple[Size, ...] = ((1024, 2048), (512, 1024), (256, 512))


def tiles_to_try(protocol: Protocol, size: Size, tiles: Sequence[Size]) -> Iterator[Size | None]:
    """Yield the tiles to try in turn for an image, None for the whole image.

    Args:
        protocol: the inference protocol.
        size: (height, width) of the image.
        tiles: (height, width) of tiles, from large to small.
    """
    height, width = protocol.input_of(size)
    if protocol.sliding:
        yield protocol.tile
        return
    if protocol.tile is not None:
        rows, columns = protocol.tile
        yield None if rows >= height and columns >= width else (rows, columns)
        return
    largest = WHOLE_PIXELS / max(protocol.scales) ** 2
    if height * width <= largest:
        yield None
    for tile in tiles:
        fits = min(tile[0], height) * min(tile[1], width) <= largest
        if (tile[0] < height or tile[1] < width) and (fits or tile == tiles[-1]):
            yield tile


def batch_size_at(protocol: Protocol, size: Size, device: torch.device, wanted: int | None) -> int:
    """Return how many images of that (height, width) can be labelled at once.

    Args:
        wanted: the requested batch size; None for one that suits the device.
    """
    inputs = [protocol.input_of(size, scale) for scale in protocol.scales]
    largest = max(height * width for height, width in (size, *inputs))
    if protocol.sliding or protocol.tile is not None or largest > WHOLE_PIXELS:
        return 1
    if wanted is None:
        fitting = max(1, min(MAX_BATCH, BATCH_PIXELS // largest))
        return fitting if device.type == "cuda" else 1
    return wanted


def free_memory(device: torch.device) -> None:
    """Release the memory of a device that torch caches."""
    if device.type != "cpu":
        torch.accelerator.empty_cache()
