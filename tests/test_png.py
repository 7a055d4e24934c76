"""PNG files as they are written: read back to the same bytes, by every reader, and small."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from cityscapesscripts.helpers.csHelpers import Image as OfficialImage
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dseg.images import Pixels, png, read_mask, write_png
from dseg.labels import CITYSCAPES
from dseg.predict import Predictor

ROOT = Path(__file__).parents[1]
SCENES = ROOT / "dseg" / "samples" / "leftImg8bit" / "demo" / "dsegville"
BUNDLED = ROOT / "dseg" / "weights" / "dabnet.safetensors"
PALETTE = CITYSCAPES.palette()


@pytest.fixture(params=["isal", "zlib"])
def packer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write with each of the two compressors; ISA-L is not on every machine."""
    if request.param == "zlib":
        monkeypatch.setattr(png, "isal", None)
    elif png.isal is None:
        pytest.skip("ISA-L is not installed")
    return str(request.param)


def decoded(pixels: Pixels, palette: list[int] | None = None) -> Image.Image:
    image = Image.open(io.BytesIO(b"".join(png.encode_png(pixels, palette))))
    image.load()
    return image


def noise(*shape: int) -> Pixels:
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


def by_pillow(pixels: Pixels, palette: list[int] | None = None) -> int:
    """Return the bytes of Pillow's file of a map, as it was written before."""
    image, file = Image.fromarray(pixels), io.BytesIO()
    if palette is not None:
        image.putpalette(palette)
    image.save(file, "PNG", compress_level=3)
    return len(file.getvalue())


def labelled(number: int) -> Pixels:
    """Return the train ids of a bundled scene, as its network finds them at 1024x2048."""
    file = sorted(SCENES.iterdir())[number]
    image = Image.open(file).convert("RGB").resize((2048, 1024), Image.Resampling.BICUBIC)
    return Predictor.load(None, BUNDLED, device="cpu")(np.asarray(image))


@pytest.mark.usefixtures("packer")
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (7, 5), (64, 128), (1024, 600)], ids=str)
@pytest.mark.parametrize("kind", ["noise", "constant", "blocks"])
def test_what_is_read_is_what_was_written(shape: tuple[int, int], kind: str) -> None:
    ids = noise(*shape)
    if kind == "constant":
        ids[:] = 23
    elif kind == "blocks":
        ids = (ids[:1, :1] + np.add.outer(np.arange(shape[0]) // 50, np.arange(shape[1]) // 40)) % 9
        ids = ids.astype(np.uint8)
    grey, palette = decoded(ids), decoded(ids, PALETTE)
    assert (grey.mode, palette.mode) == ("L", "P")
    assert np.array_equal(np.asarray(grey), ids)
    assert np.array_equal(np.asarray(palette), ids)
    assert palette.getpalette() == PALETTE
    colors = np.stack([ids, ids[::-1], 255 - ids], 2)
    rgb = decoded(colors)
    assert rgb.mode == "RGB"
    assert np.array_equal(np.asarray(rgb), colors)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 200), st.integers(0, 2**32), st.data()
)
def test_strips_of_any_height_join(
    height: int, width: int, strip: int, seed: int, data: st.DataObject
) -> None:
    channels = data.draw(st.sampled_from([(), (3,)]))
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, data.draw(st.integers(1, 256)), (height, width, *channels), np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(png, "STRIP_BYTES", strip)
        assert np.array_equal(np.asarray(decoded(pixels)), pixels)


@pytest.mark.usefixtures("packer")
@pytest.mark.parametrize(
    "view",
    [lambda ids: ids[:, ::-1], lambda ids: ids[::2, ::3], np.asfortranarray],
    ids=["flipped", "every second", "by columns"],
)
def test_an_array_of_any_layout(view) -> None:
    ids = view(noise(40, 50))
    ids.setflags(write=False)
    assert np.array_equal(np.asarray(decoded(ids)), ids)


@pytest.mark.usefixtures("packer")
def test_every_reader_agrees_on_a_map_of_a_real_size(tmp_path: Path) -> None:
    ids = np.kron(noise(32, 64) % 34, np.ones((32, 32), np.uint8))
    write_png(tmp_path / "ids.png", ids)
    assert np.array_equal(read_mask(tmp_path / "ids.png"), ids)
    assert np.array_equal(np.array(OfficialImage.open(tmp_path / "ids.png")), ids)
    with Image.open(tmp_path / "ids.png") as image:
        image.verify()


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_predicted_maps_are_small(number: int, packer: str) -> None:
    train_ids = labelled(number)
    label_ids = np.array([*CITYSCAPES.label_ids, *[0] * 237], np.uint8)[train_ids]
    for ids, palette in ((label_ids, None), (train_ids, PALETTE)):
        assert np.array_equal(np.asarray(decoded(ids, palette)), ids)
        size = sum(map(len, png.encode_png(ids, palette)))
        assert size <= 1.2 * by_pillow(ids, palette)
