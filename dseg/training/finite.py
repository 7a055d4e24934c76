"""Detect NaN and infinity in weights, and record the batch that caused them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NoReturn

import torch
from torch import nn

from dseg.distributed import Group
from dseg.errors import EXIT_FAILED_INPUTS, DsegError
from dseg.files import write_json

FILE = "not-a-number.json"


def has_finite_weights(model: nn.Module, group: Group) -> bool:
    """Return True if weights and statistics are finite in all processes."""
    values = [value for value in model.state_dict().values() if value.is_floating_point()]
    largest = torch.stack(torch._foreach_norm(values, math.inf)).max()
    return math.isfinite(group.sum(largest).item())


def refuse_step(
    run: Path, group: Group, *, what: str, step: int, loss: float, lr: float, names: list[str]
) -> NoReturn:
    """Record the batch of a step and raise an error; all processes have to call this.

    Args:
        run: folder of the run, for the list of images.
        what: description of the value that is not finite, for the message.
        step: number of the step, from 1, as in the metrics.
        loss, lr: loss and learning rate of the step.
        names: names of the images of this process.

    Raises:
        DsegError: always.
    """
    names = [name for shard in group.gather(names) for name in shard]
    if group.main:
        facts = {"step": step, "loss": str(loss), "lr": lr, "images": names}
        write_json(run / FILE, facts)
    raise DsegError(
        f"{what}, at a learning rate of {lr:g}; its {len(names)} images are listed in "
        f"{run / FILE}.",
        hint="look at those images, lower the learning rate or limit the gradient (--set clip=1); "
        "the saved states are from before that step.",
        exit_code=EXIT_FAILED_INPUTS,
    )
