"""Compare the labels of trained networks in bf16, and in channels_last, with float32.

Prints for each checkpoint the percentage of pixels whose label changes: in bf16 against float32,
and in channels_last against contiguous memory (both float32), over all images and in the worst one.

Example:
    python scripts/check_precision.py --img-dir CamVid/test
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor, nn

import dseg
from dseg.checkpoints import find_bundled
from dseg.images import Pixels, read_image
from dseg.predict import Predictor, find_images

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = Path(dseg.__file__).parent / "samples" / "leftImg8bit"
AUTHORS = ROOT / "tests" / "golden" / "authors"
TRAINED = (
    find_bundled(),
    AUTHORS / "dabnet_paddle" / "best.params",
    *sorted((AUTHORS / "espnet").glob("*.pth")),
)


def load(weights: Path, device: str, amp: str = "off", *, contiguous: bool = False) -> Predictor:
    """Load a network; ``contiguous`` leaves weights and inputs in torch's default memory format."""
    predictor = Predictor.load(weights=weights, device=device, precision=amp)
    if contiguous:
        predictor.model.to(memory_format=torch.contiguous_format)
        for module in predictor.model.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.register_forward_pre_hook(make_contiguous)
    return predictor


def make_contiguous(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(value.contiguous() for value in inputs)


def changed(predictor: Predictor, images: list[Pixels], expected: list[Pixels]) -> str:
    """Return the percentage of pixels that get another label than expected."""
    different = [predictor(image).train_ids != e for image, e in zip(images, expected, strict=True)]
    total = np.concatenate([mask.ravel() for mask in different]).mean()
    return f"{100 * total:.4f} (worst image {100 * max(mask.mean() for mask in different):.4f})"


@click.command(help=__doc__)
@click.option("--weights", "-w", multiple=True, type=click.Path(exists=True, path_type=Path))
@click.option("--img-dir", default=SAMPLES, type=click.Path(exists=True, path_type=Path))
@click.option("--limit", type=click.IntRange(1), help="Number of images, evenly spaced.")
@click.option("--device", default="cpu", show_default=True)
def main(weights: tuple[Path, ...], img_dir: Path, limit: int | None, device: str) -> None:
    files = [file.path for file in find_images([img_dir])]
    images = [read_image(path) for path in files[:: max(1, len(files) // (limit or len(files)))]]
    for file in weights or TRAINED:
        labels = [load(file, device)(image).train_ids for image in images]
        bf16 = changed(load(file, device, "bf16"), images, labels)
        layout = changed(load(file, device, contiguous=True), images, labels)
        print(f"{file.name}, {len(images)} images: bf16 {bf16} %, channels_last {layout} %")


if __name__ == "__main__":
    main()
