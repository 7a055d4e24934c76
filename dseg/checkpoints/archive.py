"""Check zip archives of ``torch.save`` before torch allocates what they declare."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from dseg.checkpoints.dry_run import dry_run_zip
from dseg.checkpoints.file_format import ASK, UNPACK, broken, other_kind, refused, too_large
from dseg.checkpoints.limits import PICKLED, TENSORS, LimitError, ShortError
from dseg.errors import CheckpointError

LISTING = 8 << 20  # bytes of the archive's directory, about 100 per entry
OTHERS = 1_000  # largest number of entries besides the tensors
HEADER = 30  # bytes before an entry's name


def check_archive(path: Path) -> bool:
    """Refuse a zip archive that torch.save did not write, or that declares more data than it has.

    Returns:
        True if the dry run reached the end of the pickle.

    Raises:
        CheckpointError: truncated, a program, another kind of archive, or its entries are
            compressed, overlap, or describe tensors far larger than the file.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(bounded := _Bounded(file)) as archive:
            bounded.most = PICKLED
            entries = archive.infolist()
            _check_kind(path, [entry.filename for entry in entries])
            _check_entries(entries, archive.start_dir)
            content, storages = _read_pickle(archive, entries)
    except CheckpointError:
        raise
    except MemoryError as fault:
        raise too_large(path) from fault
    except LimitError as fault:
        raise refused(path, fault) from fault
    except Exception as fault:  # zipfile raises many kinds on damaged archives
        raise broken(path, "the archive is damaged or cut short") from fault
    try:
        return dry_run_zip(content, storages)
    except MemoryError as fault:
        raise too_large(path) from fault
    except LimitError as fault:
        raise refused(path, fault) from fault


class _Bounded(io.BufferedReader):
    """A file with bounded single reads, since ``zipfile`` reads the list of entries at once."""

    def __init__(self, file: io.BufferedReader) -> None:
        super().__init__(file.raw)
        self.most = LISTING

    def read(self, size: int | None = -1, /) -> bytes:
        """Return ``size`` bytes.

        Raises:
            LimitError: too many bytes.
        """
        if size is not None and size > self.most:
            raise LimitError(f"its list of entries has {size:,} bytes")
        return super().read(size)


def _check_kind(path: Path, names: list[str]) -> None:
    """Refuse an archive of another kind, recognised by the names of its entries."""
    last = {Path(name).name for name in names}
    if "constants.pkl" in last or "archive_format" in last:
        raise CheckpointError(
            f"{path} contains a program (TorchScript or torch.export); it was rejected and no "
            "code was run.",
            hint=ASK,
        )
    if "data.pkl" in last:
        return
    if "model.weights.h5" in last:
        raise other_kind(path, "a Keras model", ASK)
    if names and all(name.endswith(".npy") for name in names):
        raise other_kind(path, f"arrays of NumPy (.npz, first {names[0][:60]!r})", ASK)
    first = f"first entry {names[0][:60]!r}" if names else "empty"
    raise other_kind(path, f"a zip archive ({first})", UNPACK)


def _check_entries(entries: list[zipfile.ZipInfo], end: int) -> None:
    """Refuse too many, compressed or overlapping entries, and duplicate names."""
    if len(entries) > TENSORS + OTHERS:
        raise LimitError(f"it has {len(entries):,} entries")
    names = {entry.filename.casefold() for entry in entries}
    if len(names) < len(entries):  # torch ignores case in names
        raise LimitError("two of its entries have the same name")
    ordered = sorted(entries, key=lambda entry: entry.header_offset)
    starts = [entry.header_offset for entry in ordered[1:]] + [end]
    for entry, following in zip(ordered, starts, strict=True):
        shown = repr(entry.filename[:60])
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise LimitError(f"its entry {shown} is compressed, which torch.save never does")
        if entry.header_offset + HEADER + entry.compress_size > following:
            raise ShortError(f"its entry {shown} is declared larger than its space in the file")


def _read_pickle(
    archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo]
) -> tuple[bytes, dict[str, int]]:
    """Return the pickle that torch will read, and the size in bytes of each storage."""
    root = entries[0].filename.partition("/")[0]  # the same choice as torch's
    wanted = f"{root}/data.pkl".casefold()
    found = next((entry for entry in entries if entry.filename.casefold() == wanted), None)
    if found is None:
        raise zipfile.BadZipFile
    if found.file_size > PICKLED:
        raise LimitError(f"its pickle has {found.file_size:,} bytes without the tensors' values")
    data = f"{root}/data/"
    sizes = {
        entry.filename.removeprefix(data): entry.file_size
        for entry in entries
        if entry.filename.startswith(data)
    }
    return archive.read(found), sizes
