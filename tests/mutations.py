"""Hypothesis strategies that damage files."""

from __future__ import annotations

import struct
import zlib

from hypothesis import strategies as st

PNG_START = b"\x89PNG\r\n\x1a\n"
NUMBERS = (0, 1, 2, 7, 127, 128, 255, 256, 32_767, 65_535, 65_536, 2**24, 2**31 - 1, 2**32 - 1)


def _apply(data: bytes, kind: str, at: int, value: int, length: int) -> bytes:
    """Damage a file at one place."""
    at %= max(len(data), 1)
    if kind == "byte":
        return data[:at] + bytes([value % 256]) + data[at + 1 :]
    if kind == "cut":
        return data[:at]
    if kind == "remove":
        return data[:at] + data[at + length :]
    if kind == "repeat":
        return data[: at + length] + data[at:]
    if kind == "zeros":
        return data[:at] + bytes(length) + data[at + length :]
    number = NUMBERS[value % len(NUMBERS)]
    size, form = {"u16": (2, "H"), "u32": (4, "I")}[kind[:3]]
    packed = struct.pack(kind[3] + form, number % 2 ** (8 * size))
    return data[:at] + packed + data[at + size :]


def _with_checks(data: bytes) -> bytes:
    """Return a PNG with correct chunk checksums, so that decoders read on."""
    at, chunks = 8, [data[:8]]
    while at + 12 <= len(data):
        size = struct.unpack(">I", data[at : at + 4])[0]
        body = data[at + 4 : at + 8 + size]
        if len(body) < 4 + size:
            break
        chunks += [data[at : at + 4], body, struct.pack(">I", zlib.crc32(body))]
        at += 12 + size
    return b"".join([*chunks, data[at:]])


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Draw one of the seeds with one to six damages, mostly near its beginning."""
    data = draw(st.sampled_from(seeds))
    kinds = ("byte", "byte", "u16<", "u16>", "u32<", "u32>", "cut", "remove", "repeat", "zeros")
    for _ in range(draw(st.integers(1, 6))):
        reach = draw(st.sampled_from((16, 64, 256, 1024, 1 << 20)))
        data = _apply(
            data,
            draw(st.sampled_from(kinds)),
            draw(st.integers(0, max(0, min(reach, len(data)) - 1))),
            draw(st.integers(0, 255)),
            draw(st.integers(1, 64)),
        )
    if data.startswith(PNG_START) and draw(st.booleans()):
        data = _with_checks(data)
    return data
