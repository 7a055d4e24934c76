"""Where rows of metrics go besides metrics.jsonl: TensorBoard, Weights & Biases, MLflow."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from dseg.errors import EXIT_FAILED_INPUTS, DsegError

PROJECT = "dseg"  # name of the project in Weights & Biases, and of the experiment in MLflow
# module to import, name for messages; by the field of RuntimeConfig, which is also the extra
PACKAGES = {
    "tensorboard": ("torch.utils.tensorboard", "TensorBoard"),
    "wandb": ("wandb", "Weights & Biases"),
    "mlflow": ("mlflow", "MLflow"),
}
UNNAMEABLE = re.compile(r"[^A-Za-z0-9_\-. :/]")  # characters that MLflow's names cannot have
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class LoggedRun:
    """The run that is logged.

    Attributes:
        run: its folder, whose name is the name of the run.
        step: steps done before; later values in earlier logs are replaced where that is possible.
        settings: configuration of the run, as plain JSON values.
        ids: ids that loggers gave the run when it was started, by logger.
    """

    run: Path
    step: int
    settings: dict[str, Any]
    ids: dict[str, str] = field(default_factory=dict)


class Logger(Protocol):
    """Receives the rows of a run.

    Attributes:
        id: id of the run, with which a resumed run is continued; "" if none is needed.
    """

    id: str

    def write(self, row: Row) -> None:
        """Write the values of a row of ``metrics.jsonl``."""

    def close(self) -> None:
        """Write buffered values and end the log."""


def check_loggers(names: list[str]) -> None:
    """Check that the packages of loggers can be imported, before any work is done.

    Raises:
        DsegError: one of them cannot be imported.
    """
    for name in names:
        module, title = PACKAGES[name]
        try:
            import_module(module)
        except Exception as fault:  # a broken installation can raise any exception
            reason = (str(fault) or type(fault).__name__).splitlines()[0].rstrip(".")
            raise DsegError(
                f"{title} cannot be imported: {reason}.",
                hint=f"pip install 'dseg[{name}]', or leave out --{name}.",
            ) from None


def open_loggers(names: list[str], logged: LoggedRun, say: Callable[[str], None]) -> list[Logger]:
    """Open loggers.

    Args:
        names: keys of ``PACKAGES``.
        logged: the run.
        say: receives a warning if a log breaks off.

    Raises:
        DsegError: a package cannot be imported, or its log cannot be started.
    """
    check_loggers(names)
    opened: list[Logger] = []
    for name in names:
        if name == "tensorboard":
            opened.append(TensorBoard(logged.run / "tensorboard", purge_step=logged.step + 1))
            continue
        try:
            logger: Logger = Wandb(logged) if name == "wandb" else Mlflow(logged)
            opened.append(Guarded(logger, name, say))
        except Exception as fault:
            for logger in opened:
                logger.close()
            hint = "see its documentation on logging in"
            if name == "wandb":
                hint = "log in by wandb login, or set WANDB_MODE=offline"
            raise DsegError(
                f"{PACKAGES[name][1]} cannot start a log: {_reason(fault)}.",
                hint=f"{hint}; or leave out --{name}.",
                exit_code=EXIT_FAILED_INPUTS,
            ) from fault
    return opened


def _reason(fault: Exception) -> str:
    lines = str(fault).strip().splitlines() or [type(fault).__name__]
    return lines[0][:200].rstrip(".")


def take_scalars(row: Row) -> dict[str, float]:
    """Return the finite values of a row by name: ``train/loss``, ``val/miou``, ``class_iou/road``.

    Args:
        row: a row of ``metrics.jsonl``.
    """
    values = {
        f"{row['kind']}/{name}": value
        for name, value in row.items()
        if name not in ("kind", "step", "class_iou")
    }
    values |= {f"class_iou/{name}": value for name, value in row.get("class_iou", {}).items()}
    return {k: v for k, v in values.items() if v is not None and math.isfinite(v)}


class Guarded:
    """A logger whose failure ends its log, not the training.

    Args:
        logger: the logger.
        name: its key in ``PACKAGES``.
        say: receives the warning.
    """

    def __init__(self, logger: Logger, name: str, say: Callable[[str], None]):
        self.id = logger.id
        self._logger, self._name, self._say, self._broken = logger, name, say, False

    def write(self, row: Row) -> None:
        self._try(lambda: self._logger.write(row))

    def close(self) -> None:
        self._try(self._logger.close)

    def _try(self, work: Callable[[], None]) -> None:
        if self._broken:
            return
        try:
            work()
        except Exception as fault:
            self._broken = True
            title = PACKAGES[self._name][1]
            self._say(
                f"WARNING: {title} failed ({_reason(fault)}): its log ends here; metrics.jsonl is "
                "complete."
            )


class TensorBoard:
    """Writes rows of metrics as TensorBoard scalars.

    Args:
        folder: folder of the event files.
        purge_step: step from which on the values in earlier files are discarded.

    Raises:
        DsegError: the package cannot be imported, or the folder cannot be written.
    """

    id = ""

    def __init__(self, folder: Path, purge_step: int | None = None):
        check_loggers(["tensorboard"])
        from torch.utils.tensorboard import SummaryWriter

        self._folder = folder
        with self._io_errors_reported():
            make: Any = SummaryWriter  # its methods are not annotated
            self._writer = make(str(folder), purge_step=purge_step)

    def write(self, row: Row) -> None:
        """Write the values of a row; the IoU of each class is ``class_iou/NAME``.

        Raises:
            DsegError: the disk is full.
        """
        with self._io_errors_reported():
            for name, value in take_scalars(row).items():
                self._writer.add_scalar(name, value, row["step"])

    def close(self) -> None:
        """Write buffered values and close the file.

        Raises:
            DsegError: the disk is full.
        """
        with self._io_errors_reported():
            self._writer.close()

    @contextmanager
    def _io_errors_reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as fault:
            raise DsegError(
                f"{self._folder} cannot be written: {fault.strerror or fault}.",
                hint="make room, or leave out --tensorboard.",
                exit_code=EXIT_FAILED_INPUTS,
            ) from fault


class Wandb:
    """Writes rows to Weights & Biases, to its server or with ``WANDB_MODE=offline`` to the folder.

    Args:
        logged: the run; the files of its log are in ``wandb`` in its folder.
    """

    def __init__(self, logged: LoggedRun):
        wandb: Any = import_module("wandb")
        known = logged.ids.get("wandb")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=logged.run.resolve().name,
            id=known,
            resume="allow" if known else None,
            dir=str(logged.run),
            config=logged.settings,
            settings=wandb.Settings(silent=True, console="off"),
        )
        self._run.define_metric("*", step_metric="step")
        self.id = str(self._run.id)

    def write(self, row: Row) -> None:
        """Write the values of a row."""
        self._run.log({**take_scalars(row), "step": row["step"]})

    def close(self) -> None:
        """Send what is left and end the log."""
        self._run.finish()


class Mlflow:
    """Writes rows to MLflow: to ``MLFLOW_TRACKING_URI``, else to ``mlflow.db`` in the folder.

    Args:
        logged: the run.
    """

    def __init__(self, logged: LoggedRun):
        self._mlflow: Any = import_module("mlflow")
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it reports each step of its start
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            self._mlflow.set_tracking_uri(f"sqlite:///{logged.run.resolve() / 'mlflow.db'}")
        self._mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT))
        known = logged.ids.get("mlflow")
        name = logged.run.resolve().name
        begun = self._mlflow.start_run(run_id=known, run_name=None if known else name)
        self.id = str(begun.info.run_id)
        if not known:
            self._mlflow.log_params(_flatten(logged.settings))

    def write(self, row: Row) -> None:
        """Write the values of a row; MLflow's names have few characters."""
        scalars = {UNNAMEABLE.sub("_", name): value for name, value in take_scalars(row).items()}
        self._mlflow.log_metrics(scalars, step=row["step"])

    def close(self) -> None:
        """End the log."""
        self._mlflow.end_run()


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested settings as parameters: ``recipe.lr`` and so on, at most 500 characters."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _flatten(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = str(value)[:500]
    return found
