"""TensorBoard's event files, for those who have it: ``pip install 'dseg[tensorboard]'``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dseg.errors import EXIT_FAILED_INPUTS, DsegError


class TensorBoard:
    """Writes rows of metrics as scalars.

    Args:
        folder: for the event files.
        purge_step: what earlier files say of this and later steps is void.

    Raises:
        DsegError: the package cannot be imported, or the folder not written.
    """

    def __init__(self, folder: Path, purge_step: int | None = None):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as fault:
            raise DsegError(
                f"TensorBoard cannot be imported: {str(fault).rstrip('.')}.",
                hint="pip install 'dseg[tensorboard]', or leave --tensorboard out.",
            ) from None
        self._folder = folder
        with self._faults_told():
            make: Any = SummaryWriter  # its methods have no types
            self._writer = make(str(folder), purge_step=purge_step)

    def write(self, row: dict[str, Any]) -> None:
        """Write the numbers of a row, those of classes under ``class_iou/``.

        Raises:
            DsegError: the disk is full.
        """
        scalars = {
            f"{row['kind']}/{name}": value
            for name, value in row.items()
            if name not in ("kind", "step", "class_iou")
        }
        scalars |= {f"class_iou/{name}": v for name, v in row.get("class_iou", {}).items()}
        with self._faults_told():
            for name, value in scalars.items():
                if value is not None and math.isfinite(value):
                    self._writer.add_scalar(name, value, row["step"])

    def close(self) -> None:
        """Write what is still in memory.

        Raises:
            DsegError: the disk is full.
        """
        with self._faults_told():
            self._writer.close()

    @contextmanager
    def _faults_told(self) -> Iterator[None]:
        try:
            yield
        except OSError as fault:
            raise DsegError(
                f"{self._folder} cannot be written: {fault.strerror or fault}.",
                hint="make room, or leave --tensorboard out.",
                exit_code=EXIT_FAILED_INPUTS,
            ) from fault
