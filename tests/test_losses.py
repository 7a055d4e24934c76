"""Losses, compared with values computed by hand."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from dseg.losses import ImageLoss, SegLoss, find_hard, weigh_borders
from dseg.models import SegOutput
from dseg.recipes import LossName, MeanOver

IGNORED = 255


def logits_of(probabilities: list[float]) -> Tensor:
    """Return logits of two classes for a row of pixels, from the probabilities of class 0."""
    p = torch.tensor(probabilities, dtype=torch.float64)
    return torch.stack([p.log(), (1 - p).log()]).view(1, 2, 1, -1).float()


def ids_of(values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.uint8).view(1, 1, -1)


def test_cross_entropy_is_the_mean_over_scored_pixels() -> None:
    loss, target = SegLoss(), ids_of([0, 1, IGNORED])
    found = loss(SegOutput(logits_of([0.5, 0.75, 0.9])), target, loss.weigh(target))
    assert float(found) == pytest.approx((math.log(2) + math.log(4)) / 2, rel=1e-6)


def test_class_weights_weigh_pixels_and_their_number() -> None:
    loss, target = SegLoss(class_weights=torch.tensor([3.0, 1.0])), ids_of([0, 1, IGNORED])
    assert float(loss.weigh(target)) == 4.0
    found = loss(SegOutput(logits_of([0.5, 0.75, 0.9])), target, loss.weigh(target))
    assert float(found) == pytest.approx((3 * math.log(2) + math.log(4)) / 4, rel=1e-6)


def test_auxiliary_outputs_count_by_their_weight() -> None:
    loss, target = SegLoss(aux_weight=0.4), ids_of([0])
    output = SegOutput(logits_of([0.5]), (logits_of([0.25]), logits_of([0.25])))
    found = loss(output, target, loss.weigh(target))
    assert float(found) == pytest.approx(math.log(2) + 0.8 * math.log(4), rel=1e-6)


def test_losses_of_micro_batches_add_up_to_that_of_the_batch() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 5, 6, 7)
    target = torch.randint(0, 5, (4, 6, 7)).byte()
    target[0, :5] = IGNORED  # micro-batches of different weight
    loss = SegLoss(class_weights=torch.tensor([1.0, 2, 3, 4, 5]))
    total = loss.weigh(target)
    whole = loss(SegOutput(logits), target, total)
    losses = [loss(SegOutput(logits[i : i + 1]), target[i : i + 1], total) for i in range(4)]
    assert float(sum(losses)) == pytest.approx(float(whole), rel=1e-6)


@pytest.mark.parametrize("kind", get_args(LossName))
def test_a_batch_without_any_class_has_no_loss_and_a_finite_gradient(kind: LossName) -> None:
    logits = torch.zeros(1, 2, 3, 3, requires_grad=True)
    target = torch.full((1, 3, 3), IGNORED, dtype=torch.uint8)
    loss = SegLoss(main=kind)
    found = loss(SegOutput(logits), target, loss.weigh(target))
    found.backward()
    assert float(found.detach()) == 0 and logits.grad is not None and not logits.grad.any()


def hard(probabilities: list[float], threshold: float, keep: float) -> list[int]:
    ids = torch.zeros(1, 1, len(probabilities), dtype=torch.int64)
    ids[..., -1] = IGNORED
    found = find_hard(logits_of(probabilities), ids, threshold, keep)
    return [place for place, value in enumerate(found.flatten().tolist()) if value == 0]


def test_hard_pixels_are_those_below_the_threshold() -> None:
    assert hard([0.9, 0.6, 0.8, 0.2, 0.1], 0.7, 0) == [1, 3]


def test_of_too_few_hard_pixels_the_hardest_are_kept_up_to_the_number() -> None:
    assert hard([0.9, 0.6, 0.8, 0.2, 0.1], 0.3, 3) == [1, 2, 3]
    assert hard([0.9, 0.6, 0.8, 0.2, 0.1], 0.3, 0.6) == [1, 2, 3]  # 3 of 5


def test_all_pixels_are_kept_where_there_are_fewer_than_the_number() -> None:
    assert hard([0.9, 0.6, 0.8, 0.2, 0.1], 0.3, 100) == [0, 1, 2, 3]


def test_ohem_is_the_mean_over_the_hard_pixels_alone() -> None:
    loss, target = SegLoss(main="ohem", threshold=0.7, keep=0), ids_of([0, 0, 0])
    found = loss(SegOutput(logits_of([0.9, 0.5, 0.25])), target, loss.weigh(target))
    assert float(found) == pytest.approx((math.log(2) + math.log(4)) / 2, rel=1e-5)


def test_auxiliary_outputs_learn_from_hard_pixels_too_where_told() -> None:
    loss = SegLoss(aux="ohem", aux_weight=0.5, threshold=0.7, keep=0)
    target = ids_of([0, 0])
    output = SegOutput(logits_of([0.5, 0.5]), (logits_of([0.9, 0.25]),))
    found = loss(output, target, loss.weigh(target))
    assert float(found) == pytest.approx(math.log(2) + 0.5 * math.log(4), rel=1e-6)


def test_pixels_near_a_border_weigh_more() -> None:
    row = torch.tensor([0] * 150 + [IGNORED] * 3 + [1] * 10 + [2] * 200)
    weights = weigh_borders(row.view(1, 1, -1))[0, 0].tolist()
    border = 162  # the last pixel of class 1; an ignored region forms no border
    assert weights[border : border + 2] == [8, 8]
    assert weights[border - 16 : border + 18] == [8] * 34
    assert (weights[border - 17], weights[border + 18]) == (4, 4)
    assert (weights[border - 64], weights[border - 65]) == (4, 2)
    assert (weights[border - 128], weights[border - 129]) == (2, 1)


def test_a_border_is_near_along_columns_too() -> None:
    column = torch.tensor([0] * 40 + [1]).view(1, -1, 1).expand(1, 41, 3)
    assert weigh_borders(column)[0, :, 1].tolist() == [4] * 23 + [8] * 18


def test_the_focal_loss_by_hand() -> None:
    loss, target = SegLoss(main="boundary"), ids_of([0, 0, IGNORED])
    found = loss(SegOutput(logits_of([0.5, 0.75, 0.9])), target, loss.weigh(target))
    by_hand = (0.5**0.5 * math.log(2) + 0.25**0.5 * math.log(4 / 3)) / 2
    assert float(found) == pytest.approx(by_hand, rel=1e-5)
    certain = torch.tensor([[[[50.0]], [[-50.0]]]], requires_grad=True)
    only = ids_of([0])
    loss(SegOutput(certain), only, loss.weigh(only)).backward()
    assert certain.grad is not None and not certain.grad.isnan().any()


def test_auxiliary_outputs_learn_near_borders_alone_where_told() -> None:
    loss = SegLoss(aux_weight=1.0, aux_border=1)
    target = ids_of([0, 0, 0, 1, 1, 1])  # pixels 2 and 3 are the border, 1 and 4 near it
    aux = [0.1, 0.5, 0.5, 0.5, 0.5, 0.1]
    output = SegOutput(logits_of([0.5] * 6), (logits_of(aux),))
    found = loss(output, target, loss.weigh(target))
    assert float(found) == pytest.approx(2 * math.log(2), rel=1e-6)


@pytest.mark.parametrize("kind", get_args(LossName))
@pytest.mark.parametrize("weights", [None, (1.0, 2, 3, 4, 0)], ids=["equal", "weighted"])
@pytest.mark.parametrize("mean_over", get_args(MeanOver))
def test_an_image_s_loss_from_bands_is_that_of_its_logits(
    kind: LossName, weights: tuple[float, ...] | None, mean_over: MeanOver
) -> None:
    torch.manual_seed(0)
    logits, target = 3 * torch.randn(5, 90, 70), torch.randint(0, 5, (90, 70)).byte()
    target[:7] = IGNORED
    table = None if weights is None else torch.tensor(weights)
    strict = mean_over == "pixels"  # as in the recipes that have either
    loss = SegLoss(
        class_weights=table, main=kind, threshold=0.5, keep=0.1, mean_over=mean_over, strict=strict
    )
    image = ImageLoss(loss, target)
    for top in (0, 40, 80):
        image.add(top, logits[:, top : top + 40])
    value, weight = image.total().tolist()
    whole = loss(SegOutput(logits[None]), target[None], loss.weigh(target[None]))
    assert value / weight == pytest.approx(float(whole), rel=1e-5)
    assert weight == float(loss.weigh(target[None]))
    probable = ImageLoss(loss, target, probabilities=True)
    probable.add(0, logits.softmax(0))
    assert probable.total()[0].item() == pytest.approx(value, rel=1e-4)


def test_an_image_s_loss_is_nan_if_rows_are_missing_or_scores_have_another_size() -> None:
    target = torch.zeros(4, 6, dtype=torch.uint8)
    image = ImageLoss(SegLoss(), target)
    image.add(0, torch.zeros(2, 3, 6))
    image.add(0, torch.zeros(2, 4, 5))
    assert math.isnan(image.total()[0])
    image.add(3, torch.zeros(2, 1, 6))
    assert image.total().tolist() == pytest.approx([24 * math.log(2), 24])
