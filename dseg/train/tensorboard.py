"""TensorBoard's event files, for those who have it: ``pip install 'dseg[tensorboard]'``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dseg.errors import DsegError


class TensorBoard:
    """Writes rows of metrics as scalars.

    Args:
        folder: for the event files.
        purge_step: what earlier files say of this and later steps is void.

    Raises:
        DsegError: the package is not installed.
    """

    def __init__(self, folder: Path, purge_step: int | None = None):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise DsegError(
                "TensorBoard is not installed.",
                hint="pip install 'dseg[tensorboard]', or leave --tensorboard out.",
            ) from None
        self._writer: Any = SummaryWriter(str(folder), purge_step=purge_step)  # type: ignore[no-untyped-call]

    def write(self, row: dict[str, Any]) -> None:
        """Write the numbers of a row, those of classes under ``class_iou/``."""
        scalars = {
            f"{row['kind']}/{name}": value
            for name, value in row.items()
            if name not in ("kind", "step", "class_iou")
        }
        scalars |= {f"class_iou/{name}": v for name, v in row.get("class_iou", {}).items()}
        for name, value in scalars.items():
            if value is not None and value == value:  # not NaN
                self._writer.add_scalar(name, value, row["step"])

    def close(self) -> None:
        """Write what is still in memory."""
        self._writer.close()
