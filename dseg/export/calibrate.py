"""The images that an int8 network is calibrated on, as the network reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dseg.config.export import ExportConfig
from dseg.errors import DsegError
from dseg.graphs import padded_size
from dseg.images import Pixels, read_image
from dseg.models import Normaliser, SegModel
from dseg.predict.inputs import ImageFile, find_images
from dseg.predict.resizing import resize_image
from dseg.protocol import Size

MOST_PIXELS = 1_100_000  # of an image that is calibrated on; larger ones are halved until they fit


def calibration_batches(
    model: SegModel, config: ExportConfig, *, most_pixels: int | None = MOST_PIXELS
) -> Iterator[NDArray[np.generic]]:
    """Yield evenly spread images of the folder, one at a time, as the exported graph reads them.

    Args:
        most_pixels: number of pixels from which on an image of any size is halved.

    Yields:
        (1, 3, H, W) float32, normalised, or (1, H, W, 3) uint8, as ``config.input`` says.

    Raises:
        DsegError: the folder has no images, or none of them can be read.
    """
    assert config.img_dir is not None
    for image in readable_images(config.img_dir, config.count):
        pixels = fit_image(model, image, config.size, most_pixels)
        yield pixels[None] if config.input == "uint8" else as_view(model, pixels).numpy()


def readable_images(folder: Path, count: int) -> Iterator[Pixels]:
    """Yield evenly spread images of a folder, without those of them that are damaged.

    Raises:
        DsegError: the folder has no images, or none of them can be read.
    """
    chosen = spread(find_images([folder]), count)
    found = 0
    for file in chosen:
        try:
            image = read_image(file.path)
        except DsegError:  # one damaged image of many does not matter
            continue
        found += 1
        yield image
    if not found:
        raise DsegError(
            f"None of the {len(chosen)} images of {folder} can be read.",
            hint="name a folder of PNG or JPEG files: --img-dir.",
        )


def spread(files: Sequence[ImageFile], count: int) -> list[ImageFile]:
    """Return ``count`` evenly spread files, or all of them if there are fewer."""
    step = max(1.0, len(files) / count)
    return [files[int(index * step)] for index in range(min(count, len(files)))]


def fit_image(
    model: SegModel, image: Pixels, size: Size | None, most_pixels: int | None = MOST_PIXELS
) -> Pixels:
    """Resize an image as the network's protocol does, or to a fixed size.

    Args:
        image: (H, W, 3) uint8.
        size: the only size of an exported graph; None for any.
        most_pixels: number of pixels from which on an image of any size is halved.
    """
    protocol = model.card.protocol
    height, width = size or protocol.input_of((image.shape[0], image.shape[1]))
    while size is None and most_pixels and height * width > most_pixels:
        height, width = height // 2, width // 2
    if size is None:
        height, width = padded_size(model, (height, width))
    fitted = resize_image(image, (height, width), "bilinear-antialias")
    return np.require(fitted, requirements=("C", "W"))


def as_view(model: SegModel, image: Pixels) -> torch.Tensor:
    """Return an (H, W, 3) uint8 image as (1, 3, H, W) float32, normalised."""
    pixels = torch.from_numpy(image)[None].permute(0, 3, 1, 2)
    return Normaliser(model.card, torch.device("cpu"))(pixels).contiguous()
