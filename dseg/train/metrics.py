"""metrics.jsonl: one line of strict JSON for each row that a run reports."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from dseg.errors import EXIT_FAILED_INPUTS, DsegError
from dseg.images import written_whole

Row = dict[str, Any]


class MetricsFile:
    """The rows of a run.

    Training rows have ``kind`` "train", ``step``, ``epoch``, ``loss``, ``lr``, ``images_per_s``
    and ``seconds``; validation rows ``kind`` "val", ``step``, ``epoch``, ``loss``, ``miou``,
    ``pixel_accuracy`` and ``class_iou``. A number that is none is null.

    Args:
        path: the file; it need not exist.
    """

    def __init__(self, path: Path):
        self.path = path

    def write(self, row: Row) -> None:
        """Append a row.

        Raises:
            DsegError: the disk is full or the file cannot be written.
        """
        line = json.dumps(_strict(row), allow_nan=False) + "\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as fault:
            raise DsegError(
                f"{self.path} cannot be written: {fault.strerror or fault}.",
                hint="make room, then go on with --resume.",
                exit_code=EXIT_FAILED_INPUTS,
            ) from fault

    def read(self) -> list[Row]:
        """Return the rows; a line that a kill or a full disk has cut is left out."""
        if not self.path.exists():
            return []
        rows = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                rows.append(row)
        return rows

    def cut_after(self, step: int) -> None:
        """Forget the rows of later steps, which will be made again."""
        if not self.path.exists():
            return
        kept = [row for row in self.read() if row.get("step", 0) <= step]
        with written_whole(self.path) as part:
            part.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")


def _strict(value: Any) -> Any:
    """Return a value as strict JSON has it."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    return value
