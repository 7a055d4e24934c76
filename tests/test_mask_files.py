"""Masks as files: lossy ones, rotated ones, shades of grey, several pages, deep values."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dseg.errors import DsegError
from dseg.images import (
    has_orientation,
    read_image,
    read_mask,
    read_mask_file,
    read_size,
    reading,
)

ORIENTATION = 0x112
MODES = ("L", "P", "I;16", "RGB")
CORNER = np.zeros((4, 6), np.uint8)
CORNER[0, :3] = [7, 8, 9]
UPRIGHT = {  # the image of each EXIF orientation, stored as CORNER
    1: CORNER,
    2: CORNER[:, ::-1],
    3: CORNER[::-1, ::-1],
    4: CORNER[::-1],
    5: CORNER.T,
    6: CORNER.T[:, ::-1],
    7: CORNER.T[::-1, ::-1],
    8: CORNER.T[::-1],
}


def save_rotated(image: Image.Image, path: Path, orientation: int, **options: object) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    kwargs = {"tiffinfo": {ORIENTATION: orientation}} if path.suffix == ".tif" else {"exif": exif}
    image.save(path, **kwargs, **options)


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(
    ("mode", "name", "options"),
    [
        *((mode, "a.png", {}) for mode in MODES),
        *((mode, "a.tif", {}) for mode in MODES),
        *((mode, "a.tif", {"compression": "tiff_lzw"}) for mode in MODES),
        ("RGB", "a.webp", {"lossless": True}),
    ],
)
def test_masks_are_rotated_as_images_are(
    mode: str, name: str, options: dict[str, object], orientation: int, tmp_path: Path
) -> None:
    image = Image.fromarray(CORNER.astype(np.uint16) if mode == "I;16" else CORNER)
    if mode == "P":
        image.putpalette([value for value in range(256) for _ in range(3)])
    if mode == "RGB":
        image = image.convert("RGB")
    path = tmp_path / name
    save_rotated(image, path, orientation, **options)
    assert read_mask(path).tolist() == UPRIGHT[orientation].tolist()
    assert read_image(path)[..., 0].tolist() == UPRIGHT[orientation].tolist()
    assert read_size(path) == UPRIGHT[orientation].shape
    assert has_orientation(path) == (orientation != 1)


LOSSY = {
    "a.png": {"format": "JPEG"},
    "a.tif": {"compression": "jpeg"},
    "a.webp": {"lossless": False},
    "b.png": {"format": "WEBP", "quality": 100},
    "a.jpg": {},
}


@pytest.mark.parametrize(("name", "options"), LOSSY.items())
def test_a_lossy_mask_is_refused_whatever_its_name(
    name: str, options: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / name
    Image.fromarray(np.repeat(CORNER[..., None] * 20, 3, 2)).save(path, **options)
    with pytest.raises(DsegError, match="changes values") as caught:
        read_mask_file(path)
    assert "--accept-lossy" in caught.value.hint
    assert read_mask_file(path, accept_lossy=True).loss != ""
    assert read_image(path).shape == (4, 6, 3)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.bmp", {}),
        ("a.webp", {"lossless": True}),
        ("b.webp", {"lossless": True, "exif": b"Exif\0\0junk"}),
        *((f"{kind}.tif", {"compression": kind}) for kind in ("tiff_lzw", "packbits", "zstd")),
        ("a.jpg", {"format": "PNG"}),
    ],
)
def test_an_exact_mask_is_read_whatever_its_name(
    name: str, options: dict[str, object], tmp_path: Path
) -> None:
    Image.fromarray(CORNER).convert("RGB").save(tmp_path / name, **options)
    mask = read_mask_file(tmp_path / name)
    assert (mask.loss, mask.values[..., 0].tolist()) == ("", CORNER.tolist())


@pytest.mark.parametrize("name", ["a.tif", "a.webp", "a.png"])
def test_several_pages_are_refused_in_masks_and_noted_in_images(name: str, tmp_path: Path) -> None:
    first, second = Image.fromarray(CORNER), Image.fromarray(CORNER + 1)
    lossless = {"lossless": True} if name == "a.webp" else {}
    first.save(tmp_path / name, save_all=True, append_images=[second], **lossless)
    with pytest.raises(DsegError, match="several pages or frames; a mask has one"):
        read_mask_file(tmp_path / name)
    notes: list[str] = []
    assert read_image(tmp_path / name, on_note=notes.append)[0, 0, 0] == 7
    assert notes == [f"{tmp_path / name} has several pages or frames; the first is read."]


def test_smaller_copies_of_a_page_do_not_count_as_pages(tmp_path: Path) -> None:
    small = Image.fromarray(CORNER[::2, ::2])
    small.encoderinfo = {"tiffinfo": {254: 1}}
    Image.fromarray(CORNER).save(tmp_path / "a.tif", save_all=True, append_images=[small])
    assert read_mask(tmp_path / "a.tif").tolist() == CORNER.tolist()


RAMP = np.tile(np.arange(256, dtype=np.uint16), (4, 1))


@pytest.mark.parametrize(
    ("factor", "note"),
    [
        (1, "uses 8 of its 16 bits"),
        (4, "uses 10 of its 16 bits"),
        (16, "uses 12 of its 16 bits"),
        (64, "uses 14 of its 16 bits"),
        (257, ""),
    ],
)
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_grey_of_16_bits_is_scaled_by_those_it_uses(
    name: str, factor: int, note: str, tmp_path: Path
) -> None:
    Image.fromarray(RAMP * np.uint16(factor)).save(tmp_path / name)
    notes: list[str] = []
    pixels = read_image(tmp_path / name, on_note=notes.append)
    assert pixels[0, :, 1].tolist() == list(range(256))
    assert len(notes) == bool(note) and all(note in text for text in notes)


PAD = ((1, 0), (0, 0), (0, 0))  # a row of zeros above


def chunk_of(named: bytes) -> bytes:
    """Return a PNG chunk, given its type followed by its data."""
    return struct.pack(">I", len(named) - 4) + named + struct.pack(">I", zlib.crc32(named))


def save_deep_png(path: Path, values: np.ndarray) -> None:
    """Write (H, W, 3) uint16 as a PNG of 16 bits per channel, which PIL cannot."""
    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = (b"IHDR" + head, b"IDAT" + zlib.compress(rows), b"IEND")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(map(chunk_of, chunks)))


@pytest.mark.parametrize("factor", [1, 16, 64, 257])
def test_colours_of_16_bits_are_scaled_by_those_they_use(factor: int, tmp_path: Path) -> None:
    save_deep_png(tmp_path / "a.png", np.stack([RAMP * np.uint16(factor)] * 3, 2))
    pixels = read_image(tmp_path / "a.png")
    assert pixels[0, :, 2].tolist() == list(range(256))


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_colours_of_16_bits_are_restored_from_every_filter(
    kind: int, channels: int, tmp_path: Path
) -> None:
    """The colours of the 5 rows are stored with the filters None, Sub, Up, Average and Paeth."""
    values = np.arange(5 * 7 * channels, dtype=np.uint16).reshape(5, 7, channels) * 39 % 4096
    stored = values.astype(">u2").view(np.uint8).reshape(5, 7, 2 * channels).astype(int)
    left, above = np.pad(stored, ((0, 0), (1, 0), (0, 0)))[:, :-1], np.pad(stored, PAD)[:-1]
    corner = np.pad(left, PAD)[:-1]
    near = [abs(left + above - corner - one) for one in (left, above, corner)]
    paeth = np.where(near[0] <= np.minimum(near[1], near[2]), left, above)
    paeth = np.where(np.minimum(near[0], near[1]) <= near[2], paeth, corner)
    guesses = (np.zeros_like(stored), left, above, (left + above) // 2, paeth)
    rows = b"".join(
        bytes([row]) + (stored[row] - guess[row]).astype(np.uint8).tobytes()
        for row, guess in enumerate(guesses)
    )
    head = struct.pack(">IIBBBBB", 7, 5, 16, kind, 0, 0, 0)
    chunks = (b"IHDR" + head, b"IDAT" + zlib.compress(rows), b"IEND")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(map(chunk_of, chunks)))
    colors = values[..., [0, 0, 0]] if kind == 4 else values[..., :3]
    assert read_image(tmp_path / "a.png").tolist() == (colors >> 4).tolist()


def test_colours_of_16_bits_with_a_wrong_checksum_are_read_as_pil_reads_them(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.png"
    save_deep_png(path, np.stack([RAMP] * 3, 2))
    data = bytearray(path.read_bytes())
    data[-13] ^= 1  # the checksum of the pixels
    path.write_bytes(data)
    assert read_image(path)[0, :, 2].tolist() == list(range(256))


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_images_of_unknown_range_are_refused(dtype: type, tmp_path: Path) -> None:
    Image.fromarray(RAMP.astype(dtype)).save(tmp_path / "a.tif")
    with pytest.raises(DsegError, match="whose range is unknown"):
        read_image(tmp_path / "a.tif")


def test_three_equal_channels_are_ids_where_ids_are_expected(tmp_path: Path) -> None:
    Image.fromarray(np.repeat(CORNER[..., None], 3, 2)).save(tmp_path / "a.png")
    assert read_mask(tmp_path / "a.png").tolist() == CORNER.tolist()


def test_a_png_is_measured_without_decoding_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(CORNER).save(path)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    late = tmp_path / "late.png"
    data, chunk = path.read_bytes(), exif.tobytes()[6:]
    late.write_bytes(data[:-12] + chunk_of(b"eXIf" + chunk) + data[-12:])
    assert read_size(late) == (6, 4)
    assert read_image(late).shape == (6, 4, 3)
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    assert read_size(path) == (4, 6)


def test_the_pixel_limit_is_checked_before_decoding(tmp_path: Path) -> None:
    rows = zlib.compress(bytes(10))
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)
    huge = tmp_path / "huge.png"
    huge.write_bytes(
        b"\x89PNG\r\n\x1a\n" + b"".join(map(chunk_of, (b"IHDR" + head, b"IDAT" + rows)))
    )
    for read in (read_size, read_image, read_mask):
        with pytest.raises(DsegError, match="has 60000x60000 pixels, more than 200,000,000"):
            read(huge)


@pytest.mark.parametrize(("side", "extra"), [(4500, 0), (16, 6_000_000)])
def test_a_run_length_bmp_that_takes_too_long_to_decode_is_refused(
    side: int, extra: int, tmp_path: Path
) -> None:
    head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, 2, 0, 0, 256, 256)
    start = b"BM" + struct.pack("<IHHI", 1080, 0, 0, 1078)
    (tmp_path / "a.bmp").write_bytes(start + head + bytes(1024) + b"\1\1" * (extra // 2) + b"\0\1")
    with pytest.raises(DsegError, match="take too long to decode"):
        read_image(tmp_path / "a.bmp")


def test_the_pixel_limit_of_dseg_applies_to_every_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)  # its errors begin at twice as many
    for name in ("a.tif", "a.png", "a.webp", "a.jpg", "a.bmp"):
        Image.fromarray(CORNER).save(tmp_path / name)
        assert read_image(tmp_path / name, max_pixels=24).shape == (4, 6, 3)
        assert read_size(tmp_path / name) == (4, 6)
    assert Image.MAX_IMAGE_PIXELS == 4


@pytest.mark.parametrize(
    "junk", [b"\0\x08\0\2\1\x12\0\3", b"", b"Exif\0\0Exif\0\0II*\0\x08\0\0\0\0\0", b"II*\0"]
)
def test_images_with_damaged_exif_are_read(junk: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(CORNER).save(path)
    data = path.read_bytes()
    path.write_bytes(data[:33] + chunk_of(b"eXIf" + junk) + data[33:])
    Image.fromarray(CORNER).convert("RGB").save(
        tmp_path / "a.webp", lossless=True, exif=b"Exif\0\0junkjunk"
    )
    for file in (path, tmp_path / "a.webp"):
        assert read_image(file)[..., 0].tolist() == CORNER.tolist()
        assert read_mask(file).tolist() == CORNER.tolist()
        assert read_size(file) == (4, 6)


def test_large_images_are_converted_strip_by_strip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (37, 20, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    monkeypatch.setattr(reading, "STRIP", 100)
    assert np.array_equal(read_image(tmp_path / "a.png"), noise)
