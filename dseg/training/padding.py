"""Padding: how much of the training crops lies outside of the images."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

from dseg.data.transforms import Augmentation, draw_view, make_generator
from dseg.datasets.base import Dataset
from dseg.errors import DsegError
from dseg.images import read_size

MOST = 0.3  # of a crop, on average; more is reported
SAMPLED = 64  # images whose size is read
DRAWS = 8  # views of each of them
STEP = 16  # pixels; the sides of a suggested crop are multiples of it
Size = tuple[int, int]


def sample_sizes(dataset: Dataset, most: int = SAMPLED) -> list[Size]:
    """Return the (height, width) of up to ``most`` images, evenly spread over a split.

    Only the heads of the files are read. Images that cannot be read are left out.
    """
    every = max(1, -(-len(dataset) // most))
    sizes = []
    for sample in dataset.samples[::every]:
        try:
            sizes.append(read_size(sample.image))
        except DsegError:
            continue
    return sizes


def find_padding(augmentation: Augmentation, sizes: Sequence[Size]) -> float:
    """Return the mean fraction of a crop that is padding, 0 to 1; 0 without sizes.

    Args:
        augmentation: scales and crop; rotations are not counted.
        sizes: (height, width) of images.
    """
    fractions = []
    for index, size in enumerate(sizes):
        for draw in range(DRAWS):
            scale = draw_view(augmentation, *size, make_generator(0, draw, index)).scale
            pairs = zip(size, augmentation.crop, strict=True)
            covered = [min(side * scale / crop, 1.0) for side, crop in pairs]
            fractions.append(1 - covered[0] * covered[1])
    return statistics.fmean(fractions) if fractions else 0.0


def suggest_crop(augmentation: Augmentation, sizes: Sequence[Size]) -> Size:
    """Return a crop of about the images' size, or smaller, whose padding is at most ``MOST``."""
    height, width = (int(statistics.median(sides)) for sides in zip(*sizes, strict=True))
    crop = augmentation.crop
    for percent in range(100, 5, -5):
        crop = _round(height * percent / 100), _round(width * percent / 100)
        if find_padding(replace(augmentation, crop=crop), sizes) <= MOST:
            break
    return crop


def _round(side: float) -> int:
    return max(STEP, int(side) // STEP * STEP)


def find_remark(augmentation: Augmentation, sizes: Sequence[Size]) -> str:
    """Return a warning if crops are padded by more than ``MOST`` on average, else ""."""
    padding = find_padding(augmentation, sizes)
    if padding <= MOST:
        return ""
    height, width = augmentation.crop
    better = "x".join(map(str, suggest_crop(augmentation, sizes)))
    return (
        f"WARNING: on average {100 * padding:.0f} % of each crop is padding: the crop is "
        f"{height}x{width}, the images are {describe_sizes(sizes)} pixels (height x width). "
        f"Better: --set crop={better}"
    )


def describe_sizes(sizes: Sequence[Size]) -> str:
    """Describe sizes, such as ``360x480`` or ``360x480 to 720x960``; "unknown" without any."""
    if not sizes:
        return "unknown"
    ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    first, last = ("x".join(map(str, size)) for size in (ordered[0], ordered[-1]))
    return first if first == last else f"{first} to {last}"
