"""Draw images and save each as JPEG and as PNG; arguments are NUMBER,HEIGHT,WIDTH.

Example:
    python scripts/gpu/photos.py DIR 0,1024,2048 1,1024,2048
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench_infer import draw
from PIL import Image

if __name__ == "__main__":
    for facts in sys.argv[2:]:
        number, height, width = map(int, facts.split(","))
        image = Image.fromarray(draw(height, width, number))
        folder = Path(sys.argv[1])
        image.save(folder / "jpg" / f"{number:04}.jpg", quality=90)
        image.save(folder / "png" / f"{number:04}.png", compress_level=3)
