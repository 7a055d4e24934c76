"""Numbers of parameters and operations of a network, counted on the meta device."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from dseg.folding import fold_blocks
from dseg.models import build_model


class Cost(NamedTuple):
    """Cost of a network for one image size.

    Attributes:
        params: number of parameters.
        macs: multiply-accumulates of the convolutions and matrix products of a forward pass.
        flops: floating-point operations, two for each multiply-accumulate.
    """

    params: int
    macs: int
    flops: int


@cache
def count_cost(name: str, height: int = 1024, width: int = 2048, *, folded: bool = True) -> Cost:
    """Count parameters and operations of a network for one image, on the meta device.

    ``torch.utils.flop_counter`` counts them in evaluation mode, with blocks in their form for
    inference unless ``folded`` is False; as in the papers, norms, activations, pooling and
    upsampling are not counted.

    Raises:
        DsegError: no such network.
    """
    with torch.device("meta"):
        model = build_model(name).eval()
        if folded:
            fold_blocks(model)
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            model.logits(model.pad(torch.empty(1, 3, height, width)))
    flops = counter.get_total_flops()
    return Cost(sum(p.numel() for p in model.parameters()), flops // 2, flops)
