"""Image files as users have them: every format that is read, every error that is reported."""

from __future__ import annotations

import errno
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from dseg.errors import DsegError
from dseg.images import read_image, read_mask, read_mask_file, write_png, writing

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
PICTURE = np.array([[RED, GREEN, BLUE], [(1, 2, 3), (90, 91, 92), (255, 255, 255)]], np.uint8)


def refused(path: Path, problem: str, *, read=read_image, **options) -> DsegError:
    """Check that a file is refused by a problem of one line that names it, and a hint."""
    with pytest.raises(DsegError) as caught:
        read(path, **options)
    fault = caught.value
    assert str(path) in fault.problem
    assert problem in fault.problem
    assert fault.problem.endswith(".") and not fault.problem.endswith("..")
    assert fault.hint
    assert "\n" not in fault.problem + fault.hint
    return fault


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def png_header(path: Path, width: int, height: int) -> None:
    """Write a whole PNG of 8-bit grey that declares a size; it has only one byte of pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0"))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""))


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.bmp", "a.tif", "a.TIFF", "a.webp"])
def test_lossless_formats_are_read_exactly(tmp_path, name):
    path = tmp_path / name
    Image.fromarray(PICTURE).save(path, lossless=True)
    pixels = read_image(path)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, PICTURE)


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG"])
def test_jpeg_is_read(tmp_path, name):
    Image.new("RGB", (6, 4), (200, 40, 90)).save(tmp_path / name, quality=95)
    pixels = read_image(tmp_path / name)
    assert pixels.shape == (4, 6, 3)
    assert np.abs(pixels.astype(int) - (200, 40, 90)).max() <= 2


def test_what_a_file_holds_counts_not_its_suffix(tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / "a.jpg", "PNG")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), PICTURE)


def test_a_phones_jpeg_of_two_pictures_gives_the_first(tmp_path):
    second = Image.new("RGB", (6, 4), BLUE)
    first = Image.new("RGB", (6, 4), RED)
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    assert Image.open(tmp_path / "a.jpg").format == "MPO"
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - RED).max() <= 2


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("LA", (77, 0), (77, 77, 77)),
        ("RGBA", (10, 20, 30, 0), (10, 20, 30)),
    ],
)
def test_other_modes_become_rgb_and_alpha_is_dropped(tmp_path, mode, color, expected):
    Image.new(mode, (3, 2), color).save(tmp_path / "a.png")
    pixels = read_image(tmp_path / "a.png")
    assert pixels.shape == (2, 3, 3)
    assert pixels.reshape(-1, 3).tolist() == [list(expected)] * 6


def test_a_palette_file_gives_its_colours(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    image.putpalette([*RED, *GREEN, *BLUE])
    image.save(tmp_path / "a.png", transparency=1)
    assert read_image(tmp_path / "a.png").tolist() == [[list(RED), list(GREEN), list(BLUE)]]


def test_a_cmyk_jpeg_has_the_right_colours(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    assert Image.open(tmp_path / "a.jpg").mode == "CMYK"
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - RED).max() <= 3


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_are_cut_to_the_upper_eight(tmp_path, name):
    values = np.array([[0x00FF, 0x0100, 0x7FFF, 0xFFFF]], np.uint16)
    Image.fromarray(values).save(tmp_path / name)
    assert read_image(tmp_path / name)[0].tolist() == [[v] * 3 for v in (0, 1, 127, 255)]


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, [[RED, GREEN, BLUE]]),
        (2, [[BLUE, GREEN, RED]]),  # flipped horizontally
        (3, [[BLUE, GREEN, RED]]),  # upside down
        (6, [[RED], [GREEN], [BLUE]]),  # rotated by 90 degrees
        (8, [[BLUE], [GREEN], [RED]]),
    ],
)
def test_an_image_comes_out_upright(tmp_path, orientation, expected):
    exif = Image.Exif()
    exif[0x0112] = orientation
    blocks = np.repeat(np.repeat(np.array([[RED, GREEN, BLUE]], np.uint8), 16, 0), 16, 1)
    Image.fromarray(blocks).save(tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0)
    pixels = read_image(tmp_path / "a.jpg")
    assert pixels.shape == (16 * len(expected), 16 * len(expected[0]), 3)
    assert np.abs(pixels[8::16, 8::16].astype(int) - np.array(expected)).max() <= 6


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_spoil_an_image(tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / "a.png", exif=b"II*\0\x08\0\0\0\x05\0\x12\x01")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), PICTURE)


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_floating_point_pixels_are_refused(tmp_path, read):
    Image.new("F", (3, 2), 0.5).save(tmp_path / "a.tif")
    refused(tmp_path / "a.tif", "holds floating-point pixels", read=read)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_truncated_file_is_refused(tmp_path, name):
    path = tmp_path / name
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    refused(path, "cannot be decoded: ")


def test_text_with_an_images_name_is_refused(tmp_path):
    (tmp_path / "a.png").write_text("not an image")
    refused(tmp_path / "a.png", "it is not one of PNG, JPEG, WEBP, BMP, TIFF")


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "a.jpg").touch()
    refused(tmp_path / "a.jpg", "cannot be decoded: the file is empty.")


@pytest.mark.parametrize("kind", ["GIF", "EPS", "PPM", "ICO", "TGA"])
def test_other_formats_are_refused_though_pil_could_read_them(tmp_path, kind):
    path = tmp_path / "a.png"
    Image.fromarray(np.repeat(np.repeat(PICTURE, 16, 0), 16, 1)).save(path, kind)
    Image.open(path).close()  # PIL can open it
    refused(path, "it is not one of PNG")


def test_a_psd_is_refused(tmp_path):
    path = tmp_path / "a.png"
    head = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, 2, 3, 8, 3)
    path.write_bytes(head + bytes(12) + struct.pack(">H", 0) + bytes(18))
    assert Image.open(path).format == "PSD"
    refused(path, "it is not one of PNG")


def test_a_bomb_is_refused_from_its_header(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    png_header(path, 30_000, 30_000)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("it was decoded"))
    fault = refused(path, "has 30000x30000 pixels, more than 200,000,000.")
    assert "--max-pixels" in fault.hint


def test_max_pixels_decides_and_not_pils_own_limit(tmp_path, monkeypatch):
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    refused(tmp_path / "a.png", "has 3x2 pixels, more than 5.", max_pixels=5)
    refused(tmp_path / "a.png", "has 3x2 pixels, more than 5.", max_pixels=5, read=read_mask_file)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)  # PIL alone would refuse 3 and more
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", max_pixels=6), PICTURE)
    assert Image.MAX_IMAGE_PIXELS == 1


def test_pipes_and_folders_are_refused(tmp_path):
    (tmp_path / "a.png").mkdir()
    refused(tmp_path / "a.png", "cannot be decoded: Is a directory.")
    refused(tmp_path / "b.png", "does not exist.")
    (tmp_path / "c.png").symlink_to(tmp_path / "gone.png")
    refused(tmp_path / "c.png", "does not exist.")
    (tmp_path / "d.png").symlink_to("d.png")
    refused(tmp_path / "d.png", "cannot be decoded: Too many levels of symbolic links.")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    refused(tmp_path / "a.png", "it is a pipe or a device, not a file")


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.fromarray(PICTURE).save(path)
    path.chmod(0)
    if os.access(path, os.R_OK):  # root can read every file

        def deny(*_, **__):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

        monkeypatch.setattr(Image, "open", deny)
        monkeypatch.setattr(Path, "open", deny)
    refused(path, "cannot be read: permission denied.")


@pytest.mark.parametrize(
    ("dtype", "name"), [(np.uint8, "a.png"), (np.uint16, "a.png"), (np.int32, "a.tif")]
)
def test_a_mask_keeps_its_values_and_type(tmp_path, dtype, name):
    values = np.array([[0, 7, 33], [200, 255, 26]], dtype) * (1 if dtype is np.uint8 else 100)
    Image.fromarray(values).save(tmp_path / name)
    mask = read_mask(tmp_path / name)
    assert mask.dtype == dtype
    np.testing.assert_array_equal(mask, values)
    assert read_mask_file(tmp_path / name).palette is None


def test_a_palette_mask_gives_indices_and_colours(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 1]], np.uint8))
    image.putpalette([*BLUE, *RED])
    image.save(tmp_path / "a.png")
    mask = read_mask_file(tmp_path / "a.png")
    assert mask.values.tolist() == [[0, 1, 1]]
    assert mask.palette is not None and mask.palette.shape == (256, 3)
    assert mask.palette[:3].tolist() == [list(BLUE), list(RED), [0, 0, 0]]
    assert read_mask(tmp_path / "a.png").tolist() == [[0, 1, 1]]


def test_a_mask_of_one_bit_holds_zero_and_one(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    mask = read_mask(tmp_path / "a.png")
    assert (mask.dtype, mask.tolist()) == (np.uint8, [[1, 0]])


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_mask_of_colours_is_a_colour_file_and_no_mask_of_ids(tmp_path, mode):
    Image.fromarray(PICTURE).convert(mode).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask_file(tmp_path / "a.png").values, PICTURE)
    fault = refused(tmp_path / "a.png", "holds colours, not ids.", read=read_mask)
    assert "dseg transfer-labels" in fault.hint


def test_write_png_makes_folders_and_keeps_values_and_palette(tmp_path):
    path = tmp_path / "new" / "folder" / "a.png"
    write_png(path, np.array([[0, 1]], np.uint8), [*RED, *GREEN, *[0] * 762])
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", "P")
        assert np.asarray(image).tolist() == [[0, 1]]
        assert image.convert("RGB").getpixel((1, 0)) == GREEN
    write_png(path, PICTURE)
    np.testing.assert_array_equal(read_image(path), PICTURE)
    assert names_in(path.parent) == ["a.png"]


@pytest.mark.parametrize("before", [None, b"an older result"])
def test_a_full_disk_leaves_the_target_as_it_was_and_no_part(tmp_path, monkeypatch, before):
    path = tmp_path / "a.png"
    if before is not None:
        path.write_bytes(before)

    def fill_up(*_):
        yield b"\x89PNG half"
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writing, "encode_png", fill_up)
    with pytest.raises(DsegError, match="cannot be written: No space left on device") as caught:
        write_png(path, PICTURE)
    assert caught.value.exit_code == 1
    assert names_in(tmp_path) == ([] if before is None else ["a.png"])
    assert before is None or path.read_bytes() == before


def test_ctrl_c_while_writing_leaves_no_part(tmp_path, monkeypatch):
    def interrupt(*_):
        yield b"\x89PNG half"
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "encode_png", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_png(tmp_path / "a.png", PICTURE)
    assert names_in(tmp_path) == []


def test_a_target_is_never_half_written(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    during = []
    encode = writing.encode_png

    def look(*given):
        yield from encode(*given)
        during.append((*names_in(tmp_path), path.exists()))

    monkeypatch.setattr(writing, "encode_png", look)
    write_png(path, PICTURE)
    [(part, existed)] = during
    assert part.startswith(".") and part.endswith(".dseg-part")  # not an image for a later run
    assert not existed and path.exists()


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("file", "one of its parent folders is a file."),
        ("file/below", "one of its parent folders is a file."),
        ("/proc/dseg-out", "No such file or directory."),
    ],
)
def test_a_folder_that_cannot_be_created_is_refused(tmp_path, folder, reason):
    (tmp_path / "file").write_text("a regular file")
    path = tmp_path / folder / "a.png"  # an absolute folder stays as it is
    with pytest.raises(DsegError, match=f"cannot be written: {reason}") as caught:
        write_png(path, PICTURE)
    assert str(path) in caught.value.problem
    assert "name a folder that you can write to" in caught.value.hint
