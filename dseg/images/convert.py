"""Whatever holds an image in Python - path, PIL image, array, tensor - as RGB pixels."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dseg.errors import DsegError
from dseg.images.metadata import find_orientation, make_upright
from dseg.images.png import Pixels
from dseg.images.reading import SIXTEEN_BITS, read_image, upper_bits

AnyArray = NDArray[Any]
CHANNELS = (1, 3, 4)  # grey, RGB, RGBA
MAX_REASON = 200  # characters of a decoder's message
EXPECTED = (
    "give a path, a PIL image, or an array or tensor of shape (H, W), (H, W, 3), (H, W, 4) or "
    "(3, H, W): uint8, uint16, or floats from 0 to 1; colours as RGB."
)


def to_pixels(source: Any) -> Pixels:
    """Return an image as (H, W, 3) uint8, RGB; an array that is one already is returned itself.

    Grey values are repeated, alpha is dropped, bool is black and white, 16 bits are reduced as by
    ``read_image``, and floats are values from 0 to 1. PIL images are rotated by their EXIF
    orientation.

    Args:
        source: path, PIL image, array of NumPy (or with ``__array__``), or tensor of torch; arrays
            and tensors as (H, W), (H, W, C) or (C, H, W) with 1, 3 or 4 channels.

    Raises:
        DsegError: the file cannot be read, or the object is not an image or leaves its range of
            values open.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, str | os.PathLike):
        return _from_path(source)
    if isinstance(source, Image.Image):
        return _from_pil(source)
    if isinstance(source, bytes | bytearray | memoryview) or hasattr(source, "read"):
        raise DsegError(
            "The content of an image file cannot be labelled directly.",
            hint="open it with PIL first; bytes through io.BytesIO.",
        )
    if hasattr(source, "detach"):
        return _from_tensor(source)
    if hasattr(source, "__array__"):
        return _from_array(np.asarray(source))
    raise DsegError(f"An object of type {type(source).__name__} is not an image.", hint=EXPECTED)


def _from_path(source: str | os.PathLike[str]) -> Pixels:
    path = Path(source)
    if "://" in str(source):
        raise DsegError(f"{source} is an address, not a file.", hint="download the image first.")
    if path.is_dir():
        raise DsegError(
            f"{path} is a folder, not an image.",
            hint="label all images of a folder by predict_folder(folder, out).",
        )
    return read_image(path)


def _from_pil(image: Image.Image) -> Pixels:
    """Return the pixels of a PIL image, which does not change."""
    try:
        image.load()
        upright = make_upright(image, find_orientation(image))
        if upright.mode in (*SIXTEEN_BITS, "I", "F"):
            return _from_array(np.asarray(upright))
        return np.asarray(upright if upright.mode == "RGB" else upright.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as fault:
        reason = str(fault).strip()[:MAX_REASON].rstrip(".") or type(fault).__name__
        raise DsegError(
            f"The PIL image cannot be decoded: {reason}.",
            hint="open the file again, or save it anew in another program.",
        ) from fault


def _from_tensor(tensor: Any) -> Pixels:
    """Return the pixels of a tensor of torch, on any device."""
    held = tensor.detach().cpu()
    if held.is_floating_point():
        held = held.float()  # NumPy has no bfloat16
    return _from_array(held.numpy(), tensor=True)


def _from_array(values: AnyArray, *, tensor: bool = False) -> Pixels:
    """Return the pixels of an array; of a tensor, channels come first if both ends could be them.

    Raises:
        DsegError: the shape or the values are not those of an image.
    """
    if values.ndim == 4 and values.shape[0] == 1:
        values = values[0]
    if not values.size or values.ndim not in (2, 3):
        raise _not_an_image(values)
    if values.ndim == 3:
        first, last = values.shape[0] in CHANNELS, values.shape[2] in CHANNELS
        if first and (tensor or not last):
            values = values.transpose(1, 2, 0)
        elif not last:
            raise _not_an_image(values)
    pixels = _eight_bits(values)
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        return pixels
    grey = pixels if pixels.ndim == 2 else pixels[..., 0]
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        return np.ascontiguousarray(pixels[..., :3])
    return np.repeat(grey[..., None], 3, axis=2)


def _not_an_image(values: AnyArray) -> DsegError:
    return DsegError(
        f"An array of {values.dtype} and shape {list(values.shape)} is not an image.",
        hint=EXPECTED,
    )


def _eight_bits(values: AnyArray) -> Pixels:
    """Return values as uint8.

    Raises:
        DsegError: they are out of range, so that what they mean is unknown.
    """
    kind = values.dtype.kind
    if values.dtype == np.uint8:
        return values
    if kind == "b":
        bright: Pixels = np.where(values, np.uint8(255), np.uint8(0))
        return bright
    if kind not in "iuf":
        raise _not_an_image(values)
    low, high = values.min().item(), values.max().item()
    if kind == "f":
        if low >= 0 and high <= 1:  # False for NaN
            scaled: Pixels = np.round(values * np.float32(255)).astype(np.uint8)
            return scaled
        raise _out_of_range(values, low, high)
    if low >= 0 and high <= 255 and values.dtype != np.uint16:
        return values.astype(np.uint8)
    if low >= 0 and high <= 65535:
        return upper_bits(values.astype(np.uint16), None, None)
    raise _out_of_range(values, low, high)


def _out_of_range(values: AnyArray, low: float, high: float) -> DsegError:
    if not math.isfinite(low + high):
        return DsegError(
            "The image has values that are NaN or infinite.",
            hint="replace them, or drop the image.",
        )
    if values.dtype.kind != "f":
        meaning, hint = "0 to 255, or to 65535", "convert it to uint8 or uint16."
    elif low >= 0 and high <= 255:
        meaning, hint = "0 to 1", "divide it by 255, or convert it to uint8."
    else:
        meaning = "0 to 1"
        hint = "give the image before it is normalised; dseg normalises it for the network."
    return DsegError(
        f"An image of {values.dtype} has values from {low:g} to {high:g}, not {meaning}.", hint=hint
    )
