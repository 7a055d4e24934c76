"""metrics.jsonl, with one line of strict JSON per row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

from dseg.errors import EXIT_FAILED_INPUTS, DsegError
from dseg.files import written_whole
from dseg.jsonio import dumps, is_count, is_number, parse_object, strict

Row = dict[str, Any]
NUMBERS = {
    "train": ("epoch", "loss", "lr", "images_per_s", "seconds"),
    "val": ("epoch", "loss", "miou", "pixel_accuracy"),
}


class MetricsFile:
    """The file with a run's rows of metrics.

    Training rows have ``kind`` "train", ``step``, ``epoch``, ``loss``, ``lr``, ``images_per_s``,
    ``seconds`` and of these, spent waiting for data, ``data_seconds``; validation rows ``kind``
    "val", ``step``, ``epoch``, ``loss``, ``miou``, ``pixel_accuracy`` and ``class_iou``. NaN and
    infinity are null.

    Args:
        path: the file; it is created by the first row.
    """

    def __init__(self, path: Path):
        self.path = path

    def write(self, row: Row) -> None:
        """Append a row, completely or not at all.

        Raises:
            DsegError: the disk is full or the file cannot be written.
        """
        line = dumps(strict(row), indent=None).encode()
        with self._io_errors_reported("written", "make room, then continue with --resume."):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileIO(self.path, "a+") as file:
                size = file.seek(0, 2)
                try:
                    _write_all(file, line if _ends_a_line(file, size) else b"\n" + line)
                except OSError:
                    with suppress(OSError):  # half a line would be worse than no line
                        file.truncate(size)
                    raise

    def read(self) -> list[Row]:
        """Return the rows, without lines that are incomplete or not a row.

        Raises:
            DsegError: the file cannot be read.
        """
        return [row for _, row in self._lines()]

    def cut_after(self, step: int, validated_at: int | None = None) -> None:
        """Remove incomplete lines and the rows of later steps, which a resumed run writes again.

        Args:
            step: last step whose rows are kept.
            validated_at: last step whose validation is kept; by default ``step``.

        Raises:
            DsegError: the file cannot be read or written.
        """
        last_val = step if validated_at is None else validated_at
        kept = "".join(
            f"{line}\n"
            for line, row in self._lines()
            if row["step"] <= (last_val if row["kind"] == "val" else step)
        )
        if self.path.exists():
            with written_whole(self.path) as part:
                part.write_bytes(kept.encode())

    def _lines(self) -> Iterator[tuple[str, Row]]:
        """Yield each line that contains a row, with the row."""
        with self._io_errors_reported("read", "check its owner and permissions."):
            text = self.path.read_bytes().decode(errors="replace") if self.path.exists() else ""
        for line in text.split("\n"):
            with suppress(ValueError):
                row = parse_object(line)
                if _is_row(row):
                    yield line, row

    @contextmanager
    def _io_errors_reported(self, done: str, hint: str) -> Iterator[None]:
        try:
            yield
        except OSError as fault:
            raise DsegError(
                f"{self.path} cannot be {done}: {fault.strerror or fault}.",
                hint=hint,
                exit_code=EXIT_FAILED_INPUTS,
            ) from fault


def _is_row(row: Row) -> bool:
    """Return True if an object has the fields of a row, with a number or null for each value."""
    names = NUMBERS.get(str(row.get("kind")))
    if names is None or not is_count(row.get("step")):
        return False
    scores = row.get("class_iou", {})
    if not isinstance(scores, dict):
        return False
    values = [*(row.get(name) for name in names), *scores.values()]
    return all(value is None or is_number(value) for value in values)


def _ends_a_line(file: FileIO, size: int) -> bool:
    """Return True if the file is empty or its last line is complete."""
    if size == 0:
        return True
    file.seek(size - 1)
    return file.read(1) == b"\n"


def _write_all(file: FileIO, line: bytes) -> None:
    """Write a line; on a full disk the first write can be incomplete and the next fails."""
    while line:
        line = line[file.write(line) :]
