"""Draw the picture of the README: a bundled scene beside what the bundled network makes of it.

Usage: python scripts/draw_pictures.py [FILE]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import dseg
from dseg.images import Pixels, write_jpeg
from dseg.render import render_overlay

ROOT = Path(__file__).resolve().parent.parent
SCENE = "dseg/samples/leftImg8bit/demo/dsegville/dsegville_000000_000019_leftImg8bit.png"
TARGET = ROOT / "docs/images/before-after.jpg"
WIDTH = 800  # pixels, of the scene and of its overlay; a page shows both in about 840


def draw() -> Pixels:
    """Return the scene, its overlay to the right and a legend below, (H, W, 3) uint8."""
    predictor = dseg.load(device="cpu", runtime="torch")
    prediction = predictor(ROOT / SCENE)
    scene = Image.open(ROOT / SCENE).convert("RGB")
    size = WIDTH, round(WIDTH * scene.height / scene.width)
    image = np.asarray(scene.resize(size, Image.Resampling.LANCZOS))
    labels = Image.fromarray(prediction.train_ids).resize(size, Image.Resampling.NEAREST)
    space = predictor.label_space
    return render_overlay(image, np.asarray(labels), space, side_by_side=True)


def main() -> None:
    """Write the picture."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    write_jpeg(target, draw(), quality=90)
    print(f"{target}: {target.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
