"""PIDNet's training loss: every value that was recorded of its authors' code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dseg.losses import SegLoss, balanced_edge_loss, find_hard, mark_edges
from dseg.models import SegOutput
from dseg.recipes import find_recipe
from dseg.training.run import make_loss

FOLDER = Path(__file__).parent / "golden" / "losses"
CONTRACT: dict[str, Any] = json.loads((FOLDER / "loss_pidnet_xujiacong.json").read_text())
CASES: dict[str, dict[str, Any]] = CONTRACT["cases"]
CPU = torch.device("cpu")
IGNORED = 255


@pytest.fixture(scope="module")
def recorded() -> dict[str, Tensor]:
    """Return the recorded inputs: logits P, main and D at 12x20, label and edge at 96x160."""
    arrays = np.load(FOLDER / "loss_pidnet_xujiacong.npz")
    return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture
def logits(recorded: dict[str, Tensor]) -> list[Tensor]:
    return [recorded[name].clone().requires_grad_() for name in ("P", "main", "D")]


def make(case: dict[str, Any], **changes: Any) -> SegLoss:
    """Make the loss of the recipe with the arguments of a case."""
    recipe = find_recipe("pidnet")
    weights = recipe.published_weights if case["class_weights"] else ()
    loss = make_loss(recipe, weights, 19, CPU)
    return replace(loss, threshold=case["thres"], keep=case["min_kept"], **changes)


def enlarge(logits: list[Tensor], label: Tensor) -> SegOutput:
    size = label.shape[-2:]
    resized = [F.interpolate(x, size, mode="bilinear", align_corners=True) for x in logits]
    return SegOutput(resized[1], (resized[0],), (resized[2],))


@pytest.fixture
def published_edges(recorded: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    edges = recorded["edge"].bool()
    monkeypatch.setattr("dseg.losses.loss.mark_edges", lambda ids, reach: edges)


@pytest.mark.usefixtures("published_edges")
@pytest.mark.parametrize("case", CASES)
def test_the_loss_and_its_gradients_are_the_recorded_ones(
    case: str, recorded: dict[str, Tensor], logits: list[Tensor]
) -> None:
    wanted, label = CASES[case], recorded["label"]
    loss = make(wanted)
    total = loss(enlarge(logits, label), label, loss.weigh(label))
    total.backward()
    assert total.item() == pytest.approx(wanted["total_mean"], rel=1e-6)
    found = [x.grad.abs().sum().item() for x in logits if x.grad is not None]
    assert found == pytest.approx(wanted["grad_abs_sum_of_mean_loss"], rel=1e-5)


@pytest.mark.usefixtures("published_edges")
@pytest.mark.parametrize("case", CASES)
def test_its_parts_are_the_recorded_ones(
    case: str, recorded: dict[str, Tensor], logits: list[Tensor]
) -> None:
    wanted, label = CASES[case], recorded["label"]
    output = enlarge([x.detach() for x in logits], label)
    main = make(wanted, aux_weight=0, edge_weight=0, edge_aware_weight=0)

    def value(loss: SegLoss) -> float:
        return loss(output, label, loss.weigh(label)).item()

    ohem = value(main)
    assert ohem == pytest.approx(wanted["ohem_of_main"], rel=1e-6)
    assert value(replace(main, aux_weight=0.4)) == pytest.approx(wanted["semantic_mean"], rel=1e-6)
    parts = {
        "ce_of_P_mean_over_all_pixels": replace(main, aux_weight=1.0),
        "boundary_times_20": replace(main, edge_weight=20.0),
        "boundary_aware": replace(main, edge_aware_weight=1.0),
    }
    found = {name: value(loss) - ohem for name, loss in parts.items()}
    assert found == pytest.approx({name: wanted[name] for name in parts}, rel=1e-5)
    marked = output.edges[0].sigmoid()[:, 0] > main.edge_aware_threshold
    assert int((marked & (label != IGNORED)).sum()) == wanted["boundary_aware_pixels"]


def test_the_recipe_has_the_recorded_weights() -> None:
    recipe = find_recipe("pidnet")
    assert recipe.published_weights == tuple(CONTRACT["class_weights"])
    assert [recipe.aux_weight, 1.0] == CONTRACT["balance_weights"]
    assert recipe.edge_aware_weight == CONTRACT["sb_weights"]
    assert recipe.edge_weight == CONTRACT["bce_coefficient"]
    assert int(recipe.ohem_keep * 6 * 1024 * 1024) == CASES["cityscapes_recipe"]["min_kept"]
    assert recipe.ohem_threshold == CASES["cityscapes_recipe"]["thres"]


def strictly_hard(probabilities: list[float], threshold: float, keep: float) -> list[int]:
    p = torch.tensor(probabilities).view(1, 1, 1, -1)
    ids = torch.zeros(1, 1, len(probabilities), dtype=torch.int64)
    ids[..., -1] = IGNORED
    found = find_hard(torch.cat([p, 1 - p], 1).log(), ids, threshold, keep, strict=True)
    return [place for place, value in enumerate(found.flatten().tolist()) if value == 0]


def test_strictly_hard_pixels_lie_below_the_probability_that_follows_those_kept() -> None:
    assert strictly_hard([0.9, 0.6, 0.8, 0.2, 0.1], 0.3, 2) == [1, 3]
    assert strictly_hard([0.9, 0.6, 0.8, 0.2, 0.1], 0.7, 1) == [1, 3]
    assert strictly_hard([0.8, 0.6, 0.8, 0.2, 0.1], 0.3, 3) == [1, 3]  # a tie at the limit
    assert strictly_hard([0.9, 0.6, 0.8, 0.2, 0.1], 0.3, 100) == [1, 2, 3]  # all but the last
    assert strictly_hard([0.5, 0.1], 0.5, 0) == []


def test_without_marked_pixels_the_loss_of_these_is_zero() -> None:
    logits = torch.randn(1, 3, 4, 5, requires_grad=True)
    label = torch.zeros(1, 4, 5, dtype=torch.uint8)
    loss = replace(make({"thres": 0.9, "min_kept": 10, "class_weights": False}), edge_weight=0)
    output = SegOutput(logits, (), (torch.full((1, 1, 4, 5), -9.0),))
    both = loss(output, label, loss.weigh(label))
    both.backward()
    alone = loss(SegOutput(logits), label, loss.weigh(label))
    assert both.item() == alone.item() > 0
    assert logits.grad is not None and bool(logits.grad.isfinite().all())


def test_a_mean_over_pixels_adds_up_over_micro_batches() -> None:
    torch.manual_seed(0)
    logits, label = torch.randn(3, 4, 6, 5), torch.randint(0, 4, (3, 6, 5)).byte()
    label[0, :4] = IGNORED  # counts as 0
    loss = SegLoss(class_weights=torch.tensor([1.0, 2, 3, 4]), mean_over="pixels")
    total = loss.weigh(label)
    whole = loss(SegOutput(logits), label, total)
    halves = [loss(SegOutput(logits[part]), label[part], total) for part in ([0], [1, 2])]
    assert float(total) == 90
    assert float(sum(halves)) == pytest.approx(float(whole), rel=1e-6)
    plain = F.cross_entropy(
        logits, label.long(), loss.class_weights, ignore_index=IGNORED, reduction="sum"
    )
    assert float(whole) == pytest.approx(float(plain) / 90, rel=1e-6)


def test_the_balanced_loss_of_borders_by_hand() -> None:
    edges = torch.tensor([[[True, False, False, False]]])
    p = torch.tensor([0.5, 0.25, 0.5, 0.9])
    found = balanced_edge_loss((p / (1 - p)).log().view(1, 1, 1, 4), edges)
    wanted = 0.75 * np.log(2) + 0.25 * (np.log(4 / 3) + np.log(2) + np.log(10))
    assert float(found) == pytest.approx(wanted / 4, rel=1e-5)
    assert float(balanced_edge_loss(torch.zeros(1, 1, 1, 4), torch.zeros_like(edges))) == 0


def test_a_reach_of_1_marks_four_pixels_across_a_border() -> None:
    row = torch.tensor([[[0, 0, 0, 0, 1, 1, 1, IGNORED, 2, 2]]])
    marked = mark_edges(row, reach=1)[0, 0].nonzero().flatten().tolist()
    assert marked == [2, 3, 4, 5]
