"""Learning rates, the optimizer's groups and the EMA weights."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from dseg.models import SegModel, build_model
from dseg.recipes import Recipe
from dseg.training.optim import EmaWeights, find_lr, make_optimizer, set_lr


def make_recipe(**fields) -> Recipe:
    return Recipe(source="here", **fields)


@pytest.mark.parametrize(
    ("fields", "rates"),
    [
        ({"schedule": "poly", "power": 0.9}, {0: 1.0, 50: 0.5358867, 99: 0.0158489}),
        ({"schedule": "poly", "power": 1.0}, {0: 1.0, 25: 0.75, 99: 0.01}),
        ({"schedule": "cosine"}, {0: 1.0, 25: 0.8535534, 50: 0.5, 99: 0.00024672}),
        ({"schedule": "cosine", "lr_end": 0.5}, {0: 1.0, 50: 0.625, 99: 0.25018505}),
        ({"schedule": "halving"}, {0: 1.0, 33: 1.0, 34: 0.5, 66: 0.5, 67: 0.25, 99: 0.25}),
        ({"schedule": "constant"}, {0: 1.0, 99: 1.0}),
        (
            {"schedule": "constant", "warmup": 10, "warmup_from": 0.1},
            {0: 0.1, 5: 0.55, 9: 0.91, 10: 1.0, 99: 1.0},
        ),
        (
            {
                **{"schedule": "constant", "warmup": 10, "warmup_from": 0.01},
                "warmup_shape": "exponential",
            },
            {0: 0.01, 5: 0.1, 9: 0.6309573, 10: 1.0},
        ),
        (
            {"schedule": "poly", "power": 1.0, "warmup": 10, "warmup_from": 0.5},
            {0: 0.5, 5: 0.95 * 0.75, 10: 0.9},
        ),
    ],
)
def test_the_learning_rate_of_a_step_of_a_hundred(fields: dict, rates: dict[int, float]):
    recipe = make_recipe(lr=2.0, **fields)
    for step, rate in rates.items():
        assert find_lr(recipe, step, 100) == pytest.approx(2 * rate, rel=1e-5)


def test_a_warm_up_longer_than_the_run_never_ends():
    recipe = make_recipe(lr=1.0, schedule="constant", warmup=1000, warmup_from=0.1)
    assert find_lr(recipe, 9, 10) == pytest.approx(0.1 + 0.9 * 0.009)


def test_a_run_of_one_step_has_a_learning_rate():
    assert find_lr(make_recipe(lr=1.0), 0, 1) == 1.0


class Net(SegModel):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
        self.head = nn.Conv2d(2, 4, 1)


def groups(**fields) -> dict[tuple[float, float], list[tuple[int, ...]]]:
    optimizer = make_optimizer(Net(), make_recipe(weight_decay=0.5, **fields))
    return {
        (group["factor"], group["weight_decay"]): [tuple(p.shape) for p in group["params"]]
        for group in optimizer.param_groups
    }


def test_all_parameters_learn_and_decay_alike_by_default():
    weights = [(2, 3, 1, 1), (2,), (2,), (2,), (4, 2, 1, 1), (4,)]
    assert groups() == {(1.0, 0.5): weights}


def test_the_head_learns_faster_than_the_backbone():
    assert groups(head_lr=10) == {
        (1.0, 0.5): [(2, 3, 1, 1), (2,), (2,), (2,)],
        (10, 0.5): [(4, 2, 1, 1), (4,)],
    }


def test_the_backbone_decays_less():
    assert groups(backbone_decay=0.25) == {
        (1.0, 0.125): [(2, 3, 1, 1), (2,), (2,), (2,)],
        (1.0, 0.5): [(4, 2, 1, 1), (4,)],
    }


def test_norms_and_biases_do_not_decay_without_decay_norms():
    assert groups(decay_norms=False) == {
        (1.0, 0.5): [(2, 3, 1, 1), (4, 2, 1, 1)],
        (1.0, 0.0): [(2,), (2,), (2,), (4,)],
    }


def test_a_rate_is_scaled_by_each_groups_factor():
    optimizer = make_optimizer(Net(), make_recipe(head_lr=10))
    set_lr(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 2.5]


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("sgd", "SGD", {"momentum": 0.8, "nesterov": False}),
        ("adam", "Adam", {"betas": (0.8, 0.95), "decoupled_weight_decay": False}),
        ("adamw", "AdamW", {"betas": (0.8, 0.95), "decoupled_weight_decay": True}),
    ],
)
def test_the_optimizer_is_that_of_the_recipe(name: str, kind: str, expected: dict):
    recipe = make_recipe(optimizer=name, momentum=0.8, beta2=0.95, weight_decay=0.25)
    optimizer = make_optimizer(Net(), recipe)
    assert type(optimizer).__name__ == kind
    group = optimizer.param_groups[0]
    assert {key: group[key] for key in expected} == expected
    assert group["weight_decay"] == 0.25


def fill(model: nn.Module, value: float) -> None:
    for tensor in model.state_dict().values():
        tensor.fill_(value)


def values(model: nn.Module) -> tuple[set[float], set[int]]:
    """Return the values in floating-point and in integer tensors."""
    tensors: list[Tensor] = list(model.state_dict().values())
    floats = {round(v, 6) for t in tensors if t.is_floating_point() for v in t.unique().tolist()}
    return floats, {v for t in tensors if not t.is_floating_point() for v in t.unique().tolist()}


def test_the_ema_weights_are_those_computed_by_hand():
    model = build_model("DABNet", 3)
    fill(model, 0)
    ema = EmaWeights(model, 0.15)
    fill(model, 10)
    ema.update(0)  # keeps (1 + 0) / (10 + 0)
    assert values(ema.network) == ({9.0}, {10})
    fill(model, 20)
    ema.update(1)  # keeps 0.15, which is less than (1 + 1) / (10 + 1)
    assert values(ema.network) == ({18.35}, {20})  # 0.15 * 9 + 0.85 * 20
    assert values(model) == ({20.0}, {20})


def test_the_ema_weights_are_not_trained_and_share_no_memory():
    model = build_model("DABNet", 3)
    ema = EmaWeights(model, 0.9)
    before = copy.deepcopy(ema.network.state_dict())
    fill(model, 7)
    assert all(torch.equal(before[key], value) for key, value in ema.network.state_dict().items())
    assert not any(parameter.requires_grad for parameter in ema.network.parameters())
