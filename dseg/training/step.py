"""One optimizer step: forward and backward of each micro-batch, update, EMA weights.

Nothing here waits for the device: the results of a step stay there as tensors, which the training
loop reads when it writes a row of metrics.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from dseg.data.stream import Batch
from dseg.distributed import Group
from dseg.errors import DsegError
from dseg.losses import SegLoss
from dseg.models import Normaliser, SegModel, SegOutput
from dseg.recipes import Recipe
from dseg.training.distill import Distillation
from dseg.training.optim import EmaWeights, average_gradients, find_lr, make_optimizer, set_lr

# Synchronised norms have equal statistics already; torch 2.15 warns of the option's older name.
BUFFERS = (
    "forward_sync_buffers"
    if "forward_sync_buffers" in signature(DistributedDataParallel).parameters
    else "broadcast_buffers"
)


class StepResult(NamedTuple):
    """The results of a step, on the device.

    Attributes:
        loss: this process's fraction of the batch's loss, a scalar.
        skipped: scalar, True if fp16 gradients overflowed, so that the step changed nothing; None
            in other precisions.
    """

    loss: Tensor
    skipped: Tensor | None


class TrainStep:
    """Performs optimizer steps on a network, in one or in several processes that share each batch.

    Args:
        model: network on its device, with synchronised norms if there are several processes.
        recipe: optimizer, schedule, EMA weights, clipping.
        loss: loss function of a micro-batch.
        group: the processes.
        device: device of ``model``.
        amp: precision within the network, None for float32.
        seed: seed of dropout.
        steps: number of steps of the whole run, for the schedule.
        distillation: what is learnt from teachers; None without any.

    Attributes:
        ema: EMA weights; None if the recipe has none.
        adversarial: parameters of the loss.
    """

    def __init__(
        self,
        model: SegModel,
        recipe: Recipe,
        loss: SegLoss,
        *,
        group: Group,
        device: torch.device,
        amp: torch.dtype | None,
        seed: int,
        steps: int,
        distillation: Distillation | None = None,
    ):
        self.model, self.recipe, self.loss, self.group = model, recipe, loss, group
        self.device, self.amp, self.seed, self.steps = device, amp, seed, steps
        self.distillation = distillation
        self.network: nn.Module = model
        if group.world_size > 1:
            ids = [device.index] if device.type == "cuda" else None
            options: dict[str, Any] = {BUFFERS: False, "gradient_as_bucket_view": True}
            self.network = DistributedDataParallel(model, device_ids=ids, **options)
        affinity = loss.affinity
        self.adversarial = [] if affinity is None else list(affinity.parameters())
        fused = device.type == "cuda"
        self.optimizer = make_optimizer(model, recipe, self.adversarial, fused=fused)
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == torch.float16)
        self.ema = EmaWeights(model, recipe.ema) if recipe.ema else None
        self._statistics = None
        if self.scaler.is_enabled():
            self._statistics = _Statistics(model)
            _zero_momentum(self.optimizer)
        self._normalise = Normaliser(model.card, device)

    def __call__(self, step: int, micro_batches: list[Batch]) -> StepResult:
        """Perform a step, numbered from 0, on this process's shard of a batch."""
        torch.manual_seed(_seed_of_step(self.seed, step, self.group.rank))
        self.network.train()
        set_lr(self.optimizer, find_lr(self.recipe, step, self.steps))
        if self._statistics is not None:
            self._statistics.save()
        masks = [batch.train_ids.to(self.device, non_blocking=True) for batch in micro_batches]
        total = self.group.sum(
            torch.stack([self.loss.weigh(self._labels(ids)) for ids in masks]).sum()
        )
        loss = torch.zeros((), device=self.device)
        for place, (batch, ids) in enumerate(zip(micro_batches, masks, strict=True)):
            with self._unsynchronised(place < len(micro_batches) - 1):
                loss += self._backward(batch.images.to(self.device, non_blocking=True), ids, total)
        skipped = self._update()
        if self.ema is not None:
            self.ema.update(step, skipped)
        return StepResult(loss, skipped)

    def _backward(self, images: Tensor, train_ids: Tensor, total: Tensor) -> Tensor:
        """Accumulate a micro-batch's gradient; return its fraction of the batch's loss."""
        x = self._normalise(images.contiguous(memory_format=torch.channels_last))
        with torch.autocast(self.device.type, self.amp) if self.amp else nullcontext():
            output = self._predict(x)
            taught = None if self.distillation is None else self.distillation.teacher(images)
        if self.distillation is None or taught is None:
            loss = self.loss(output, train_ids, total)
        else:
            labelled = self.distillation.labelled_in(output)
            loss = self.loss(labelled, self._labels(train_ids), total)
            fraction = 1 / (self.recipe.accumulate * self.group.world_size)
            loss = loss + fraction * self.distillation(output, taught, train_ids)
        # gradients are averaged over the processes, but the loss is the sum of their fractions
        torch.autograd.backward(self.scaler.scale(loss * self.group.world_size))
        return loss.detach()

    def _labels(self, train_ids: Tensor) -> Tensor:
        """Return the train ids that the recipe's loss reads."""
        taught = self.distillation
        return train_ids if taught is None else taught.labels_in(train_ids)

    def _predict(self, x: Tensor) -> SegOutput:
        """Return the network's output; raise an error if batch norm gets one value per channel."""
        try:
            output: SegOutput = self.network(x)
        except ValueError as fault:
            if "more than 1 value per channel" not in str(fault):
                raise
            raise DsegError(
                f"Batch norm gets a single value per channel from {len(x)}x{x.shape[2]}x"
                f"{x.shape[3]} pixels, so it cannot be trained.",
                hint="use a larger crop or batch, or fewer micro-batches (--set accumulate=1).",
            ) from fault
        return output

    def _unsynchronised(self, more: bool) -> AbstractContextManager[None]:
        """Prevent the processes from averaging gradients before the last micro-batch of a step."""
        if more and isinstance(self.network, DistributedDataParallel):
            no_sync: AbstractContextManager[None] = self.network.no_sync()
            return no_sync
        return nullcontext()

    def _update(self) -> Tensor | None:
        """Update the weights; return ``StepResult.skipped``."""
        average_gradients(self.adversarial, self.group)
        skipped = None
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.optimizer)
            skipped = ~self._largest_gradient().isfinite()
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self._statistics is not None and skipped is not None:
            self._statistics.restore(skipped)
        return skipped

    def _largest_gradient(self) -> Tensor:
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        gradients = [p.grad for p in parameters if p.grad is not None]
        return nn.utils.get_total_norm(gradients, math.inf)


class _Statistics:
    """Saves the statistics of a network's norms, which a skipped step must not change."""

    def __init__(self, model: nn.Module):
        self._now = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        self._saved = [buffer.clone() for buffer in self._now]

    def save(self) -> None:
        if self._now:
            torch._foreach_copy_(self._saved, self._now)

    def restore(self, skipped: Tensor) -> None:
        """Restore the saved values if ``skipped``, a scalar on the device, is True."""
        for now, saved in zip(self._now, self._saved, strict=True):
            now.copy_(torch.where(skipped, saved, now))


def _zero_momentum(optimizer: Optimizer) -> None:
    """Set SGD's momentum to 0, as a skipped fused step would leave a new buffer uninitialised."""
    for group in optimizer.param_groups:
        for parameter in group["params"] if group.get("momentum") else ():
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def _seed_of_step(seed: int, step: int, rank: int) -> int:
    """Return a seed for each step and process, so that no generator's state has to be saved."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint32)[0])
