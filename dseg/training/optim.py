"""Optimizer, learning-rate schedule and EMA weights of a recipe."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel

from dseg.distributed import Group
from dseg.models import SegModel
from dseg.recipes import Recipe


def make_optimizer(
    model: SegModel,
    recipe: Recipe,
    adversarial: Sequence[nn.Parameter] = (),
    *,
    fused: bool = False,
) -> Optimizer:
    """Make the optimizer; each group's ``factor`` scales the schedule's learning rate.

    Args:
        model: network; parameters of its ``body`` have the recipe's learning rate, all others
            ``head_lr`` times that rate.
        recipe: optimizer, momentum, weight decay; the body's decay is ``backbone_decay`` times it.
        adversarial: parameters of the loss, without weight decay.
        fused: update many parameters in one kernel, which on a GPU takes fewer launches and skips
            fp16's overflows without waiting for the device.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        within = name.startswith(model.body)
        factor = 1.0 if within else recipe.head_lr
        decay = recipe.weight_decay * (recipe.backbone_decay if within else 1.0)
        decays = recipe.decay_norms or parameter.ndim > 1
        key = (factor, decay if decays else 0.0)
        groups.setdefault(key, []).append(parameter)
    if adversarial:
        groups.setdefault((1.0, 0.0), []).extend(adversarial)
    params = [
        {"params": params, "factor": factor, "weight_decay": decay}
        for (factor, decay), params in groups.items()
    ]
    options: dict[str, Any] = {"lr": recipe.lr, **({"fused": True} if fused else {})}
    if recipe.optimizer == "sgd":
        return SGD(params, momentum=recipe.momentum, **options)
    kind = Adam if recipe.optimizer == "adam" else AdamW
    return kind(params, betas=(recipe.momentum, recipe.beta2), **options)


def average_gradients(parameters: Sequence[nn.Parameter], group: Group) -> None:
    """Average gradients over the processes, as DistributedDataParallel does for the network."""
    for parameter in parameters:
        if group.world_size > 1 and parameter.grad is not None:
            group.sum(parameter.grad).div_(group.world_size)


def find_lr(recipe: Recipe, step: int, steps: int) -> float:
    """Return the learning rate of a step, which is 0 to ``steps`` - 1."""
    done = step / max(steps, 1)
    factor: float
    if recipe.schedule == "poly":
        factor = (1 - done) ** recipe.power
    elif recipe.schedule == "cosine":
        least = recipe.lr_end / recipe.lr if recipe.lr else 0.0
        factor = least + (1 - least) * (1 + math.cos(math.pi * done)) / 2
    elif recipe.schedule == "halving":
        factor = 0.5 ** math.floor(done * (recipe.halvings + 1))
    else:
        factor = 1.0
    if step < recipe.warmup:
        risen = step / recipe.warmup
        if recipe.warmup_shape == "linear":
            factor *= recipe.warmup_from + (1 - recipe.warmup_from) * risen
        else:
            factor *= recipe.warmup_from ** (1 - risen)
    return recipe.lr * factor


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["factor"]


class EmaWeights(AveragedModel):
    """Exponential moving average of a network's weights and floating-point statistics.

    At step t the decay is at most (1 + t) / (10 + t), so that the initial weights soon lose their
    influence. ``AveragedModel`` holds the averaged copy, but its own update waits for the device
    and supports neither this decay nor skipped steps.

    Args:
        model: network from whose present state the average starts and which ``update`` reads; its
            tensors have to stay the same objects.
        decay: weight of the previous average, 0 to 1.
    """

    def __init__(self, model: SegModel, decay: float):
        super().__init__(model, use_buffers=True)
        self.decay = decay
        self.module.requires_grad_(False)
        averaged, values = self.module.state_dict().values(), model.state_dict().values()
        self._averaged = [tensor for tensor in averaged if tensor.is_floating_point()]
        self._values = [tensor for tensor in values if tensor.is_floating_point()]
        self._copied_counts = [tensor for tensor in averaged if not tensor.is_floating_point()]
        self._counts = [tensor for tensor in values if not tensor.is_floating_point()]

    @property
    def network(self) -> SegModel:
        """The network with the averaged weights."""
        assert isinstance(self.module, SegModel)
        return self.module

    @torch.no_grad()
    def update(self, step: int, skipped: Tensor | None = None) -> None:
        """Move the average towards the network's state after a step.

        Args:
            step: number of the step, from 0.
            skipped: scalar on the device, True if the step changed nothing, so that the average
                stays as it is.
        """
        moved = 1 - min(self.decay, (1 + step) / (10 + step))
        if skipped is None:
            torch._foreach_lerp_(self._averaged, self._values, moved)
        else:
            differences = torch._foreach_sub(self._values, self._averaged)
            torch._foreach_mul_(differences, torch.where(skipped, 0.0, moved))
            torch._foreach_add_(self._averaged, differences)
        if self._counts:
            torch._foreach_copy_(self._copied_counts, self._counts)
