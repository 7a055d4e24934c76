"""Affinity fields and the border loss, compared with loops over pixels and hand computation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dseg.losses import AffinityFields, SegLoss, edge_loss
from dseg.models import SegOutput

IGNORED = 255


def diverge(p: float, q: float) -> float:
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def expected_fields(p: Tensor, ids: Tensor, reach: int, margin: float) -> tuple[list[float], ...]:
    """Return the mean losses of same pairs and of edge pairs for each class, pair by pair."""
    _, classes, height, width = p.shape
    same: list[list[float]] = [[] for _ in range(classes)]
    edge: list[list[float]] = [[] for _ in range(classes)]
    around = [(a, b) for a in (-reach, 0, reach) for b in (-reach, 0, reach) if (a, b) != (0, 0)]
    for y in range(height):
        for x in range(width):
            for down, right in around:
                v, u = y + down, x + right
                if not (0 <= v < height and 0 <= u < width):
                    continue
                if IGNORED in (int(ids[0, y, x]), int(ids[0, v, u])):
                    continue
                for c in range(classes):
                    found = diverge(float(p[0, c, v, u]), float(p[0, c, y, x]))
                    if (ids[0, y, x] == c) == (ids[0, v, u] == c):
                        same[c].append(found)
                    else:
                        edge[c].append(max(0.0, margin - found))
    mean = [[sum(v) / max(len(v), 1) for v in lists] for lists in (same, edge)]
    return mean[0], mean[1]


@pytest.fixture
def scene() -> tuple[Tensor, Tensor]:
    torch.manual_seed(3)
    ids = torch.randint(0, 3, (1, 5, 6))
    ids[0, 2, 1] = IGNORED
    return 2 * torch.randn(1, 3, 5, 6), ids


def test_the_loss_is_that_of_all_pairs_of_neighbours(scene: tuple[Tensor, Tensor]) -> None:
    logits, ids = scene
    fields = AffinityFields(3, margin=3.0, stride=1)
    with torch.no_grad():
        fields.same.copy_(torch.tensor([[0.0, 1, 2], [0, 0, 0], [3, 0, 0]]))
        fields.edge.copy_(torch.tensor([[1.0, 0, 0], [0, 2, 0], [0, 0, 0]]))
    p = logits.double().softmax(1)
    of_same, of_edge = fields.same.detach().softmax(1), fields.edge.detach().softmax(1)
    wanted = 0.0
    for place, reach in enumerate((1, 2, 3)):
        same, edge = expected_fields(p, ids, reach, 3.0)
        for c in range(3):
            wanted += float(of_same[c, place]) * same[c] / 3
            wanted += float(of_edge[c, place]) * edge[c] / 3
    assert float(fields(logits, ids)) == pytest.approx(wanted, rel=1e-5)


def test_weights_of_sizes_learn_to_make_the_loss_large(scene: tuple[Tensor, Tensor]) -> None:
    logits, ids = scene
    fields = AffinityFields(3, stride=1)
    optimizer = torch.optim.SGD(fields.parameters(), lr=1.0)  # minimises
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = fields(logits, ids)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses == sorted(losses)
    assert losses[-1] > losses[0]


def test_the_network_learns_to_make_it_small(scene: tuple[Tensor, Tensor]) -> None:
    logits, ids = scene
    logits = logits.clone().requires_grad_()
    fields = AffinityFields(3, stride=1)
    before = fields(logits, ids)
    before.backward()
    assert logits.grad is not None
    assert float(fields(logits - 0.1 * logits.grad, ids)) < float(before.detach())


def test_pairs_are_formed_on_every_fourth_pixel() -> None:
    torch.manual_seed(0)
    logits, ids = torch.randn(1, 2, 16, 16), torch.randint(0, 2, (1, 16, 16))
    coarse = AffinityFields(2, stride=4)(logits, ids)
    sparse = AffinityFields(2, stride=1)(logits[..., ::4, ::4], ids[:, ::4, ::4])
    assert torch.equal(coarse, sparse)


def test_a_mask_without_pairs_costs_nothing() -> None:
    ids = torch.full((1, 8, 8), IGNORED)
    logits = torch.randn(1, 2, 8, 8, requires_grad=True)
    loss = AffinityFields(2, stride=1)(logits, ids)
    loss.backward()
    assert float(loss) == 0
    assert logits.grad is not None and not logits.grad.any()


def test_fields_are_added_by_their_weight(scene: tuple[Tensor, Tensor]) -> None:
    logits, ids = scene
    target = ids.byte()
    fields = AffinityFields(3, stride=1)
    alone, both = SegLoss(), SegLoss(affinity=fields, affinity_weight=0.5)
    total = alone.weigh(target)
    more = both(SegOutput(logits), target, total) - alone(SegOutput(logits), target, total)
    assert float(more) == pytest.approx(0.5 * float(fields(logits, ids)), rel=1e-5)


def test_the_loss_of_borders_is_the_focal_loss_by_hand() -> None:
    ids = torch.tensor([[[0, 0, 0, 0, 1, IGNORED]]])  # a border between the fourth and the fifth
    p = torch.tensor([0.1, 0.2, 0.3, 0.6, 0.9, 0.5])
    logits = (p / (1 - p)).log().view(1, 1, 1, 6)
    # within two pixels of the border: positions 1 to 4; position 5 is ignored
    wanted = 0.75 * 0.1**2 * -math.log(0.9)
    wanted += sum(0.25 * (1 - q) ** 2 * -math.log(q) for q in (0.2, 0.3, 0.6, 0.9))
    assert float(edge_loss(logits, ids)) == pytest.approx(wanted / 5, rel=1e-5)


def test_outputs_of_borders_count_by_their_weight() -> None:
    torch.manual_seed(0)
    logits, edges = torch.randn(1, 3, 4, 5), torch.randn(1, 1, 4, 5)
    target = torch.randint(0, 3, (1, 4, 5)).byte()
    loss = SegLoss(edge_weight=0.1)
    total = loss.weigh(target)
    alone = loss(SegOutput(logits), target, total)
    both = loss(SegOutput(logits, (), (edges, edges)), target, total)
    wanted = 0.2 * float(edge_loss(edges, target.long()))
    assert float(both - alone) == pytest.approx(wanted, rel=1e-4)
