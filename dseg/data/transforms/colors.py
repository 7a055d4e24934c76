"""Apply colour jitter and blur to crops, with separate factors for each crop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dseg.data.transforms.views import View
from dseg.device import to_device

LUMA = (0.299, 0.587, 0.114)  # Rec. 601
REACH = 3  # radius of the blur's kernel in pixels


def finish(images: Tensor, views: Sequence[View]) -> Tensor:
    """Apply colour jitter and blur, round, and return uint8.

    Args:
        images: (N, 3, h, w) float32, 0 to 255; overwritten.
        views: the augmentation of each image.
    """
    factors = [(view.brightness, view.contrast, view.saturation) for view in views]
    recolored = any(factor != 1 for three in factors for factor in three)
    if recolored:
        images = _recolor(images, to_device(torch.tensor(factors), images.device))
    if any(view.sigma for view in views):
        images = _blur(images, to_device(_make_kernels(views), images.device))
    images.add_(0.5)
    images = images.clamp_(0, 255) if recolored else images
    if images.device.type == "cpu":  # where NumPy converts about three times as fast
        return torch.from_numpy(images.numpy().astype(np.uint8))
    return images.byte()


def _recolor(images: Tensor, factors: Tensor) -> Tensor:
    """Change brightness, contrast and saturation in place, by (N, 3) factors."""
    brightness, contrast, saturation = factors.view(-1, 3, 1, 1, 1).unbind(1)
    images.mul_(brightness).clamp_(0, 255)
    mean = _find_luma(images).mean((2, 3), keepdim=True)
    images.mul_(contrast).add_(mean.mul_(1 - contrast)).clamp_(0, 255)
    grey = _find_luma(images).mul_(1 - saturation)
    return images.mul_(saturation).add_(grey)


def _find_luma(images: Tensor) -> Tensor:
    """Return the luma, (N, 1, h, w)."""
    luma = images[:, :1] * LUMA[0]
    return luma.add_(images[:, 1:2], alpha=LUMA[1]).add_(images[:, 2:], alpha=LUMA[2])


def _make_kernels(views: Sequence[View]) -> Tensor:
    """Return each view's Gaussian kernel, (N, 2 * REACH + 1); without blur, 1 in the middle."""
    sigmas = torch.tensor([max(view.sigma, 1e-3) for view in views], dtype=torch.float64)
    steps = torch.arange(-REACH, REACH + 1, dtype=torch.float64)
    kernels = torch.exp(-0.5 * (steps / sigmas[:, None]) ** 2)
    return (kernels / kernels.sum(1, keepdim=True)).float()


def _blur(images: Tensor, kernels: Tensor) -> Tensor:
    """Convolve each image's rows and columns with its kernel.

    Sums of shifted images are several times faster on the CPU than a convolution.
    """
    for axis, pad in ((2, (0, 0, REACH, REACH)), (3, (REACH, REACH, 0, 0))):
        size = images.shape[axis]
        padded = F.pad(images, pad, mode="reflect")
        weights = kernels.view(len(kernels), -1, 1, 1, 1).unbind(1)
        images = padded.narrow(axis, 0, size) * weights[0]
        for place, weight in enumerate(weights[1:], 1):
            images.addcmul_(padded.narrow(axis, place, size), weight)
    return images
