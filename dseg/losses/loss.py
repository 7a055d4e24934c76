"""SegLoss: the training loss, weighted so that the losses of micro-batches add up."""

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
    """The loss of the main output plus the weighted losses of the other outputs.

    Attributes:
        class_weights: (K,) weights of the classes, or None for equal weights.
        main: loss of the main output: ``ce``, cross-entropy of all pixels; ``ohem``, cross-entropy
            of the hard pixels; ``boundary``, focal loss (Lin et al., ICCV 2017, eq. 4, exponent
            0.5) times 8, 4 or 2 within 16, 64 or 128 pixels of a border between classes (after
            Orsic and Segvic, Pattern Recognition 2021).
        aux: loss of the auxiliary outputs, one of the same kinds.
        aux_weight: weight of the loss of each auxiliary output.
        aux_border: largest distance in pixels from a class border at which auxiliary outputs are
            trained; 0 for everywhere.
        threshold, keep: arguments of ``find_hard``.
        edge_weight: weight of the loss of each border output, see ``edge_loss``.
        affinity: affinity field loss of the main output, or None.
        affinity_weight: weight of that loss.
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
        """Return the total weight of a mask's pixels; ignored pixels have weight 0.

        Args:
            target: (N, H, W) uint8 train ids.
        """
        # MPS has no float64
        precise = torch.float32 if target.device.type == "mps" else torch.float64
        if self.class_weights is None:
            return (target != IGNORE).sum(dtype=precise)
        table = F.pad(self.class_weights.to(precise), (0, 256 - len(self.class_weights)))
        return table.index_select(0, target.flatten().int()).sum()

    def __call__(self, output: SegOutput, target: Tensor, total: Tensor) -> Tensor:
        """Return the loss of a micro-batch, scaled by its fraction of the batch's weight.

        The sum over the micro-batches is the mean over the pixels of the batch, however the batch
        is split. With OHEM, the hard pixels are selected in each micro-batch.

        Args:
            output: outputs of the network, with logits of shape (N, K, H, W).
            target: (N, H, W) uint8 train ids.
            total: weight of the whole batch, the sum of ``weigh`` over its micro-batches.
        """
        ids = target.long()
        fraction = (self.weigh(target) / total.clamp(min=1e-12)).float()
        loss = fraction * self._output_loss(self.main, output.main.float(), ids)
        if self.affinity is not None:
            fields: Tensor = self.affinity(output.main.float(), ids)
            loss = loss + self.affinity_weight * fraction * fields
        for edges in output.edges:
            loss = loss + self.edge_weight * fraction * edge_loss(edges.float(), ids)
        if self.aux_border and output.aux:
            ids = torch.where(dilate(find_borders(ids), self.aux_border), ids, IGNORE)
        for aux in output.aux:
            loss = loss + self.aux_weight * fraction * self._output_loss(self.aux, aux.float(), ids)
        return loss

    def _output_loss(self, kind: LossName, logits: Tensor, ids: Tensor) -> Tensor:
        if kind == "boundary":
            return self._mean(logits, ids, weigh_borders(ids))
        if kind == "ohem":
            ids = find_hard(logits, ids, self.threshold, self.keep)
        return self._mean(logits, ids)

    def _mean(self, logits: Tensor, ids: Tensor, focus: Tensor | None = None) -> Tensor:
        """Return the mean cross-entropy of the pixels that are not ignored, 0 without any.

        With ``focus``, weights (N, H, W), return the mean of the focal loss times these.
        """
        weights = self.class_weights
        # summed separately: on CUDA, cross_entropy has no deterministic reduction
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

    Hard pixels are those whose true class has a probability of at most ``threshold``; if these are
    fewer than ``keep``, the ``keep`` pixels of lowest probability (Shrivastava et al., CVPR 2016,
    for detection; here in the form that segmentation code uses).

    Args:
        logits: (N, K, H, W).
        ids: (N, H, W) int64, ``IGNORE`` for ignored.
        threshold: probability, 0 to 1.
        keep: a number of pixels, or below 1 a fraction of all N * H * W.
    """
    with torch.no_grad():
        loss = F.cross_entropy(logits, ids, ignore_index=IGNORE, reduction="none")
        hard = mark_hard(torch.exp(-loss), ids != IGNORE, threshold, keep)
        return torch.where(hard, ids, IGNORE)


def mark_hard(probability: Tensor, scored: Tensor, threshold: float, keep: float) -> Tensor:
    """Return a mask of the hard pixels, see ``find_hard``.

    Args:
        probability: probability of each pixel's true class, 0 to 1, of any shape.
        scored: mask of the pixels that are not ignored, of the same shape.
        threshold, keep: as for ``find_hard``.
    """
    least = int(keep * probability.numel() if keep < 1 else keep)
    probability = torch.where(scored, probability, 2.0)  # ignored pixels come last
    limit = torch.full((), threshold, device=probability.device)
    if least > 0:
        # kthvalue has no deterministic algorithm on CUDA
        count = min(least, probability.numel())
        lowest = probability.flatten().topk(count, largest=False, sorted=False)
        limit = lowest.values.max().clamp(min=threshold)
    return scored & (probability <= limit)


def make_class_weights(weights: Sequence[float], device: torch.device) -> Tensor | None:
    """Return class weights as a tensor (K,) float32 on the device, or None without any."""
    return torch.tensor(weights, dtype=torch.float32, device=device) if weights else None
