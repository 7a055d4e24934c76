"""SegLoss: the training loss, weighted so that the losses of micro-batches add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dseg.labels import IGNORE
from dseg.losses.affinity import AffinityFields
from dseg.losses.borders import (
    EDGE_REACH,
    balanced_edge_loss,
    dilate,
    edge_loss,
    find_borders,
    mark_edges,
    weigh_borders,
)
from dseg.models import SegOutput
from dseg.recipes import EdgeLossName, LossName, MeanOver

FOCUS = 0.5  # exponent of the focal loss
IGNORED_LAST = 2.0  # in place of a probability: sorts ignored pixels behind all others


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
        threshold, keep, strict: arguments of ``find_hard``.
        mean_over: what the weighted losses are divided by: ``weights``, the class weights of the
            pixels that are not ignored; or ``pixels``, the number of all pixels, of the hard ones
            with OHEM.
        edge_weight: weight of the loss of each border output.
        edge_loss: that loss: ``focal``, see ``edge_loss``, or ``balanced``, see
            ``balanced_edge_loss``.
        edge_reach: argument of ``mark_edges``.
        edge_aware_weight: weight of the main output's loss on the pixels alone whose border
            probability, by the first border output, is above ``edge_aware_threshold``: the
            boundary-awareness loss of PIDNet (Xu et al., CVPR 2023). 0 for none.
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
    strict: bool = False
    mean_over: MeanOver = "weights"
    edge_weight: float = 0.1
    edge_loss: EdgeLossName = "focal"
    edge_reach: int = EDGE_REACH
    edge_aware_weight: float = 0.0
    edge_aware_threshold: float = 0.8
    affinity: AffinityFields | None = None
    affinity_weight: float = 0.0

    def weigh(self, target: Tensor) -> Tensor:
        """Return the total weight of a mask's pixels; ignored pixels have weight 0.

        If the mean is over pixels, this is the number of all pixels.

        Args:
            target: (N, H, W) uint8 train ids.
        """
        # MPS has no float64
        precise = torch.float32 if target.device.type == "mps" else torch.float64
        if self.mean_over == "pixels":
            return torch.full((), target.numel(), dtype=precise, device=target.device)
        if self.class_weights is None:
            return (target != IGNORE).sum(dtype=precise)
        table = F.pad(self.class_weights.to(precise), (0, 256 - len(self.class_weights)))
        return table.index_select(0, target.flatten().int()).sum()

    def __call__(self, output: SegOutput, target: Tensor, total: Tensor) -> Tensor:
        """Return the loss of a micro-batch, scaled by its fraction of the batch's weight.

        The sum over the micro-batches is the mean over the pixels of the batch, however the batch
        is split. With OHEM, the hard pixels are selected in each micro-batch; likewise, a balanced
        loss of borders is balanced in each, and the loss of marked pixels is their mean in each.

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
            loss = loss + self.edge_weight * fraction * self._edge_loss(edges.float(), ids)
        if self.edge_aware_weight and output.edges:
            marked = output.edges[0].detach()[:, 0].float().sigmoid() > self.edge_aware_threshold
            near = torch.where(marked, ids, IGNORE)
            aware = self._output_loss(self.main, output.main.float(), near)
            loss = loss + self.edge_aware_weight * fraction * aware
        if self.aux_border and output.aux:
            ids = torch.where(dilate(find_borders(ids), self.aux_border), ids, IGNORE)
        for aux in output.aux:
            loss = loss + self.aux_weight * fraction * self._output_loss(self.aux, aux.float(), ids)
        return loss

    def _output_loss(self, kind: LossName, logits: Tensor, ids: Tensor) -> Tensor:
        if kind == "boundary":
            return self._mean(logits, ids, weigh_borders(ids))
        if kind == "ohem":
            ids = find_hard(logits, ids, self.threshold, self.keep, strict=self.strict)
        return self._mean(logits, ids, of_all=kind != "ohem")

    def _edge_loss(self, logits: Tensor, ids: Tensor) -> Tensor:
        if self.edge_loss == "balanced":
            return balanced_edge_loss(logits, mark_edges(ids, self.edge_reach))
        return edge_loss(logits, ids, self.edge_reach)

    def _mean(
        self, logits: Tensor, ids: Tensor, focus: Tensor | None = None, *, of_all: bool = True
    ) -> Tensor:
        """Return the mean cross-entropy of the pixels that are not ignored, 0 without any.

        With ``focus``, weights (N, H, W), return the mean of the focal loss times these. A mean
        over pixels is over ignored ones too, unless ``of_all`` is False.
        """
        # summed separately: on CUDA, cross_entropy has no deterministic reduction
        weights = self.class_weights
        loss = F.cross_entropy(logits, ids, weights, ignore_index=IGNORE, reduction="none")
        if focus is None:
            total = loss.sum()
        else:
            plain = F.cross_entropy(logits, ids, ignore_index=IGNORE, reduction="none")
            doubt = -torch.expm1(-plain)  # 1 - p
            total = (focus * doubt.clamp(min=1e-7) ** FOCUS * loss).sum()
        return total / self._divisor(ids, of_all).clamp(min=1e-12)

    def _divisor(self, ids: Tensor, of_all: bool) -> Tensor:
        """Return what the sum of the losses of pixels is divided by, a scalar."""
        if self.mean_over == "pixels" and of_all:
            return torch.full((), float(ids.numel()), device=ids.device)
        if self.mean_over == "pixels" or self.class_weights is None:
            return (ids != IGNORE).sum()
        table = F.pad(self.class_weights, (0, 256 - len(self.class_weights)))
        return table.index_select(0, ids.flatten().int()).sum()


def find_hard(
    logits: Tensor, ids: Tensor, threshold: float, keep: float, *, strict: bool = False
) -> Tensor:
    """Return the ids with all but the hard pixels ignored (online hard example mining).

    Hard pixels are those whose true class has a probability of at most ``threshold``; if these are
    fewer than ``keep``, the ``keep`` pixels of lowest probability (Shrivastava et al., CVPR 2016,
    for detection; here in the form that segmentation code uses).

    Args:
        logits: (N, K, H, W).
        ids: (N, H, W) int64, ``IGNORE`` for ignored.
        threshold: probability, 0 to 1.
        keep: a number of pixels, or below 1 a fraction of all N * H * W.
        strict: hard pixels are those below a limit, not equal to it: the larger one of
            ``threshold`` and the lowest probability but ``keep``, or but all if there are fewer
            labelled pixels, of which one is left out then.
    """
    with torch.no_grad():
        loss = F.cross_entropy(logits, ids, ignore_index=IGNORE, reduction="none")
        hard = mark_hard(torch.exp(-loss), ids != IGNORE, threshold, keep, strict=strict)
        return torch.where(hard, ids, IGNORE)


def mark_hard(
    probability: Tensor, scored: Tensor, threshold: float, keep: float, *, strict: bool = False
) -> Tensor:
    """Return a mask of the hard pixels, see ``find_hard``.

    Args:
        probability: probability of each pixel's true class, 0 to 1, of any shape.
        scored: mask of the pixels that are not ignored, of the same shape.
        threshold, keep, strict: as for ``find_hard``.
    """
    least = int(keep * probability.numel() if keep < 1 else keep)
    probability = torch.where(scored, probability, IGNORED_LAST)
    limit = torch.full((), threshold, device=probability.device)
    if least > 0:
        # kthvalue has no deterministic algorithm on CUDA
        count = min(least + strict, probability.numel())
        lowest = probability.flatten().topk(count, largest=False, sorted=False).values
        if strict:
            lowest = torch.where(lowest < IGNORED_LAST, lowest, 0)
        limit = lowest.max().clamp(min=threshold)
    below = probability < limit if strict else probability <= limit
    return scored & below


def make_class_weights(weights: Sequence[float], device: torch.device) -> Tensor | None:
    """Return class weights as a tensor (K,) float32 on the device, or None without any."""
    return torch.tensor(weights, dtype=torch.float32, device=device) if weights else None
