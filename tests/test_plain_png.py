"""Plain PNG files are read without Pillow, and exactly as Pillow reads them."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dseg.errors import DsegError
from dseg.images import plain_png, read_image, read_mask_file, write_png
from dseg.images.plain_png import read_plain_png, sum_rows
from dseg.images.png import chunk

LIMIT = 1_000_000
SIGNATURE = b"\x89PNG\r\n\x1a\n"
PALETTE = bytes(range(90, 60, -1))  # 10 colours: (90, 89, 88), (87, 86, 85)...
NONE, SUB, UP, AVERAGE, PAETH = range(5)


def pillow(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def like_libpng(data: bytes) -> np.ndarray:
    """Stand in for imagecodecs, which is not installed everywhere, and expands palettes."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB") if image.mode == "P" else image)


@pytest.fixture(params=["isal", "zlib"])
def alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read without imagecodecs, with each of the two decompressors."""
    monkeypatch.setattr(plain_png, "_libpng", lambda: None)
    if request.param == "zlib":
        monkeypatch.setattr(plain_png, "isal", None)


@pytest.fixture(params=["stand-in", "imagecodecs"])
def libpng(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "imagecodecs":
        pytest.importorskip("imagecodecs")
    else:
        monkeypatch.setattr(plain_png, "_libpng", lambda: like_libpng)


def png(
    rows: bytes,
    *extra: tuple[bytes, bytes],
    size: tuple[int, int] = (3, 2),
    depth: int = 8,
    color: int = 0,
    interlaced: int = 0,
    late: tuple[bytes, bytes] | None = None,
) -> bytes:
    """Return a PNG of 3x2 pixels with the filtered rows, and extra chunks before the pixels."""
    head = struct.pack(">IIBBBBB", *size, depth, color, 0, 0, interlaced)
    palette = [(b"PLTE", PALETTE)] if color == 3 else []
    chunks = [(b"IHDR", head), *palette, *extra, (b"IDAT", zlib.compress(rows))]
    chunks += [(b"IEND", b"")] if late is None else [late, (b"IEND", b"")]
    return SIGNATURE + b"".join(chunk(*one) for one in chunks)


GREY = bytes([NONE, 1, 2, 3, NONE, 4, 5, 6])
PLAIN: dict[str, tuple[bytes, Any]] = {
    "grey": (png(GREY), [[1, 2, 3], [4, 5, 6]]),
    "up": (png(bytes([UP, 1, 2, 3, UP, 4, 5, 255])), [[1, 2, 3], [5, 7, 2]]),
    "none, then up": (png(bytes([NONE, 1, 2, 3, UP, 4, 5, 6])), [[1, 2, 3], [5, 7, 9]]),
    "palette": (png(GREY, color=3), [[1, 2, 3], [4, 5, 6]]),
    "16 bits": (
        png(bytes([UP, 1, 2, 3, 4, 5, 6, UP, 1, 255, 0, 0, 0, 0]), depth=16),
        [[258, 772, 1286], [513, 772, 1286]],  # each byte is summed by itself
    ),
    "colours": (
        png(bytes([UP, *range(9), UP, *[1] * 9]), color=2),
        [[[0, 1, 2], [3, 4, 5], [6, 7, 8]], [[1, 2, 3], [4, 5, 6], [7, 8, 9]]],
    ),
    "harmless metadata": (
        png(GREY, (b"pHYs", bytes(9)), late=(b"tIME", bytes(7))),
        [[1, 2, 3], [4, 5, 6]],
    ),
}
FOR_LIBPNG = ("another filter", "another filter far below", "up, then none")
UNUSUAL: dict[str, bytes] = {
    "4 bits": png(bytes([NONE, 0x12, 0x30, NONE, 0x45, 0x60]), depth=4),
    "alpha": png(bytes([NONE, *range(6), NONE, *range(6)]), color=4),
    "16-bit colours": png(bytes([NONE, *range(18), NONE, *range(18)]), depth=16, color=2),
    "interlaced": png(bytes([NONE, 1, NONE, 3, NONE, 2, NONE, 4, 5, 6]), interlaced=1),
    "transparent value": png(GREY, (b"tRNS", b"\0\1")),
    "text": png(GREY, (b"tEXt", b"a\0b")),
    "late text": png(GREY, late=(b"tEXt", b"a\0b")),
    "two frames": png(GREY, (b"acTL", struct.pack(">II", 1, 0))),
    "another filter": png(bytes([NONE, 1, 2, 3, SUB, 4, 1, 1])),
    "another filter far below": png(
        bytes([UP, 1, 2, 3] * 20 + [PAETH, 1, 1, 1] + [UP, 1, 2, 3] * 20), size=(3, 41)
    ),
    "up, then none": png(bytes([UP, 1, 2, 3] * 2 + [NONE, 1, 1, 1]), size=(3, 3)),
    "unknown filter": png(bytes([NONE, 1, 2, 3, 5, 4, 5, 6])),
    "rows missing": png(GREY[:4]),
    "rows too many": png(GREY + GREY),
    "pixels cut": png(GREY)[:-20] + png(GREY)[-12:],
    "cut before the end": png(GREY)[:-12],
    "wrong checksum of metadata": png(GREY, (b"pHYs", bytes(9))).replace(
        chunk(b"pHYs", bytes(9)), chunk(b"pHYs", bytes(9))[:-1] + b"\0"
    ),
    "wrong checksum of the stream": SIGNATURE
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 2, 8, 0, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(GREY)[:-1] + b"\0")
    + chunk(b"IEND", b""),
    "no checksum of the stream": SIGNATURE
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 2, 8, 0, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(GREY)[:-4])
    + chunk(b"IEND", b""),
    "no palette": png(GREY, color=3).replace(chunk(b"PLTE", PALETTE), b""),
    "palette of half a colour": png(GREY, color=3).replace(
        chunk(b"PLTE", PALETTE), chunk(b"PLTE", PALETTE[:-1])
    ),
    "no pixels": png(GREY).replace(chunk(b"IDAT", zlib.compress(GREY)), b""),
    "another chunk within the pixels": png(GREY).replace(
        chunk(b"IDAT", zlib.compress(GREY)),
        chunk(b"IDAT", zlib.compress(GREY)[:5])
        + chunk(b"gAMA", bytes(4))
        + chunk(b"IDAT", zlib.compress(GREY)[5:]),
    ),
    "too many pixels": png(GREY, size=(LIMIT, 2)),
    "no width": png(GREY, size=(0, 2)),
    "a bomb": png(bytes(10_000_000)),
    "no PNG": b"P5 3 2 255 " + bytes(range(40)),
    "a short file": SIGNATURE,
    "empty": b"",
}


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.usefixtures("alone")
def test_a_plain_file_is_read_as_pillow_reads_it(name: str, tmp_path: Path) -> None:
    data, expected = PLAIN[name]
    path = tmp_path / "a.png"
    path.write_bytes(data)
    plain = read_plain_png(path, LIMIT)
    assert plain is not None
    assert plain[0].tolist() == expected == pillow(data).tolist()
    assert plain[0].dtype == pillow(data).dtype
    assert (plain[1] is None) == (name != "palette")


@pytest.mark.parametrize("name", UNUSUAL)
@pytest.mark.usefixtures("alone")
def test_all_other_files_are_left_to_pillow(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(UNUSUAL[name])
    assert read_plain_png(path, LIMIT) is None


@pytest.mark.parametrize("name", sorted(set(UNUSUAL) - set(FOR_LIBPNG)))
@pytest.mark.usefixtures("libpng")
def test_libpng_gets_no_unusual_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(UNUSUAL[name])
    assert read_plain_png(path, LIMIT) is None


@pytest.mark.parametrize("name", FOR_LIBPNG)
@pytest.mark.usefixtures("libpng")
def test_libpng_gets_files_with_other_filters(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(UNUSUAL[name])
    plain = read_plain_png(path, LIMIT)
    assert plain is not None and plain[0].tolist() == pillow(UNUSUAL[name]).tolist()


def test_interlaced_files_and_too_many_pixels_are_refused_before_decoding(tmp_path: Path) -> None:
    assert plain_png.parse_png(UNUSUAL["interlaced"]) is None
    path = tmp_path / "a.png"
    path.write_bytes(PLAIN["grey"][0])
    assert read_plain_png(path, 6) is not None
    assert read_plain_png(path, 5) is None


def test_16_bits_of_a_plain_file_are_scaled_by_those_it_uses(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PLAIN["16 bits"][0])  # up to 1286: 12 bits
    assert read_image(path)[..., 2].tolist() == [[16, 48, 80], [32, 48, 80]]


def test_pipes_folders_and_missing_files_are_left_to_pillow(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("pipe.png", ".", "missing.png"):
        assert read_plain_png(tmp_path / name, LIMIT) is None


def test_the_unused_colours_of_a_palette_are_black(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PLAIN["palette"][0])
    palette = read_mask_file(path).palette
    assert palette is not None and palette.shape == (256, 3)
    assert palette[[0, 9, 10, 255]].tolist() == [[90, 89, 88], [63, 62, 61], [0] * 3, [0] * 3]
    assert read_image(path)[1, 2].tolist() == [72, 71, 70]  # of value 6


@pytest.mark.parametrize("height", [1, 2, 31, 32, 33, 64, 100])
def test_rows_are_summed_modulo_256(height: int) -> None:
    rows = np.full((height, 2), [1, 7], np.uint8)
    ramp = np.arange(1, height + 1)
    assert sum_rows(rows).tolist() == np.stack([ramp, ramp * 7 % 256], 1).tolist()


@pytest.mark.usefixtures("alone")
def test_written_masks_and_colours_are_plain(tmp_path: Path) -> None:
    colors = np.random.default_rng(0).integers(0, 256, (70, 50, 3), np.uint8)
    for name, pixels, palette in (
        ("ids", colors[..., 0], None),
        ("palette", colors[..., 0], list(range(256)) * 3),
        ("colors", colors, None),
    ):
        write_png(tmp_path / name, pixels, palette)
        plain = read_plain_png(tmp_path / name, LIMIT)
        assert plain is not None and (plain[0] == pixels).all()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_filter_is_read_by_libpng_as_by_pillow(data: st.DataObject) -> None:
    depth, color = data.draw(st.sampled_from([(8, 0), (8, 2), (8, 3), (16, 0)]))
    width, height = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 40))
    line = width * (3 if color == 2 else depth // 8)
    filters = data.draw(st.lists(st.integers(0, 4), min_size=height, max_size=height))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    rows = b"".join(
        bytes([one]) + rng.integers(0, 256, line, np.uint8).tobytes() for one in filters
    )
    content = png(rows, size=(width, height), depth=depth, color=color)
    plain = plain_png.parse_png(content)
    assert plain is not None
    for decode in decoders():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(plain_png, "_libpng", lambda decode=decode: decode)
            values = plain_png._decode(plain)
        assert values is not None and values.dtype == pillow(content).dtype
        assert values.tolist() == pillow(content).tolist()


def decoders() -> list[Callable[[bytes], np.ndarray]]:
    """Return the stand-in, and imagecodecs where it is installed."""
    try:
        from imagecodecs import png_decode
    except ImportError:
        return [like_libpng]
    return [like_libpng, png_decode]


@pytest.mark.usefixtures("libpng")
def test_a_wrong_checksum_of_pixels_is_overlooked_as_by_pillow(tmp_path: Path) -> None:
    rows = bytes([NONE, 1, 2, 3, PAETH, 4, 1, 1])
    path = tmp_path / "a.png"
    path.write_bytes(png(rows)[:-13] + b"\0" + png(rows)[-12:])
    assert read_mask_file(path).values.tolist() == pillow(png(rows)).tolist()


@pytest.mark.usefixtures("libpng")
def test_damaged_pixels_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(UNUSUAL["pixels cut"])
    with pytest.raises(DsegError, match=r"a\.png cannot be decoded"):
        read_mask_file(path)


def test_libpng_is_no_longer_used_after_many_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fail(data: bytes) -> np.ndarray:
        asked.append(data)
        raise RuntimeError("damaged")

    monkeypatch.setattr(plain_png, "_libpng", lambda: fail)
    monkeypatch.setattr(plain_png, "_faults", [])
    monkeypatch.setattr(plain_png, "MAX_FAULTS", 3)
    path = tmp_path / "a.png"
    path.write_bytes(UNUSUAL["another filter"])
    for _ in range(5):
        assert read_mask_file(path).values.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert len(asked) == 3
