"""Batch norm over the images of all processes (Peng et al., MegDet, CVPR 2018, section 3.3).

On CUDA this is torch's ``SyncBatchNorm``. The classes below are for the CPU with gloo, which it
does not support: for tests, and for runs of several processes without GPUs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def synchronise_norms(model: nn.Module, device_type: str) -> nn.Module:
    """Replace batch norms by ones whose statistics include the batches of all processes.

    Parameters, buffers and the keys of the state dict do not change.

    Args:
        model: network, changed in place.
        device_type: ``cuda`` for torch's SyncBatchNorm, otherwise ``AllReduceBatchNorm``.
    """
    if device_type == "cuda":
        convert: Callable[[nn.Module], nn.Module] = nn.SyncBatchNorm.convert_sync_batchnorm
        return convert(model)
    for module in model.modules():
        if type(module) in REPLACEMENTS:
            module.__class__ = REPLACEMENTS[type(module)]  # the subclass adds no state
    return model


class AllReduceBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm whose training statistics include the batches of all processes; for the CPU.

    It equals batch norm on the concatenated batch, for any distribution over the processes. The
    gradients of weight and bias are those of each process; their sum is the whole gradient.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N, C, ...); N can differ between processes, and can be 0."""
        of_batch = self.training or self.running_mean is None
        if not (of_batch and dist.is_available() and dist.is_initialized()):
            return super().forward(input)
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        mean, moment, count = _moments_of_all(input)
        if count < 2:
            raise ValueError(f"Expected more than 1 value per channel, got {list(input.shape)}")
        if self.training and self.running_mean is not None:
            self._track(mean, moment / (count - 1))
        normalised: Tensor = _Normalise.apply(
            input, self.weight, self.bias, mean, moment / count, count, self.eps
        )
        return normalised

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        """Update the running statistics with those of this batch and its unbiased variance."""
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        weight = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        with torch.no_grad():
            self.running_mean.lerp_(mean.to(self.running_mean), weight)
            self.running_var.lerp_(variance.to(self.running_var), weight)


class AllReduceBatchNorm1d(AllReduceBatchNorm, nn.BatchNorm1d):
    """Normalise inputs of shape (N, C, L)."""


class AllReduceBatchNorm2d(AllReduceBatchNorm, nn.BatchNorm2d):
    """Normalise inputs of shape (N, C, H, W)."""


REPLACEMENTS: dict[type, type] = {
    nn.BatchNorm1d: AllReduceBatchNorm1d,
    nn.BatchNorm2d: AllReduceBatchNorm2d,
}


@torch.no_grad()
def _moments_of_all(values: Tensor) -> tuple[Tensor, Tensor, int]:
    """Return mean and sum of squared deviations per channel, and the number of values per channel.

    The moments of the processes are combined in float64 (Chan et al., 1979), in the order of ranks,
    so that all processes have the same result and no difference of two large sums occurs.
    """
    channels = values.shape[1]
    own = values.new_zeros(2 * channels + 1, dtype=torch.float64)
    count = values.numel() // channels
    if count:
        mean = values.mean(_all_but_channels(values), dtype=torch.float64)
        deviation = values.float() - _by_channel(mean.float(), values)
        # Deviations are from the rounded mean, so its rounding error is corrected.
        error = mean - mean.float().double()
        squares = deviation.square().sum(_all_but_channels(values), dtype=torch.float64)
        moment = squares - count * error.square()
        own = torch.cat([mean, moment, own.new_tensor([count])])
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, own)
    every = torch.stack(parts)
    means, moments, counts = every[:, :channels], every[:, channels:-1], every[:, -1:]
    total = counts.sum()
    mean = (means * counts).sum(0) / total
    moment = (moments + counts * (means - mean).square()).sum(0)
    return mean, moment, int(total)


class _Normalise(torch.autograd.Function):
    """Normalise by statistics that depend on the inputs of all processes."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        count: int,
        eps: float,
    ) -> Tensor:
        scale = (variance + eps).rsqrt()
        ctx.save_for_backward(values, weight, mean.float(), scale.float())
        ctx.count = count
        return F.batch_norm(
            values, mean.float(), variance.float(), weight, bias, training=False, eps=eps
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        values, weight, mean, scale = ctx.saved_tensors
        normalised = (values.float() - _by_channel(mean, values)) * _by_channel(scale, values)
        grad_bias = grad.float().sum(_all_but_channels(values))
        grad_weight = (grad * normalised).float().sum(_all_but_channels(values))
        grad_values = None
        if ctx.needs_input_grad[0]:
            sums = torch.cat([grad_bias, grad_weight])
            dist.all_reduce(sums)
            of_grad, of_product = (sums / ctx.count).chunk(2)
            centred = grad.float() - _by_channel(of_grad, values)
            centred -= normalised * _by_channel(of_product, values)
            factor = scale if weight is None else scale * weight
            grad_values = (centred * _by_channel(factor, values)).to(values.dtype)
        parameters = (None, None) if weight is None else (grad_weight, grad_bias)
        return (grad_values, *parameters, None, None, None, None)


def _all_but_channels(values: Tensor) -> list[int]:
    return [0, *range(2, values.ndim)]


def _by_channel(numbers: Tensor, values: Tensor) -> Tensor:
    """Reshape one number per channel to broadcast with values (N, C, ...)."""
    return numbers.view(1, -1, *[1] * (values.ndim - 2))
