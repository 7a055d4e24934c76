"""Whatever holds an image gives the labels of its pixels, or an error of two lines."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from stand_ins import StandIn, draw, predictor

from dseg.errors import DsegError
from dseg.images import to_pixels

STREET = draw(40, 56)
GREY = STREET[..., 0]


def tensor(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(array))


SAME: dict[str, Callable[[], Any]] = {
    "array": lambda: STREET,
    "RGBA": lambda: np.dstack([STREET, np.full((40, 56), 7, np.uint8)]),
    "channels first": lambda: STREET.transpose(2, 0, 1),
    "16 bits": lambda: STREET.astype(np.uint16) * 257,
    "int64": lambda: STREET.astype(np.int64),
    "int32 of 16 bits": lambda: STREET.astype(np.int32) * 257,
    "float": lambda: STREET.astype(np.float32) / 255,
    "double": lambda: STREET / 255,
    "PIL": lambda: Image.fromarray(STREET),
    "PIL RGBA": lambda: Image.fromarray(STREET).convert("RGBA"),
    "tensor": lambda: tensor(STREET),
    "tensor, channels first": lambda: tensor(STREET).permute(2, 0, 1),
    "tensor, float": lambda: tensor(STREET).permute(2, 0, 1).float() / 255,
    "tensor, one of a batch": lambda: tensor(STREET).permute(2, 0, 1)[None],
    "tensor with gradients": lambda: (tensor(STREET).float() / 255).requires_grad_(),
}
AS_GREY: dict[str, Callable[[], Any]] = {
    "array": lambda: GREY,
    "one channel": lambda: GREY[..., None],
    "one channel first": lambda: GREY[None],
    "PIL": lambda: Image.fromarray(GREY),
    "PIL of 16 bits": lambda: Image.fromarray(GREY.astype(np.uint16) * 257),
    "tensor": lambda: tensor(GREY)[None],
}


@pytest.mark.parametrize("name", SAME)
def test_an_image_in_any_form_has_its_pixels(name: str) -> None:
    assert np.array_equal(to_pixels(SAME[name]()), STREET)


@pytest.mark.parametrize("name", AS_GREY)
def test_grey_values_are_repeated(name: str) -> None:
    assert np.array_equal(to_pixels(AS_GREY[name]()), np.dstack([GREY] * 3))


def test_bool_is_black_and_white_and_half_precision_is_read() -> None:
    assert to_pixels(np.array([[True, False]])).tolist() == [[[255] * 3, [0] * 3]]
    assert to_pixels(torch.ones(3, 2, 2, dtype=torch.bfloat16)).min() == 255


def test_a_pil_image_is_rotated_by_its_exif_and_a_path_can_be_text(here: Path) -> None:
    image = Image.fromarray(STREET)
    image.getexif()[ExifTags.Base.Orientation] = 6
    image.save("turned.png", exif=image.getexif())
    expected = np.rot90(STREET, -1)
    for given in ("turned.png", Path("turned.png"), Image.open("turned.png")):
        assert np.array_equal(to_pixels(given), expected)


WRONG: dict[str, tuple[Callable[[], Any], str, str]] = {
    "None": (lambda: None, "type NoneType is not an image", "give a path"),
    "bytes": (lambda: b"abc", "content of an image file", "BytesIO"),
    "file": (lambda: io.BytesIO(b"abc"), "content of an image file", "BytesIO"),
    "list of numbers": (lambda: [[1, 2]], "type list is not an image", "give a path"),
    "missing": (lambda: "nothing.png", "nothing.png does not exist", "spelling"),
    "folder": (lambda: Path(), "is a folder", "predict_folder"),
    "address": (lambda: "https://a.org/b.jpg", "is an address", "download"),
    "empty": (lambda: np.zeros((0, 4, 3), np.uint8), "shape [0, 4, 3]", "give a path"),
    "7 channels": (lambda: np.zeros((5, 5, 7)), "shape [5, 5, 7]", "(H, W, 3)"),
    "text": (lambda: np.array([["a"]]), "is not an image", "(H, W, 3)"),
    "0 to 255": (lambda: STREET.astype(float), "from 0 to 255, not 0 to 1", "divide it by 255"),
    "normalised": (lambda: STREET / 50 - 2, "not 0 to 1", "before it is normalised"),
    "NaN": (lambda: np.full((4, 4), math.nan), "NaN", "replace"),
    "negative": (lambda: np.full((4, 4), -1), "from -1 to -1, not 0 to 255", "uint8"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_an_image_is_an_error_that_says_why(name: str, here: Path) -> None:
    make, problem, hint = WRONG[name]
    with pytest.raises(DsegError) as caught:
        predictor(StandIn()).predict(make())
    assert problem in caught.value.problem
    assert hint in caught.value.hint


def test_a_damaged_pil_image_is_an_error(here: Path) -> None:
    Image.fromarray(draw(200, 200)).save("whole.png")
    data = Path("whole.png").read_bytes()
    with pytest.raises(DsegError, match="cannot be decoded"):
        to_pixels(Image.open(io.BytesIO(data[: len(data) // 2])))
