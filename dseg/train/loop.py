"""The training loop, from top to bottom: step after step, log, validate, save."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dseg.datasets.base import Dataset
from dseg.datasets.stream import Batch
from dseg.distributed import Group
from dseg.errors import DsegError, NotFiniteError
from dseg.losses import SegLoss
from dseg.models import Normaliser, SegModel, SegOutput
from dseg.recipes import Recipe
from dseg.train.finite import has_finite_weights, refuse_step
from dseg.train.optimize import MeanWeights, find_lr, make_optimizer, set_lr, share_gradients
from dseg.train.restore import load_adversarial, load_optimizer, load_weights
from dseg.train.rhythm import Listener, Outcome, Rhythm
from dseg.train.validate import validate

# Statistics are alike in all processes already; torch 2.15 warns of the option's older name.
BUFFERS = (
    "forward_sync_buffers"
    if "forward_sync_buffers" in signature(DistributedDataParallel).parameters
    else "broadcast_buffers"
)


class Trainer:
    """A network being trained, in one of the processes that share the work.

    Args:
        model: on its device, with norms synchronised where there are more processes.
        recipe: optimizer, schedule, mean weights, clipping.
        rhythm: when it logs, validates and saves.
        loss: of a part of a batch.
        train_set, val_set: the splits; without the second nothing is validated.
        group: the processes.
        run: the folder, for the list of images whose loss is not a number.
        device: where ``model`` is.
        amp: precision within the network, None for float32.
        seed: of dropout.
        listener: see there.
        stopping: asked after each step whether to save and stop.

    Attributes:
        step: optimizer steps done.
        best: best mean IoU of the validations so far, minus infinity before the first.
    """

    def __init__(
        self,
        model: SegModel,
        recipe: Recipe,
        rhythm: Rhythm,
        loss: SegLoss,
        *,
        train_set: Dataset,
        val_set: Dataset | None,
        group: Group,
        run: Path,
        device: torch.device,
        amp: torch.dtype | None,
        seed: int,
        listener: Listener,
        stopping: Callable[[], bool],
    ):
        self.model, self.recipe, self.rhythm, self.loss = model, recipe, rhythm, loss
        self.train_set, self.val_set = train_set, val_set
        self.group, self.run, self.device, self.amp = group, run, device, amp
        self.seed, self.listener, self.stopping = seed, listener, stopping
        self.network: nn.Module = model
        if group.world_size > 1:
            ids = [device.index] if device.type == "cuda" else None
            buffers: dict[str, Any] = {BUFFERS: False}
            self.network = DistributedDataParallel(model, device_ids=ids, **buffers)
        affinity = loss.affinity
        self.opponents = [] if affinity is None else list(affinity.parameters())
        self.optimizer = make_optimizer(model, recipe, self.opponents)
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == torch.float16)
        self.mean = MeanWeights(model, recipe.ema) if recipe.ema else None
        self._normalise = Normaliser(model.card, device)
        self.step, self.validated_at, self.best = 0, 0, -math.inf
        self._pending: list[tuple[Tensor, list[str]]] = []  # this process's losses, unseen
        self._latest = (math.nan, list[str]())  # the last step's loss and images
        self._losses: list[float] = []  # of the steps since the last row, all processes'

    @property
    def scored(self) -> SegModel:
        """The network that is validated and kept: with the mean weights, if there are any."""
        return self.model if self.mean is None else self.mean.model

    @property
    def epoch(self) -> float:
        """Passes over the training split so far."""
        return round(self.step * self.recipe.batch / len(self.train_set), 4)

    def train(self, batches: Iterator[Batch]) -> Outcome:
        """Train from the present step to the last, or until told to stop.

        Args:
            batches: the parts of each step's batch, from the present step on.

        Raises:
            DsegError: the loss is not a number, data cannot be read, or the disk is full.
        """
        rhythm, stop, idle = self.rhythm, False, self._finished()
        saved, spent, logged = time.monotonic(), 0.0, self.step
        if self.step and rhythm.validates(self.step) and self.validated_at != self.step:
            stop = not self._validate()  # the run was stopped while it validated
            self._save()
        while self.step < rhythm.steps and not stop:
            begun = time.monotonic()
            self._take_step([next(batches) for _ in range(self.recipe.accumulate)])
            self.step += 1
            spent += time.monotonic() - begun
            due = rhythm.validates(self.step)
            stop, save = self._agree(time.monotonic() - saved > rhythm.save_every)
            if rhythm.logs(self.step):
                self._log(spent, self.step - logged)
                spent, logged = 0.0, self.step
            if due and not stop:
                stop = not self._validate()
            if due or stop or save:
                self._save()
                saved = time.monotonic()
        return Outcome(self.step, stop and not self._finished(), self.best, idle)

    def _finished(self) -> bool:
        return self.step >= self.rhythm.steps and self.validated_at == self.step

    def _take_step(self, parts: list[Batch]) -> None:
        """Do one optimizer step on this process's share of a batch."""
        torch.manual_seed(_seed_of_step(self.seed, self.step, self.group.rank))
        self.network.train()
        set_lr(self.optimizer, find_lr(self.recipe, self.step, self.rhythm.steps))
        masks = [part.train_ids.to(self.device, non_blocking=True) for part in parts]
        total = self.group.sum(torch.stack([self.loss.weigh(ids) for ids in masks]).sum())
        loss = torch.zeros((), device=self.device)
        for place, (part, ids) in enumerate(zip(parts, masks, strict=True)):
            with self._unsynchronised(place < len(parts) - 1):
                loss += self._backward(part.images.to(self.device, non_blocking=True), ids, total)
        share_gradients(self.opponents, self.group)
        if self.recipe.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.mean is not None:
            self.mean.update(self.model, self.step)
        self._pending.append((loss, [name for part in parts for name in part.names]))

    def _backward(self, images: Tensor, train_ids: Tensor, total: Tensor) -> Tensor:
        """Add a part's gradient; return its share of the batch's loss."""
        x = self._normalise(images).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, self.amp, enabled=self.amp is not None):
            output = self._predict(x)
        loss = self.loss(output, train_ids, total)
        # the processes' gradients are averaged, but their shares of the loss add up
        torch.autograd.backward(self.scaler.scale(loss * self.group.world_size))
        return loss.detach()

    def _predict(self, x: Tensor) -> SegOutput:
        """Return the network's output; a batch that batch norm cannot take is told of as such."""
        try:
            output: SegOutput = self.network(x)
        except ValueError as fault:
            if "more than 1 value per channel" not in str(fault):
                raise
            raise DsegError(
                f"Batch norm finds a single value in each channel of {len(x)}x{x.shape[2]}x"
                f"{x.shape[3]} pixels, and cannot learn from it.",
                hint="use a larger crop or batch, or fewer parts (--set accumulate=1).",
            ) from fault
        return output

    def _unsynchronised(self, more: bool) -> AbstractContextManager[None]:
        """Keep processes from adding up their gradients before a step's last part."""
        if more and isinstance(self.network, DistributedDataParallel):
            waits: AbstractContextManager[None] = self.network.no_sync()
            return waits
        return nullcontext()

    def _agree(self, save: bool) -> tuple[bool, bool]:
        """Tell whether to stop, if any process was told to, and whether the state is to be saved.

        Clocks and signals differ between processes; all of them must do the same at one step.
        """
        if self.group.world_size == 1:
            return self.stopping(), save
        if self.device.type == "cuda" and not self.rhythm.logs(self.step):
            return False, False  # to ask costs a synchronisation
        wishes = [float(self.stopping()), float(save and self.group.main)]
        stop, saves = self.group.sum(torch.tensor(wishes, device=self.device)).tolist()
        return stop > 0, saves > 0

    def _see_losses(self) -> None:
        """Add up what the processes lost since the last look, and stop if it is no number."""
        if not self._pending:
            return
        losses = self.group.sum(torch.stack([loss for loss, _ in self._pending])).tolist()
        first = self.step - len(losses) + 1
        for place, loss in enumerate(losses):
            if not math.isfinite(loss):
                what = f"The loss of step {first + place} is {loss}"
                self._refuse(first + place, what, loss, self._pending[place][1])
        if not has_finite_weights(self.model, self.group):  # though the loss was a number
            what = f"The weights after step {self.step} are not finite; the loss was {loss:g}"
            self._refuse(self.step, what, loss, self._pending[-1][1])
        self._losses += losses
        self._latest, self._pending = (losses[-1], self._pending[-1][1]), []

    def _refuse(self, step: int, what: str, loss: float, names: list[str]) -> None:
        lr = find_lr(self.recipe, step - 1, self.rhythm.steps)
        refuse_step(self.run, self.group, what=what, step=step, loss=loss, lr=lr, names=names)

    def _log(self, seconds: float, steps: int) -> None:
        """Report the losses since the last row; a resumed run has timed but its own steps."""
        self._see_losses()
        losses, self._losses = self._losses, []
        if self.group.main:
            row = {"kind": "train", "step": self.step, "epoch": self.epoch}
            row["loss"] = sum(losses) / len(losses)
            row["lr"] = find_lr(self.recipe, self.step - 1, self.rhythm.steps)
            row["images_per_s"] = steps * self.recipe.batch / max(seconds, 1e-9)
            row["seconds"] = seconds
            self.listener.row(row)

    def _validate(self) -> bool:
        """Score the weights; return False if told to stop meanwhile."""
        self._see_losses()
        if self.val_set is not None:
            start = time.monotonic()
            try:
                found = validate(
                    self.scored,
                    self.val_set,
                    self.group,
                    device=str(self.device),
                    draw=self.rhythm.draw * self.group.main,
                    stopping=self.stopping if self.group.world_size == 1 else lambda: False,
                )
            except NotFiniteError:
                what = f"Scores after step {self.step} are not finite"
                self._refuse(self.step, what, *self._latest)
            if found is None:
                return False
            better = found.mean_iou > self.best
            self.best = max(self.best, found.mean_iou)
            if self.group.main:
                seconds = time.monotonic() - start
                self.listener.validated(self.step, self.epoch, found, better, seconds)
        self.validated_at = self.step
        return True

    def _save(self) -> None:
        self._see_losses()
        if self.group.main:
            self.listener.save(self.state())

    def state(self) -> dict[str, Any]:
        """Return all that decides how the run goes on."""
        return {
            "step": self.step,
            "validated_at": self.validated_at,
            "best": self.best,
            "losses": self._losses,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "opponents": [opponent.data for opponent in self.opponents],
            "mean": None if self.mean is None else self.mean.model.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a state that ``state`` gave and ``check_state`` has seen, on every process."""
        self.step, self.validated_at = state["step"], state["validated_at"]
        self.best, self._losses = state["best"], list(state["losses"])
        load_weights(self.model, state["model"])
        load_optimizer(self.optimizer, state["optimizer"], begun=self.step > 0)
        self.scaler.load_state_dict(state["scaler"])
        load_adversarial(self.opponents, state.get("opponents", ()))
        if self.mean is not None:
            load_weights(self.mean.model, state["mean"])


def _seed_of_step(seed: int, step: int, rank: int) -> int:
    """Return dropout's seed: one a step and process, so that no generator's state need be kept."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint32)[0])
