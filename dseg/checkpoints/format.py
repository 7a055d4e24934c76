"""What kind of file it is, told from its content; what is no checkpoint is named for what it is."""

from __future__ import annotations

import zipfile
from pathlib import Path

from dseg.errors import CheckpointError

AGAIN = "download or copy the file again and compare its size or SHA-256."
STATE_DICT = "a state dict (torch.save of model.state_dict()) or safetensors"


def find_format(path: Path) -> str:
    """Return ``safetensors``, ``torch zip`` or ``torch legacy``.

    Raises:
        CheckpointError: unreadable, cut short, TorchScript, or no checkpoint at all.
    """
    head = _read_head(path)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 40:
        return "safetensors"
    if head.startswith(b"PK"):
        _check_zip(path)
        return "torch zip"
    if head.startswith(b"\x80"):  # a pickle's first instruction: its protocol
        return "torch legacy"
    raise broken(path, _what_else(head))


def broken(path: Path, reason: str) -> CheckpointError:
    """Return the error of a file that is damaged or no checkpoint."""
    return CheckpointError(
        f"{path} is not a whole checkpoint: {reason.rstrip('.')}.",
        hint=AGAIN,
    )


def _read_head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError as fault:
        raise CheckpointError(
            f"{path} cannot be read: {fault.strerror}.", hint="name a checkpoint file."
        ) from fault


def _what_else(head: bytes) -> str:
    if not head:
        return "the file is empty"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<"):
        return "it is a web page, perhaps a download's warning"
    if text.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS, not the file itself"
    if all(byte in b"\t\n\r" or byte >= 32 for byte in head):
        return f"it is a text file that begins with {head[:40].decode(errors='replace')!r}"
    if len(head) < 16:
        return "the file ends after its first bytes"
    return "it is neither safetensors nor a file of torch.save"


def _check_zip(path: Path) -> None:
    """Refuse a zip archive that is cut short or was not written by ``torch.save``."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {Path(name).name for name in archive.namelist()}
    except Exception as fault:  # zipfile raises many kinds on damaged archives
        raise broken(path, "the archive is damaged or cut short") from fault
    if "constants.pkl" in names or "archive_format" in names:
        raise CheckpointError(
            f"{path} is a program (TorchScript or torch.export) and not tensors alone; "
            "it was refused and nothing ran.",
            hint=f"ask its author for {STATE_DICT}.",
        )
    if "data.pkl" not in names:
        raise broken(path, "it is a zip archive, but not one of torch.save")
