"""Recognise the format of a checkpoint by its content, and name files of other kinds."""

from __future__ import annotations

from pathlib import Path

from dseg.checkpoints.limits import LimitError, ShortError
from dseg.errors import CheckpointError, DsegError
from dseg.memory import memory_error

AGAIN = "download or copy the file again and compare its size or SHA-256."
STATE_DICT = "a state dict (torch.save of model.state_dict()) or safetensors"
PICKLE = "numpy pickle"
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # first bytes that torch.save wrote until 1.5
MAGIC = LEGACY[4:14]
PROTOCOLS = range(2, 6)  # of pickles that begin with their protocol number
ASK = f"ask its author for {STATE_DICT}."
PROGRAM = "name the checkpoint that it was made from, or an exported .onnx or .xml file."
GRAPH = f"name it .onnx if dseg export wrote it; otherwise {ASK}"
UNPACK = "unpack it, and name the checkpoint in it."
SIGNATURES = (  # offset, bytes, kind of file, hint
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as written by Keras and others", ASK),
    (4, b"TFL3", "a TFLite model", ASK),
    (0, b"GGUF", "a GGUF model", ASK),
    (0, b"\x1f\x8b", "a gzip file", "decompress it (gzip -dc FILE > NAME), and name the result."),
    (4, b"1AY&SY", "a bzip2 file", "decompress it (bzip2 -dc FILE > NAME), and name the result."),
    (0, b"\xfd7zXZ\0", "an xz file", "decompress it (xz -dc FILE > NAME), and name the result."),
    (
        0,
        b"\x28\xb5\x2f\xfd",
        "a Zstandard file",
        "decompress it (zstd -d FILE), and name the result.",
    ),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (257, b"ustar", "a tar archive", UNPACK),
    (0, b"\x93NUMPY", "a single NumPy array (.npy)", ASK),
    (0, b"\x89PNG\r\n\x1a\n", "an image (PNG)", "name a checkpoint file."),
    (0, b"\xff\xd8\xff", "an image (JPEG)", "name a checkpoint file."),
)
ONNX_FIELDS = {  # of ModelProto: field number and wire type
    2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2
}  # fmt: skip


def find_format(path: Path) -> str:
    """Return ``safetensors``, ``torch zip``, ``torch legacy`` or ``numpy pickle``.

    Raises:
        CheckpointError: unreadable, truncated, or not a checkpoint.
    """
    head = _read_head(path)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 40:
        return "safetensors"
    if head.startswith(b"PK"):
        if path.suffix == ".pt2":
            raise other_kind(path, "a program of torch.export", PROGRAM)
        return "torch zip"
    if MAGIC in head[:32] or (head and LEGACY.startswith(head)):
        return "torch legacy"
    if head[:1] == b"\x80" and head[1] in PROTOCOLS:
        return PICKLE
    for offset, signature, kind, hint in SIGNATURES:
        if head[offset:].startswith(signature):
            raise other_kind(path, kind, hint)
    if _is_onnx(head):
        raise other_kind(path, "an ONNX model", GRAPH)
    raise broken(path, _describe_content(head))


def carries_code(path: Path, name: str) -> CheckpointError:
    """Return the error for a file that would run code."""
    name = "".join(letter if letter.isprintable() else "?" for letter in name)[:80]
    return CheckpointError(
        f"{path} contains code ({name}), not only tensors; it was rejected and no code was run.",
        hint=ASK,
    )


def broken(path: Path, reason: str) -> CheckpointError:
    """Return the error for a file that is damaged or not a checkpoint."""
    return CheckpointError(
        f"{path} is not a complete checkpoint: {reason.rstrip('.')}.",
        hint=AGAIN,
    )


def refused(path: Path, reason: LimitError) -> CheckpointError:
    """Return the error for a file that exceeds a limit, or is shorter than it declares."""
    if isinstance(reason, ShortError):
        return broken(path, str(reason))
    return CheckpointError(f"{path} was refused: {reason}.", hint=f"{AGAIN[:-1]}, or {ASK}")


def too_large(path: Path) -> DsegError:
    """Return the error for a file that does not fit into free memory."""
    return memory_error(
        f"while {path} was read ({path.stat().st_size / 1e6:,.0f} MB)",
        "close other programs, or use a machine with more memory.",
    )


def _read_head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError as fault:
        raise CheckpointError(
            f"{path} cannot be read: {fault.strerror}.", hint="name a checkpoint file."
        ) from fault


def _describe_content(head: bytes) -> str:
    if not head:
        return "the file is empty"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<"):
        return "it is a web page, perhaps a warning of the download site"
    if text.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file itself"
    if all(byte in b"\t\n\r" or byte >= 32 for byte in head):
        return f"it is a text file that begins with {head[:40].decode(errors='replace')!r}"
    if len(head) < 16:
        return "the file ends after its first bytes"
    return "it is neither safetensors nor a torch.save file"


def other_kind(path: Path, kind: str, hint: str) -> CheckpointError:
    """Return the error for a file of another kind."""
    return CheckpointError(f"{path} is not a torch checkpoint but {kind}.", hint=hint)


def _is_onnx(head: bytes) -> bool:
    """Return True if the first fields of a protocol buffer are those of an ONNX model."""
    if len(head) < 8 or head[0] != 8 or not 1 <= head[1] <= 64:  # field 1, ir_version
        return False
    place, found = 2, 0
    while place + 2 <= len(head):
        number, wire = head[place] >> 3, head[place] & 7
        if ONNX_FIELDS.get(number) != wire:
            return False
        found += 1
        size, place = _read_varint(head, place + 1)
        if wire == 0:
            continue
        text = head[place : place + size]
        if number in (2, 3, 4, 6) and not all(32 <= byte < 127 for byte in text):
            return False
        place += size
    return found > 0


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    """Return the varint at ``place`` (seven bits per byte), and the place after it."""
    value = shift = 0
    while place < len(data):
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            break
    return value, place
