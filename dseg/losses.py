"""Losses over the pixels that are not ignored, so weighted that parts of a batch add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dseg.labels import IGNORE
from dseg.models import SegOutput


@dataclass(frozen=True, eq=False)
class SegLoss:
    """Cross-entropy of the main and auxiliary outputs, of all pixels or the hard ones.

    Attributes:
        class_weights: (K,), or None for equal ones.
        aux_weight: of each auxiliary output, whose loss is always that of all pixels.
        ohem: whether the main output's loss is that of the hard pixels.
        threshold, keep: of ``find_hard``.
    """

    class_weights: Tensor | None = None
    aux_weight: float = 0.4
    ohem: bool = False
    threshold: float = 0.7
    keep: float = 1 / 16

    def weigh(self, target: Tensor) -> Tensor:
        """Return what a mask's pixels weigh together; ignored ones weigh nothing.

        Args:
            target: (N, H, W) train ids, uint8.
        """
        precise = torch.float32 if target.device.type == "mps" else torch.float64  # MPS has no more
        if self.class_weights is None:
            return (target != IGNORE).sum(dtype=precise)
        table = F.pad(self.class_weights.to(precise), (0, 256 - len(self.class_weights)))
        return (torch.bincount(target.flatten(), minlength=256) * table).sum()

    def __call__(self, output: SegOutput, target: Tensor, total: Tensor) -> Tensor:
        """Return the part of a batch's loss that these images make.

        A batch's loss is the mean over its pixels, whatever parts it is computed in: each part
        counts by its weight. With OHEM each part picks its own hard pixels.

        Args:
            output: logits of (N, K, H, W).
            target: (N, H, W) train ids, uint8.
            total: weight of the whole batch, the sum of ``weigh`` over its parts.
        """
        ids = target.long()
        share = (self.weigh(target) / total.clamp(min=1e-12)).float()
        main = output.main.float()
        hard = find_hard(main, ids, self.threshold, self.keep) if self.ohem else ids
        loss = share * self._mean(main, hard)
        for aux in output.aux:
            loss = loss + self.aux_weight * share * self._mean(aux.float(), ids)
        return loss

    def _mean(self, logits: Tensor, ids: Tensor) -> Tensor:
        """Return the weighted mean over the scored pixels, 0 if there are none."""
        weights = self.class_weights
        total = F.cross_entropy(logits, ids, weights, ignore_index=IGNORE, reduction="sum")
        scored = ids != IGNORE
        if weights is None:
            weight = scored.sum()
        else:
            weight = weights[ids.clamp(max=len(weights) - 1)][scored].sum()
        return total / weight.clamp(min=1e-12)


def find_hard(logits: Tensor, ids: Tensor, threshold: float, keep: float) -> Tensor:
    """Return the ids with all but the hard pixels ignored (online hard example mining).

    Hard are the pixels whose class has a probability of at most ``threshold``, or as many of the
    lowest probability as are to be kept at least (Shrivastava et al., CVPR 2016, for detection;
    in the form that the segmentation recipes use).

    Args:
        logits: (N, K, H, W).
        ids: (N, H, W) int64, ``IGNORE`` for ignored.
        threshold: 0 to 1.
        keep: a count of pixels, or below 1 a share of all N * H * W.
    """
    with torch.no_grad():
        scored = ids != IGNORE
        least = int(keep * ids.numel() if keep < 1 else keep)
        loss = F.cross_entropy(logits, ids, ignore_index=IGNORE, reduction="none")
        probability = torch.exp(-loss)
        if least > 0:
            found = probability[scored]
            if found.numel() <= least:
                return ids
            threshold = max(threshold, float(found.kthvalue(least).values))
        return torch.where(scored & (probability <= threshold), ids, IGNORE)


def make_class_weights(weights: Sequence[float], device: torch.device) -> Tensor | None:
    """Return (K,) float32 on the device, None for no weights.

    Args:
        weights: one a class.
        device: where the loss is computed.
    """
    return torch.tensor(weights, dtype=torch.float32, device=device) if weights else None
