"""A data set to train on in seconds: noisy bands whose brightness depends on their class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def make_camvid(root: Path, train: int = 6, val: int = 2, size: tuple[int, int] = (40, 56)) -> Path:
    """Write bands of noise in CamVid's layout, as bright as their classes' ids.

    Args:
        root: folder of the data set.
        train, val: number of images of the splits.
        size: (height, width) of the images.
    """
    for split, count in (("train", train), ("val", val)):
        for kind in ("", "annot"):
            (root / f"{split}{kind}").mkdir(parents=True, exist_ok=True)
        for number in range(count):
            generator = np.random.default_rng([split == "val", number])
            rows = np.sort(generator.choice(12, 4, replace=False))  # four of the ids 0 to 11
            mask = np.repeat(rows, -(-size[0] // 4))[: size[0], None].repeat(size[1], 1)
            noise = generator.integers(0, 40, (*size, 3))
            image = (mask[..., None] * 18 + noise).astype(np.uint8)
            Image.fromarray(image).save(root / split / f"{number}.png")
            Image.fromarray(mask.astype(np.uint8)).save(root / f"{split}annot" / f"{number}.png")
    return root
