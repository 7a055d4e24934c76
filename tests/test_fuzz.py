"""Damaged files of every kind: a DsegError or a result, never anything else.

The test suite tries a few examples, always the same. ``make fuzz`` tries ``FUZZ_EXAMPLES`` new ones
each time, within five seconds per example and 2 GB of memory.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import mutated
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save as save_safetensors

from dseg.checkpoints import read_checkpoint, save_model
from dseg.checkpoints.model_card import read_card
from dseg.datasets.classfile import read_class_file
from dseg.datasets.lists import read_pair_list
from dseg.datasets.voc import ENCODING
from dseg.errors import DsegError
from dseg.images import read_image, read_mask_file, read_size
from dseg.images.png import encode_png
from dseg.models import build_model

resource = pytest.importorskip("resource", reason="needs Unix: measures memory")
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
LONG = EXAMPLES > 0
MAX_PIXELS = 20_000_000  # decoding is slow; dseg's own limit is tested elsewhere
MAX_KB = 2_000_000
FUZZ = settings(
    max_examples=EXAMPLES or 40,
    derandomize=not LONG,
    deadline=5000 if LONG else None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True)
def bounded_memory() -> Iterator[None]:
    yield
    if LONG:
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < MAX_KB


def survive(function: Callable[[], object]) -> None:
    """Call a function that may raise a DsegError of two lines, and no other error."""
    try:
        function()
    except DsegError as fault:
        assert fault.problem and "\n" not in fault.problem
        assert fault.hint and "\n" not in fault.hint


# Images and masks


PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)


def _image(kind: str, mode: str, exif: bool = True, **options: object) -> bytes:
    pixels = PIXELS
    file = io.BytesIO()
    if mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 200)
    else:
        image = Image.fromarray(pixels).convert(mode)
    rotated = Image.Exif()
    rotated[0x112] = 6
    if exif and kind in ("PNG", "JPEG", "WEBP", "AVIF", "TIFF"):
        options = {"exif": rotated, **options}
    image.save(file, kind, **options)
    return file.getvalue()


IMAGES = {
    "PNG": [
        *(_image("PNG", mode) for mode in ("RGB", "RGBA", "P", "L", "1", "I;16")),
        *(_image("PNG", mode, exif=False) for mode in ("RGB", "P", "L", "I;16")),
        *(b"".join(encode_png(pixels)) for pixels in (PIXELS, PIXELS[..., 0])),
    ],
    "JPEG": [_image("JPEG", "RGB"), _image("JPEG", "L", progressive=True), _image("JPEG", "CMYK")],
    "WEBP": [_image("WEBP", "RGB"), _image("WEBP", "RGBA", lossless=True)],
    "BMP": [_image("BMP", mode) for mode in ("RGB", "P", "L", "1")],
    "TIFF": [
        *(_image("TIFF", mode) for mode in ("RGB", "P", "L", "I;16")),
        *(_image("TIFF", "RGB", compression=name) for name in ("tiff_lzw", "jpeg", "packbits")),
    ],
    "AVIF": [_image("AVIF", "RGB")],
}


@pytest.mark.parametrize("kind", IMAGES)
def test_damaged_images(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"

    @FUZZ
    @given(mutated(IMAGES[kind]))
    def run(data: bytes) -> None:
        path.write_bytes(data)
        survive(lambda: read_size(path, MAX_PIXELS))
        survive(lambda: read_image(path, MAX_PIXELS))
        survive(lambda: read_mask_file(path, MAX_PIXELS, accept_lossy=True))

    run()


# Lists and class files

LISTS = [
    b"images/a.png masks/a.png\nimages/b.png masks/b.png\n",
    b"\xef\xbb\xbf/data/images/a.png /data/masks/a.png\r\n",
    b"a\nb\n\nc\n",
]
CLASS_FILES = [
    b'mask_colors = true\n[[class]]\nname = "a"\ncolor = [1, 2, 3]\n',
    b'images = "x/{split}"\nmasks = "y/{split}"\n[[class]]\nname = "a"\nids = [0, 7]\n',
    b'[[class]]\nname = "a"\nid = 0\n[[class]]\nname = "b"\nid = 1\nlabel_id = 3\n',
]


def test_damaged_lists(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"

    @FUZZ
    @given(st.one_of(mutated(LISTS), st.binary(max_size=200)))
    def run(data: bytes) -> None:
        path.write_bytes(data)
        survive(lambda: read_pair_list(path, tmp_path, ENCODING))

    run()


@pytest.mark.parametrize("suffix", ["toml", "json"])
def test_damaged_class_files(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"classes.{suffix}"
    seeds = CLASS_FILES
    if suffix == "json":
        seeds = [b'{"class": [{"name": "a", "id": 0, "color": [1, 2, 3]}], "mask_colors": false}']

    @FUZZ
    @given(st.one_of(mutated(seeds), st.binary(max_size=100)))
    def run(data: bytes) -> None:
        path.write_bytes(data)
        survive(lambda: read_class_file(path))

    run()


# Checkpoints and their cards

STATE = {"a.weight": torch.ones(2, 3), "a.bias": torch.zeros(2), "n": torch.tensor(3)}


def _torch_file(zipped: bool, content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


CHECKPOINTS = {
    "zip": [_torch_file(True, STATE), _torch_file(True, {"model": STATE, "epoch": 3})],
    "legacy": [_torch_file(False, STATE), _torch_file(False, {"state_dict": STATE})],
    "safetensors": [save_safetensors(STATE), save_safetensors(STATE, {"dseg": "{}"})],
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_damaged_checkpoints(kind: str, tmp_path: Path) -> None:
    path = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pth")

    @FUZZ
    @given(mutated(CHECKPOINTS[kind]))
    def run(data: bytes) -> None:
        path.write_bytes(data)
        survive(lambda: read_checkpoint(path))

    run()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from((-1, 10**9, 2**70, "dabnet", "cityscapes", "\x1b[31m")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def test_damaged_cards(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_model(build_model("espnet_c"), path)
    with safe_open(path, "pt") as file:
        card = json.loads(file.metadata()["dseg"])

    @FUZZ
    @given(st.sampled_from(sorted(card)), JSON, st.booleans())
    def run(key: str, value: object, nested: bool) -> None:
        changed = dict(card)
        if nested and isinstance(changed[key], dict) and changed[key]:
            inner = next(iter(changed[key]))
            changed[key] = {**changed[key], inner: value}
        else:
            changed[key] = value
        survive(lambda: read_card(path, json.dumps(changed)))

    run()

    @FUZZ
    @given(mutated([json.dumps(card).encode()]))
    def garbled(data: bytes) -> None:
        survive(lambda: read_card(path, data.decode("utf-8", "replace")))

    garbled()
