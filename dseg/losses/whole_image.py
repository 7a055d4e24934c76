"""ImageLoss: the loss of one whole image, from scores that arrive in bands of rows."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dseg.labels import IGNORE
from dseg.losses.borders import weigh_borders
from dseg.losses.loss import FOCUS, SegLoss, mark_hard


class ImageLoss:
    """The main output's loss of an image, computed from its scores band by band.

    It is the loss of ``SegLoss`` for this image as a micro-batch, without what networks have in
    training only: auxiliary and border outputs, the loss on the pixels that these mark, and
    affinity fields. Nothing here waits for the device.

    Args:
        loss: loss of the training, with its class weights.
        target: (H, W) uint8 train ids on the device of the scores.
        probabilities: True if the scores are probabilities, not logits.
    """

    def __init__(self, loss: SegLoss, target: Tensor, *, probabilities: bool = False):
        self._loss, self._target, self._probabilities = loss, target, probabilities
        self._pixels = torch.full(target.shape, torch.nan, device=target.device)

    def add(self, top: int, scores: Tensor) -> None:
        """Add the rows from ``top`` on by their scores (K, rows, W), at the image's size."""
        if scores.shape[-1] != self._target.shape[-1]:
            return  # the network's labels are enlarged: no scores at the image's size
        rows = slice(top, top + scores.shape[1])
        logits = scores.float()
        if self._probabilities:
            logits = logits.clamp(min=torch.finfo(torch.float32).tiny).log()
        ids = self._target[rows].long()
        self._pixels[rows] = F.cross_entropy(
            logits[None], ids[None], ignore_index=IGNORE, reduction="none"
        )[0]

    def total(self) -> Tensor:
        """Return the mean loss times the weight of the pixels, and that weight: (2,), float64.

        The first is NaN if rows are missing. The loss of several images is the sum of the first
        values divided by that of the second.
        """
        with torch.inference_mode():
            weight = self._loss.weigh(self._target)
            return torch.stack([self._mean().to(weight.dtype) * weight, weight])

    def _mean(self) -> Tensor:
        loss, ids, pixels = self._loss, self._target.long(), self._pixels
        weights = _weigh_each(loss.class_weights, ids)
        counted = torch.ones_like(ids, dtype=torch.bool)
        factor = weights
        if loss.main == "ohem":
            likely = torch.exp(-pixels)
            counted = mark_hard(
                likely, ids != IGNORE, loss.threshold, loss.keep, strict=loss.strict
            )
            factor = weights = torch.where(counted, weights, 0)
        elif loss.main == "boundary":
            doubt = -torch.expm1(-pixels)
            factor = weights * weigh_borders(ids[None])[0] * doubt.clamp(min=1e-7) ** FOCUS
        precise = self._loss.weigh(self._target[:0]).dtype
        total = (factor * pixels).sum(dtype=precise)
        divisor = counted if loss.mean_over == "pixels" else weights
        return total / divisor.sum(dtype=precise).clamp(min=1e-12)


def _weigh_each(class_weights: Tensor | None, ids: Tensor) -> Tensor:
    """Return the weight of each pixel's class, float32; 0 for ignored pixels."""
    if class_weights is None:
        return (ids != IGNORE).float()
    table = F.pad(class_weights, (0, 256 - len(class_weights)))
    return table.index_select(0, ids.flatten().int()).view(ids.shape)
