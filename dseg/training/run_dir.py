"""The folder of a run: configuration, metrics, weights, plots, and the state to resume from."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from dseg.checkpoints import save_model
from dseg.config import RuntimeConfig, TrainConfig
from dseg.distributed import Group
from dseg.errors import DsegError
from dseg.files import unwritable_error
from dseg.jsonio import strict
from dseg.labels import LabelSpace
from dseg.locks import LockedError, locked
from dseg.models import SegModel
from dseg.parallel import Advance
from dseg.training.callbacks import Callbacks, Display, Outcome, Summary, Validated
from dseg.training.figures import Figures
from dseg.training.fingerprint import Fingerprint
from dseg.training.loggers import PACKAGES, LoggedRun, Logger, open_loggers
from dseg.training.metrics import MetricsFile
from dseg.training.provenance import describe_start
from dseg.training.run_json import RUN_FILE, find_score, read_changes, read_facts, write_config
from dseg.training.state import StateWriter, has_state

BEST = "best.safetensors"
LAST = "last.safetensors"
LOCK = ".dseg-train.lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # file systems without locks


class RunDir:
    """The folder of a run, which the main process writes.

    Args:
        run: the folder.
        config, runtime: configuration of the run.
        space: the classes.
        steps: optimizer steps of the whole run.
        group: the processes.
        data: fingerprint of the run's images and masks.
    """

    def __init__(
        self,
        run: Path,
        config: TrainConfig,
        runtime: RuntimeConfig,
        *,
        space: LabelSpace,
        steps: int,
        group: Group,
        data: Fingerprint,
    ):
        self.run, self.config, self.runtime = run, config, runtime
        self.space, self.steps, self.group, self.data = space, steps, group, data
        self.metrics = MetricsFile(run / "metrics.jsonl")
        self.threads = torch.get_num_threads()
        self._states = StateWriter(run)
        self._figures = Figures(run, space, self.metrics)
        self._loggers: list[Logger] = []
        self._facts: dict[str, Any] = {}  # for run.json; empty if it is not to be written
        self._validations: list[dict[str, Any]] = []

    def __enter__(self) -> RunDir:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            with ExitStack() as ends:  # all of them, also if one raises an error; the last first
                for logger in self._loggers:
                    ends.callback(logger.close)
                ends.callback(self._states.wait)
                if fault is None and self.group.main:
                    ends.callback(self._figures.close)
        except DsegError:
            if fault is None:
                raise

    def begin(
        self,
        step: int,
        validated_at: int,
        changes: list[Any],
        *,
        finished: bool,
        command: str | None,
        say: Callable[[str], None],
    ) -> None:
        """Write the configuration, and remove metrics from after the state that is resumed.

        Args:
            step, validated_at: steps done, and the last validated one.
            changes: changes of data and schedule since the run was last started.
            finished: True if nothing is left to do.
            command: the command line; None for a run started from Python.
            say: receives a warning if a log of ``--wandb`` or ``--mlflow`` breaks off.
        """
        if not self.group.main:
            return
        self.metrics.cut_after(step, validated_at)
        self._validations = [row for row in self.metrics.read() if row["kind"] == "val"]
        ids = read_facts(self.run, "logs").get("logs", {}) if step else {}
        self._open_loggers(step, ids if isinstance(ids, dict) else {}, say)
        if not finished or changes:
            self._facts = self._gather_facts(step, changes, command)
            self._write_json()

    def _open_loggers(self, step: int, ids: dict[str, Any], say: Callable[[str], None]) -> None:
        names = [name for name in PACKAGES if getattr(self.runtime, name)]
        known = {name: value for name, value in ids.items() if isinstance(value, str)}
        settings = self.config.as_json()
        logged = LoggedRun(run=self.run, step=step, settings=settings, ids=known)
        self._loggers = open_loggers(names, logged, say)
        self._ids = known | {
            name: logger.id for name, logger in zip(names, self._loggers, strict=True) if logger.id
        }

    def _gather_facts(self, step: int, changes: list[Any], command: str | None) -> dict[str, Any]:
        """Return the facts for run.json; those of the first start stay."""
        start = describe_start(command)
        before = read_facts(self.run, *start, "resumed")
        later = before.get("resumed")
        return {
            **({name: before.get(name) for name in start} if step else start),
            "resumed": [*(later if isinstance(later, list) else ()), {"step": step, **start}]
            if step
            else [],
            "steps": self.steps,
            "threads": self.threads,
            "data": {"fingerprint": self.data.digest(), "images": self.data.counts()},
            "classes": list(self.space.names),
            "changes": [*(read_changes(self.run) if step else []), *changes],
            "conditions": asdict(self.runtime),
            "logs": self._ids,
            "outcome": None,
        }

    def _write_json(self) -> None:
        if self._facts:
            score = find_score(self._validations)
            write_config(self.run, self.config, {**self._facts, "score": score})

    def write_row(self, row: dict[str, Any]) -> None:
        """Append a row of metrics."""
        self.metrics.write(row)
        for logger in self._loggers:
            logger.write(row)

    def write_validation(self, event: Validated) -> None:
        """Write scores, figures and weights; the best weights also to their own file."""
        found = event.scores
        row = {
            **{"kind": "val", "step": event.step, "epoch": event.epoch, "loss": found.loss},
            **{"miou": found.mean_iou, "pixel_accuracy": found.pixel_accuracy},
            "class_iou": found.class_iou,
            **({"tiled": found.tiled} if found.tiled else {}),
        }
        self.write_row(row)
        self._validations.append(strict(row))
        scores = {"val_miou": found.mean_iou, "val_pixel_accuracy": found.pixel_accuracy}
        training = {**self.config.as_json(), "step": event.step, "epoch": event.epoch}
        if event.better:
            save_model(event.network, self.run / BEST, scores=scores, training=training)
        save_model(event.network, self.run / LAST, scores=scores, training=training)
        self._figures.update(found, event.epoch)
        self._write_json()

    def write_summary(self, summary: Summary) -> None:
        """Draw the loss if there was no validation."""
        if summary.miou is None:
            self._figures.update()

    def save(self, state: dict[str, Any]) -> None:
        """Save a state with the fingerprint of its data, in a thread while training continues."""
        kept = {"trainer": state, "data": self.data.state(), "threads": self.threads}
        self._states.save({**kept, "settings": self.config.as_json()})

    def finish(self, network: SegModel | None, outcome: Outcome) -> None:
        """Write the outcome of a run, and without validation its weights."""
        if not self.group.main:
            return
        if network is not None:
            training = {**self.config.as_json(), "step": outcome.step}
            save_model(network, self.run / LAST, training=training)
            self._figures.update()
        self._facts |= {"outcome": outcome.as_json()} if self._facts else {}
        self._write_json()

    def forget(self) -> None:
        """Remove the configuration of a run that has no state to resume from."""
        if self.group.main and not has_state(self.run):
            (self.run / RUN_FILE).unlink(missing_ok=True)


class RunCallbacks(Callbacks):
    """The callbacks of a run, which write its folder and show its progress.

    Args:
        run_dir: folder of the run.
        display: display of the progress.
    """

    def __init__(self, run_dir: RunDir, display: Display):
        self._run_dir, self._display = run_dir, display

    def step(self, step: int) -> None:
        """Show that a step was done."""
        self._display.step(step)

    def row(self, row: dict[str, Any]) -> None:
        """Write and show a row of training metrics."""
        self._run_dir.write_row(row)
        shown = ("epoch", "loss", "lr", "images_per_s")
        self._display.train(row["step"], **{name: row[name] for name in shown})

    def validating(self, images: int) -> Advance:
        """Show that a validation begins."""
        return self._display.validating(images)

    def validated(self, event: Validated) -> None:
        """Write a validation."""
        self._run_dir.write_validation(event)

    def summary(self, summary: Summary) -> None:
        """Show a summary."""
        self._run_dir.write_summary(summary)
        self._display.summary(summary)

    def save(self, state: dict[str, Any]) -> None:
        """Save a state."""
        self._run_dir.save(state)


@contextmanager
def run_held(run: Path, group: Group, remark: Callable[[str], None]) -> Iterator[None]:
    """Lock a run's folder against other trainings; of several processes the main one does.

    Args:
        run: folder of the run; it is created, and removed again if it stays empty.
        group: the processes.
        remark: receives a warning if the file system does not support locks.

    Raises:
        DsegError: another training uses the folder, or it cannot be written.
    """
    with ExitStack() as stack:
        if group.main:
            try:
                stack.enter_context(locked(run / LOCK))
            except LockedError as fault:
                raise _locked_error(run, fault.holder) from None
            except OSError as fault:
                if fault.errno not in NO_LOCKS:
                    raise unwritable_error(run, fault) from fault
                remark(
                    f"WARNING: {run} cannot be locked ({fault.strerror}); do not start another "
                    "training there at the same time."
                )
        yield


def _locked_error(run: Path, holder: str) -> DsegError:
    return DsegError(
        f"Another dseg train is running in {run}{f' ({holder})' if holder else ''}.",
        hint="wait until it has ended, or name another --out.",
    )
