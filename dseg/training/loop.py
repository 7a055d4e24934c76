"""The training loop: do the steps; log, validate and save at intervals."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import torch

from dseg.data.stream import Batch
from dseg.datasets.base import Dataset
from dseg.distributed import Group
from dseg.errors import NotFiniteError
from dseg.losses import SegLoss
from dseg.models import SegModel
from dseg.recipes import Recipe
from dseg.training.callbacks import Callbacks, Intervals, Outcome, Validated, make_summary
from dseg.training.distill import Distillation
from dseg.training.finite import has_finite_weights, refuse_step
from dseg.training.meter import Meter, Waits
from dseg.training.optim import find_lr
from dseg.training.snapshot import restore_snapshot, take_snapshot
from dseg.training.step import StepResult, TrainStep
from dseg.training.validate import Validation, validate

LEAST_SCALE = 1.0  # smallest scale of an fp16 loss; overflows below it are an error


class Trainer:
    """Trains a network, in one or in several processes that share each batch.

    Args:
        model: network on its device, with synchronised norms if there are several processes.
        recipe: optimizer, schedule, EMA weights, clipping.
        intervals: when to log, validate and save.
        loss: loss function of a micro-batch.
        train_set, val_set: the splits; None as the second for no validation.
        group: the processes.
        run: folder of the run, for the list of images whose loss is not finite.
        device: device of ``model``.
        amp: precision within the network, None for float32.
        seed: seed of dropout.
        stopping: asked after each step whether to save and stop.
        patience: validations without a better mean IoU after which the run ends; 0 for no limit.
        distillation: what is learnt from teachers; None without any.

    Attributes:
        update: performs a step.
        step: optimizer steps done.
        losses, skipped: losses, and number of steps that fp16 skipped, since the last row.
        best: best mean IoU of the validations so far, minus infinity before the first.
        stale: number of validations since the best one.
        waits: time spent waiting for data; whoever makes the batches adds to it.
    """

    def __init__(
        self,
        model: SegModel,
        recipe: Recipe,
        intervals: Intervals,
        loss: SegLoss,
        *,
        train_set: Dataset,
        val_set: Dataset | None,
        group: Group,
        run: Path,
        device: torch.device,
        amp: torch.dtype | None,
        seed: int,
        stopping: Callable[[], bool],
        patience: int = 0,
        distillation: Distillation | None = None,
    ):
        self.model, self.recipe, self.intervals = model, recipe, intervals
        self.train_set, self.val_set = train_set, val_set
        self.group, self.run, self.device, self.amp = group, run, device, amp
        self.stopping, self.patience = stopping, patience
        self.update = TrainStep(
            model,
            recipe,
            loss,
            group=group,
            device=device,
            amp=amp,
            seed=seed,
            steps=intervals.steps,
            distillation=distillation,
        )
        self.step, self.validated_at, self.best, self.stale = 0, 0, -math.inf, 0
        self.waits, self._since_row, self._since_summary = Waits(), Meter(), Meter()
        self._pending: list[tuple[StepResult, list[str]]] = []  # steps whose loss is not yet read
        self._latest = (math.nan, list[str]())  # the last step's loss and images
        self.losses, self.skipped = list[float](), 0

    @property
    def scored(self) -> SegModel:
        """The network that is validated and saved: with the EMA weights if the recipe has them."""
        return self.model if self.update.ema is None else self.update.ema.network

    @property
    def epoch(self) -> float:
        """Passes over the training split so far."""
        return round(self.step * self.recipe.batch / len(self.train_set), 4)

    def train(self, batches: Iterator[Batch], callbacks: Callbacks) -> Outcome:
        """Train from the present step to the last, or until ``stopping`` returns True.

        Args:
            batches: the micro-batches of each step, from the present step on.
            callbacks: called with metrics, validations and states.

        Raises:
            DsegError: the loss is NaN or infinite, data cannot be read, or the disk is full.
        """
        intervals, stop, idle = self.intervals, False, self.finished
        saved = time.monotonic()
        if self.step and intervals.validates(self.step) and self.validated_at != self.step:
            stop = not self._validate(callbacks)  # the run was stopped while it validated
            self._save(callbacks)
        while self.step < intervals.steps and not stop and not self.early:
            self._measure_step(batches)
            if self.group.main:
                callbacks.step(self.step)
            due = intervals.validates(self.step)
            stop, save = self._agree(time.monotonic() - saved > intervals.save_every)
            if intervals.logs(self.step):
                self._log(callbacks)
            if due and not stop:
                stop = not self._validate(callbacks)
            elif intervals.summarises(self.step):
                self._read_losses()
                self._summarise(callbacks)
            if due or stop or save:
                self._save(callbacks)
                saved = time.monotonic()
        return Outcome(self.step, stop and not self.finished, self.best, idle, self.early)

    @property
    def early(self) -> bool:
        """True if so many validations were not better that the run ends."""
        return 0 < self.patience <= self.stale

    @property
    def finished(self) -> bool:
        """True if there is nothing left to do."""
        return self.validated_at == self.step and (self.step >= self.intervals.steps or self.early)

    def _measure_step(self, batches: Iterator[Batch]) -> None:
        begun, waited = time.monotonic(), self.waits.seconds
        self._take_step([next(batches) for _ in range(self.recipe.accumulate)])
        self.step += 1
        seconds, waited = time.monotonic() - begun, self.waits.seconds - waited
        for meter in (self._since_row, self._since_summary):
            meter.add_step(seconds, waited)

    def _take_step(self, micro_batches: list[Batch]) -> None:
        """Do one optimizer step on this process's shard of a batch."""
        found = self.update(self.step, micro_batches)
        self._pending.append((found, [name for batch in micro_batches for name in batch.names]))

    def _agree(self, save: bool) -> tuple[bool, bool]:
        """Return whether to stop, which any process can ask for, and whether to save the state.

        Clocks and signals differ between processes, but all of them must do the same at a step.
        """
        if self.group.world_size == 1:
            return self.stopping(), save
        if self.device.type == "cuda" and not self.intervals.logs(self.step):
            return False, False  # agreeing waits for the device
        requests = [float(self.stopping()), float(save and self.group.main)]
        stop, saves = self.group.sum(torch.tensor(requests, device=self.device)).tolist()
        return stop > 0, saves > 0

    def _read_losses(self) -> None:
        """Read the losses of the pending steps from all processes; refuse NaN and infinity."""
        if not self._pending:
            return
        begun = time.monotonic()
        losses = self.group.sum(torch.stack([found.loss for found, _ in self._pending])).tolist()
        seconds = time.monotonic() - begun  # the device has finished these steps
        first = self.step - len(losses) + 1
        tolerated = self._find_skipped()
        for index, loss in enumerate(losses):
            if not math.isfinite(loss) and index not in tolerated:
                what = f"The loss of step {first + index} is {loss}"
                self._refuse(first + index, what, loss, self._pending[index][1])
        if not has_finite_weights(self.model, self.group):  # although the loss was finite
            what = f"The weights after step {self.step} are not finite; the loss was {loss:g}"
            self._refuse(self.step, what, loss, self._pending[-1][1])
        known = [loss for index, loss in enumerate(losses) if index not in tolerated]
        self.losses += known
        for meter in (self._since_row, self._since_summary):
            meter.add_losses(known, seconds)
        self.skipped += len(tolerated)
        self._latest, self._pending = (losses[-1], self._pending[-1][1]), []

    def _find_skipped(self) -> set[int]:
        """Return the indices of pending steps that fp16 skipped; none if its scale is too low."""
        flags = [found.skipped for found, _ in self._pending if found.skipped is not None]
        if not flags or self.update.scaler.get_scale() < LEAST_SCALE:
            return set()
        return {index for index, flag in enumerate(torch.stack(flags).tolist()) if flag}

    def _refuse(self, step: int, what: str, loss: float, names: list[str]) -> NoReturn:
        lr = find_lr(self.recipe, step - 1, self.intervals.steps)
        refuse_step(self.run, self.group, what=what, step=step, loss=loss, lr=lr, names=names)

    def _log(self, callbacks: Callbacks) -> None:
        """Report the mean loss since the last row, and the speed of this process's steps."""
        self._read_losses()
        losses, self.losses = self.losses, []
        skipped, self.skipped = self.skipped, 0
        meter, self._since_row = self._since_row, Meter()
        if self.group.main:
            row = {"kind": "train", "step": self.step, "epoch": self.epoch}
            row["loss"] = sum(losses) / len(losses) if losses else math.nan
            row["lr"] = find_lr(self.recipe, self.step - 1, self.intervals.steps)
            row["images_per_s"] = meter.images_per_s(self.recipe.batch)
            row["seconds"], row["data_seconds"] = meter.seconds, meter.waited
            if skipped:
                row["skipped_steps"] = skipped
            callbacks.row(row)

    def _summarise(self, callbacks: Callbacks, event: Validated | None = None) -> None:
        """Report the steps since the last summary, and the validation after them."""
        meter, self._since_summary = self._since_summary, Meter()
        if self.group.main:
            batch = self.recipe.batch
            callbacks.summary(make_summary(self.step, self.epoch, meter, batch, event))

    def _validate(self, callbacks: Callbacks) -> bool:
        """Score the weights; return False if the run was stopped meanwhile."""
        self._read_losses()
        event: Validated | None = None
        if self.val_set is not None:
            start = time.monotonic()
            found = self._score(self.val_set, callbacks)
            if found is None:
                return False
            better = found.mean_iou > self.best
            self.best, self.stale = max(self.best, found.mean_iou), 0 if better else self.stale + 1
            if self.group.main:
                seconds = time.monotonic() - start
                epoch, network, best = self.epoch, self.scored, self.best
                event = Validated(self.step, epoch, found, network, better, best, seconds)
                callbacks.validated(event)
        self.validated_at = self.step
        self._summarise(callbacks, event)
        return True

    def _score(self, val_set: Dataset, callbacks: Callbacks) -> Validation | None:
        main, images = self.group.main, len(self.group.shard(val_set.samples))
        try:
            return validate(
                self.scored,
                val_set,
                self.group,
                device=str(self.device),
                amp=self.amp,
                draw=self.intervals.draw * main,
                loss=self.update.loss,
                advance=callbacks.validating(images) if main else lambda: None,
                stopping=self.stopping if self.group.world_size == 1 else lambda: False,
            )
        except NotFiniteError:
            what = f"Scores after step {self.step} are not finite"
            self._refuse(self.step, what, *self._latest)

    def _save(self, callbacks: Callbacks) -> None:
        self._read_losses()
        if self.group.main:
            callbacks.save(self.state())

    def state(self) -> dict[str, Any]:
        """Return everything that a resumed run needs; the tensors are not copied."""
        return take_snapshot(self)

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what ``state`` returned, after ``check_state``; all processes call this."""
        restore_snapshot(self, state)
