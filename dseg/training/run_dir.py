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
from dseg.labels import LabelSpace
from dseg.locks import LockedError, locked
from dseg.models import SegModel
from dseg.training.callbacks import Display, Validated
from dseg.training.fingerprint import Fingerprint
from dseg.training.metrics import MetricsFile, TensorBoard
from dseg.training.plots import (
    write_confusion_plot,
    write_loss_plot,
    write_miou_plot,
    write_predictions,
)
from dseg.training.run_json import RUN_FILE, read_changes, write_config
from dseg.training.state import StateWriter, has_state
from dseg.training.validate import Validation

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
        self._board: TensorBoard | None = None

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
            self._states.wait()
        except DsegError:
            if fault is None:
                raise

    def begin(self, step: int, validated_at: int, changes: list[Any]) -> None:
        """Write the configuration, and remove metrics from after the state that is resumed.

        Args:
            step, validated_at: steps done, and the last validated one.
            changes: changes of data and schedule since the run was last started.
        """
        if not self.group.main:
            return
        if self.runtime.tensorboard:
            self._board = TensorBoard(self.run / "tensorboard", purge_step=step + 1)
        facts = {
            "steps": self.steps,
            "threads": self.threads,
            "changes": [*(read_changes(self.run) if step else []), *changes],
            "conditions": asdict(self.runtime),
        }
        finished = step >= self.steps and validated_at == step
        if not finished or changes:
            write_config(self.run, self.config, facts)
        self.metrics.cut_after(step, validated_at)

    def write_row(self, row: dict[str, Any]) -> None:
        """Append a row of metrics."""
        self.metrics.write(row)
        if self._board is not None:
            self._board.write(row)

    def write_validation(self, event: Validated) -> None:
        """Write scores, plots, predictions and weights; the best weights also to their own file."""
        found = event.scores
        self.write_row(
            {
                **{"kind": "val", "step": event.step, "epoch": event.epoch, "loss": None},
                **{"miou": found.mean_iou, "pixel_accuracy": found.pixel_accuracy},
                "class_iou": found.class_iou,
                **({"tiled": found.tiled} if found.tiled else {}),
            }
        )
        scores = {"val_miou": found.mean_iou, "val_pixel_accuracy": found.pixel_accuracy}
        training = {**self.config.as_json(), "step": event.step, "epoch": event.epoch}
        if event.better:
            save_model(event.network, self.run / BEST, scores=scores, training=training)
        save_model(event.network, self.run / LAST, scores=scores, training=training)
        self._draw(found)

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
        """Save a state with the fingerprint of its data, in a thread while training continues."""
        kept = {"trainer": state, "data": self.data.state(), "threads": self.threads}
        self._states.save({**kept, "settings": self.config.as_json()})

    def finish(self, network: SegModel, step: int) -> None:
        """Write weights and loss plot of a run without validation."""
        training = {**self.config.as_json(), "step": step}
        save_model(network, self.run / LAST, training=training)
        write_loss_plot(self.metrics.read(), self.run / "loss.png")

    def forget(self) -> None:
        """Remove the configuration of a run that has no state to resume from."""
        if self.group.main and not has_state(self.run):
            (self.run / RUN_FILE).unlink(missing_ok=True)


class RunCallbacks:
    """The callbacks of a run, which write its folder and show its progress.

    Args:
        run_dir: folder of the run.
        display: display of the progress.
    """

    def __init__(self, run_dir: RunDir, display: Display):
        self._run_dir, self._display = run_dir, display

    def row(self, row: dict[str, Any]) -> None:
        """Write and show a row of training metrics."""
        self._run_dir.write_row(row)
        shown = ("epoch", "loss", "lr", "images_per_s")
        self._display.train(row["step"], **{name: row[name] for name in shown})

    def validated(self, event: Validated) -> None:
        """Write and show a validation."""
        self._run_dir.write_validation(event)
        self._display.validated(
            event.step, miou=event.scores.mean_iou, best=event.best, seconds=event.seconds
        )

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
