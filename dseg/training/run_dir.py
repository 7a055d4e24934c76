"""A run's folder: settings, metrics, weights, plots and the state to resume from."""

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
from dseg.data.stream import Batch
from dseg.distributed import Group
from dseg.errors import DsegError
from dseg.files import unwritable_error
from dseg.labels import LabelSpace
from dseg.locks import LockedError, locked
from dseg.training.callbacks import Display, Intervals
from dseg.training.figures import (
    write_confusion_plot,
    write_loss_plot,
    write_miou_plot,
    write_predictions,
)
from dseg.training.fingerprint import Fingerprint
from dseg.training.loop import Trainer
from dseg.training.metrics import MetricsFile, TensorBoard
from dseg.training.run_file import RUN_FILE, read_changes, write_config
from dseg.training.state import StateWriter, has_state
from dseg.training.validate import Validation

BEST = "best.safetensors"
LAST = "last.safetensors"
LOCK = ".dseg-train.lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # as some network file systems say it


class RunDir:
    """What a run leaves behind; of several processes, the main one writes it.

    Args:
        run: the folder.
        settings, conditions: of the run.
        space: the classes.
        rhythm: steps in all.
        group: the processes.
    """

    trainer: Trainer
    display: Display
    data: Fingerprint

    def __init__(
        self,
        run: Path,
        settings: TrainConfig,
        conditions: RuntimeConfig,
        space: LabelSpace,
        rhythm: Intervals,
        group: Group,
    ):
        self.run, self.settings, self.conditions = run, settings, conditions
        self.space, self.rhythm, self.group = space, rhythm, group
        self.metrics = MetricsFile(run / "metrics.jsonl")
        self.states = StateWriter(run)
        self.threads = torch.get_num_threads()
        self.changes: list[Any] = []  # of data and schedule since the run was begun
        self._board: TensorBoard | None = None
        self._told: set[str] = set()

    def __enter__(self) -> RunDir:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._board is not None:
            self._board.close()
        try:
            self.states.wait()
        except DsegError:
            if fault is None:
                raise
        if isinstance(fault, DsegError) and self.group.main and not self._holds_work():
            (self.run / RUN_FILE).unlink(missing_ok=True)  # nothing was begun that could go on

    def _holds_work(self) -> bool:
        """Return True if steps were done, by this process or by the one whose state is there."""
        return self.trainer.step > 0 or has_state(self.run)

    def begin(self, step: int, validated_at: int) -> None:
        """Write the settings and forget what metrics hold beyond the state that is gone on from."""
        if not self.group.main:
            return
        if self.conditions.tensorboard:
            self._board = TensorBoard(self.run / "tensorboard", purge_step=step + 1)
        facts = {
            "steps": self.rhythm.steps,
            "threads": self.threads,
            "changes": [*(read_changes(self.run) if step else []), *self.changes],
            "conditions": asdict(self.conditions),
        }
        finished = step >= self.rhythm.steps and validated_at == step
        if not finished or self.changes:
            write_config(self.run, self.settings, facts)
        self.metrics.cut_after(step, validated_at)

    def row(self, row: dict[str, Any]) -> None:
        """Take a row of training metrics."""
        self._write(row)
        self.display.train(
            row["step"],
            epoch=row["epoch"],
            loss=row["loss"],
            lr=row["lr"],
            images_per_s=row["images_per_s"],
        )

    def validated(
        self, step: int, epoch: float, found: Validation, better: bool, seconds: float
    ) -> None:
        """Take a validation: keep the weights, the best apart; draw curves and images."""
        self._write(
            {
                **{"kind": "val", "step": step, "epoch": epoch, "loss": None},
                **{"miou": found.mean_iou, "pixel_accuracy": found.pixel_accuracy},
                "class_iou": found.class_iou,
                **({"tiled": found.tiled} if found.tiled else {}),
            }
        )
        scores = {"val_miou": found.mean_iou, "val_pixel_accuracy": found.pixel_accuracy}
        training = {**self.settings.as_json(), "step": step, "epoch": epoch}
        if better:
            save_model(self.trainer.scored, self.run / BEST, scores=scores, training=training)
        save_model(self.trainer.scored, self.run / LAST, scores=scores, training=training)
        self._draw(found)
        self.display.validated(step, miou=found.mean_iou, best=self.trainer.best, seconds=seconds)

    def _draw(self, found: Validation) -> None:
        rows = self.metrics.read()
        write_loss_plot(rows, self.run / "loss.png")
        write_miou_plot(rows, self.run / "miou.png")
        write_confusion_plot(found.matrix, self.space, self.run / "confusion.png")
        samples = [
            (name, pair.image, pair.train_ids, prediction) for name, pair, prediction in found.drawn
        ]
        write_predictions(samples, self.space, self.run / "predictions")

    def save(self, state: dict[str, Any]) -> None:
        """Keep a state, with what it belongs to; it is written while training goes on."""
        kept = {"trainer": state, "data": self.data.state(), "threads": self.threads}
        self.states.save({**kept, "settings": self.settings.as_json()})

    def finish(self) -> None:
        """Keep the weights of a run that validated nothing."""
        if self.group.main and self.trainer.val_set is None:
            training = {**self.settings.as_json(), "step": self.trainer.step}
            save_model(self.trainer.scored, self.run / LAST, training=training)
            write_loss_plot(self.metrics.read(), self.run / "loss.png")

    def tell_faults(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Pass batches on, saying once of each sample that was left out."""
        for batch in batches:
            for name, problem in batch.faults:
                if name not in self._told:
                    self._told.add(name)
                    self.display.say(f"WARNING: left out: {problem}")
            yield batch

    def _write(self, row: dict[str, Any]) -> None:
        self.metrics.write(row)
        if self._board is not None:
            self._board.write(row)


@contextmanager
def run_held(run: Path, group: Group, remark: Callable[[str], None]) -> Iterator[None]:
    """Keep other trainings out of a run's folder; of several processes the main one does.

    Args:
        run: the folder; it is made, and removed again if nothing was written into it.
        group: the processes.
        remark: told where the file system knows no locks.

    Raises:
        DsegError: another training is at work there, or the folder cannot be written.
    """
    with ExitStack() as stack:
        if group.main:
            try:
                stack.enter_context(locked(run / LOCK))
            except LockedError as fault:
                raise _taken(run, fault.holder) from None
            except OSError as fault:
                if fault.errno not in NO_LOCKS:
                    raise unwritable_error(run, fault) from fault
                remark(
                    f"WARNING: {run} cannot be locked ({fault.strerror}); start no other training "
                    "there meanwhile."
                )
        yield


def _taken(run: Path, holder: str) -> DsegError:
    return DsegError(
        f"Another dseg train is at work in {run}{f' ({holder})' if holder else ''}.",
        hint="wait until it has ended, or name another --out.",
    )
