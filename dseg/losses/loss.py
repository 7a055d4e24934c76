"""SegLoss: a loss of the pixels that are not ignored, so weighted that parts of a batch add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dseg.labels import IGNORE
from dseg.losses.affinity import AffinityFields
from dseg.losses.borders import dilate, edge_loss, find_borders, weigh_borders
from dseg.models import SegOutput
from dseg.recipes import LossName

FOCUS = 0.5  # exponent of the focal loss


@dataclass(frozen=True, eq=False)
class SegLoss:
    """The loss of the main output and, weighted, that of each auxiliary one.

    Attributes:
        class_weights: (K,), or None for equal ones.
        main: loss of the main output: ``ce``, cross-entropy of all pixels; ``ohem``, that of the
            hard ones; ``boundary``, focal loss (Lin et al., ICCV 2017, eq. 4, exponent 0.5) times
            8, 4 or 2 within 16, 64 and 128 pixels of a border between classes (after Orsic and
            Segvic, Pattern Recognition 2021).
        aux: loss of the auxiliary outputs, of the same kinds.
        aux_weight: of each auxiliary output.
        aux_border: auxiliary outputs learn only within so many pixels of a border between classes;
            0 for everywhere.
        edge_weight: of each output of borders, see ``edge_loss``.
        threshold, keep: of ``find_hard``.
        affinity: affinity fields of the main output's probabilities, None for none.
        affinity_weight: of their loss.
    """

    class_weights: Tensor | None = None
    main: LossName = "ce"
    aux: LossName = "ce"
    aux_weight: float = 0.4
    aux_border: int = 0
    threshold: float = 0.7
    keep: float = 1 / 16
    edge_weight: float = 0.1
    affinity: AffinityFields | None = None
    affinity_weight: float = 0.0

    def weigh(self, target: Tensor) -> Tensor:
        """Return what a mask's pixels weigh together; ignored ones weigh nothing.

        Args:
            target: (N, H, W) train ids, uint8.
        """
        precise = torch.float32 if target.device.type == "mps" else torch.float64  # MPS has no more
        if self.class_weights is None:
            return (target != IGNORE).sum(dtype=precise)
        table = F.pad(self.class_weights.to(precise), (0, 256 - len(self.class_weights)))
        return table.index_select(0, target.flatten().int()).sum()

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
        loss = share * self._of(self.main, output.main.float(), ids)
        if self.affinity is not None:
            fields: Tensor = self.affinity(output.main.float(), ids)
            loss = loss + self.affinity_weight * share * fields
        for edges in output.edges:
            loss = loss + self.edge_weight * share * edge_loss(edges.float(), ids)
        if self.aux_border and output.aux:
            ids = torch.where(dilate(find_borders(ids), self.aux_border), ids, IGNORE)
        for aux in output.aux:
            loss = loss + self.aux_weight * share * self._of(self.aux, aux.float(), ids)
        return loss

    def _of(self, kind: LossName, logits: Tensor, ids: Tensor) -> Tensor:
        if kind == "boundary":
            return self._mean(logits, ids, weigh_borders(ids))
        if kind == "ohem":
            ids = find_hard(logits, ids, self.threshold, self.keep)
        return self._mean(logits, ids)

    def _mean(self, logits: Tensor, ids: Tensor, focus: Tensor | None = None) -> Tensor:
        """Return the weighted mean over the scored pixels, 0 if there are none.

        With ``focus``, (N, H, W), it is of the focal loss, each pixel's multiplied by that.
        """
        weights = self.class_weights
        # summed apart: on CUDA the loss of a map has no deterministic sum of its own
        loss = F.cross_entropy(logits, ids, weights, ignore_index=IGNORE, reduction="none")
        if focus is None:
            total = loss.sum()
        else:
            plain = F.cross_entropy(logits, ids, ignore_index=IGNORE, reduction="none")
            doubt = -torch.expm1(-plain)  # 1 - p
            total = (focus * doubt.clamp(min=1e-7) ** FOCUS * loss).sum()
        if weights is None:
            weight = (ids != IGNORE).sum()
        else:
            table = F.pad(weights, (0, 256 - len(weights)))
            weight = table.index_select(0, ids.flatten().int()).sum()
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
        probability = torch.where(scored, probability, 2.0)  # ignored pixels come last
        limit = torch.full((), threshold, device=ids.device)
        if least > 0:
            # kthvalue has no deterministic algorithm on CUDA
            lowest = probability.flatten().topk(
                min(least, ids.numel()), largest=False, sorted=False
            )
            limit = lowest.values.max().clamp(min=threshold)
        return torch.where(scored & (probability <= limit), ids, IGNORE)


def make_class_weights(weights: Sequence[float], device: torch.device) -> Tensor | None:
    """Return (K,) float32 on the device, None for no weights.

    Args:
        weights: one a class.
        device: where the loss is computed.
    """
    return torch.tensor(weights, dtype=torch.float32, device=device) if weights else None
