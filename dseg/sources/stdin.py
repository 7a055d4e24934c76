"""Standard input: a list of names, or one image or video."""

from __future__ import annotations

from dseg.sources.lists import decode_name, without_bom

BEGINNINGS = {
    b"\x89PNG\r\n": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"\x1aE\xdf\xa3": ".mkv",
}
BRANDS = {b"avif": ".avif", b"avis": ".avif", b"heic": ".heic", b"heix": ".heic", b"mif1": ".heic"}


def find_suffix(data: bytes) -> str:
    """Return the suffix for the content of an image or video file, "" for a list of names."""
    for beginning, suffix in BEGINNINGS.items():
        if data.startswith(beginning):
            return suffix
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    if data[:2] == b"BM" and data[6:10] == b"\0\0\0\0":
        return ".bmp"
    if data[4:8] == b"ftyp":
        return BRANDS.get(data[8:12], ".mp4")
    return ""


def read_names(data: bytes) -> list[str]:
    """Return the lines of a list, or its NUL-separated names (``find -print0``)."""
    data = without_bom(data)  # bytes: file names need not be valid text
    lines = data.split(b"\0") if b"\0" in data else data.splitlines()
    return [decode_name(line) for line in lines if line]
