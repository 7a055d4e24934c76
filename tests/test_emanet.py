"""EMANet's unit, compared with a recording and with the paper's steps in loops; its bases."""

from __future__ import annotations

import math

import pytest
import torch
import torch.distributed as dist
from blocks import find_block_difference
from torch import Tensor, nn

from dseg.models.emanet import EMANet
from dseg.nn.emau import EPS, ExpectationMaximisation

RECORDED = (
    (r"^conv1\.", "project."),
    (r"^conv2\.0\.", "restore.conv."),
    (r"^conv2\.1\.", "restore.norm."),
)


@pytest.fixture(autouse=True)
def fixed_numbers() -> None:
    torch.manual_seed(0)


def fit_in_loops(features: Tensor, bases: Tensor) -> tuple[list[list[float]], list[list[float]]]:
    """Compute one step of expectation and maximisation on (C, P) features from (C, K) bases."""
    channels, positions = features.shape
    count = bases.shape[1]
    shares = []
    for p in range(positions):
        scores = [
            math.exp(sum(float(features[c, p] * bases[c, k]) for c in range(channels)))
            for k in range(count)
        ]
        shares.append([score / sum(scores) for score in scores])
    fitted = []
    for k in range(count):
        total = EPS + sum(row[k] for row in shares)
        base = [
            sum(float(features[c, p]) * shares[p][k] / total for p in range(positions))
            for c in range(channels)
        ]
        length = EPS + math.sqrt(sum(value**2 for value in base))
        fitted.append([value / length for value in base])
    return fitted, shares


def test_the_unit_is_the_recorded_one() -> None:
    unit = ExpectationMaximisation(64, 16)
    assert find_block_difference("block_emau_emanet", unit, RECORDED) < 1e-5


def test_a_step_is_the_paper_s_in_loops() -> None:
    unit, features = ExpectationMaximisation(3, 4, steps=1), torch.randn(2, 3, 5)
    bases, shares = unit.fit(features)
    for image in range(2):
        fitted, wanted = fit_in_loops(features[image], unit.mu[0])
        torch.testing.assert_close(bases[image].T, torch.tensor(fitted))
        torch.testing.assert_close(shares[image], torch.tensor(wanted))


def test_each_step_starts_from_the_bases_of_the_one_before() -> None:
    unit, features = ExpectationMaximisation(3, 4, steps=2), torch.randn(1, 3, 5)
    once, _ = fit_in_loops(features[0], unit.mu[0])
    twice, shares = fit_in_loops(features[0], torch.tensor(once).T)
    found = unit.fit(features)
    torch.testing.assert_close(found[0][0].T, torch.tensor(twice))
    torch.testing.assert_close(found[1][0], torch.tensor(shares))


def test_the_first_bases_have_length_1_when_new_but_are_taken_as_they_are() -> None:
    unit, features = ExpectationMaximisation(3, 4, steps=1), torch.randn(1, 3, 5)
    torch.testing.assert_close(unit.mu.norm(dim=1), torch.ones(1, 4))
    unit.mu *= 3
    _, wanted = fit_in_loops(features[0], unit.mu[0])
    torch.testing.assert_close(unit.fit(features)[1][0], torch.tensor(wanted))


def test_the_map_is_rebuilt_restored_and_added() -> None:
    unit, x = ExpectationMaximisation(4, 2).eval(), torch.randn(2, 4, 3, 5)
    bases, shares = unit.fit(unit.project(x).flatten(2))
    rebuilt = torch.einsum("nck,npk->ncp", bases, shares).relu().view_as(x)
    torch.testing.assert_close(unit(x), (unit.restore(rebuilt) + x).relu())


def test_bases_move_a_tenth_towards_the_batch_s_mean_in_training_only() -> None:
    unit, x = ExpectationMaximisation(4, 2), torch.randn(3, 4, 3, 5)
    before = unit.mu.clone()
    bases, _ = unit.fit(unit.project(x).flatten(2))
    unit.eval()(x)
    assert torch.equal(unit.mu, before)
    unit.train()(x)
    torch.testing.assert_close(unit.mu, 0.9 * before + 0.1 * bases.mean(0, keepdim=True))
    assert not unit.mu.requires_grad


def test_bases_move_towards_the_mean_over_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(3, 4, 3, 5)
    whole, first, second = (ExpectationMaximisation(4, 2) for _ in range(3))
    for unit in (first, second):
        unit.load_state_dict(whole.state_dict())
    whole(x)
    totals: list[Tensor] = []
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "all_reduce", lambda total: totals.append(total.clone()))
    first(x[:2])  # this process alone
    monkeypatch.setattr(dist, "all_reduce", lambda total: total.add_(totals[0]))
    second(x[2:])
    torch.testing.assert_close(second.mu, whole.mu)


def test_no_gradient_passes_the_fitting() -> None:
    unit = ExpectationMaximisation(4, 2)
    x = torch.randn(2, 4, 3, 5, requires_grad=True)
    out = unit(x)
    out.sum().backward()
    frozen = [name for name, parameter in unit.named_parameters() if parameter.grad is None]
    assert frozen == ["project.weight", "project.bias"]
    assert not any(p.requires_grad for p in unit.project.parameters())
    assert x.grad is not None
    assert torch.equal(x.grad, (out > 0).float())  # of the sum alone


def test_the_fitting_keeps_float32_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    unit, x = ExpectationMaximisation(4, 2), torch.randn(2, 4, 3, 5)
    types = []
    fit = unit.fit

    def watched(features: Tensor) -> tuple[Tensor, Tensor]:
        found = fit(features)
        types.extend([features.dtype, *(tensor.dtype for tensor in found)])
        return found

    monkeypatch.setattr(unit, "fit", watched)
    with torch.autocast("cpu", torch.bfloat16):
        unit(x)
    unit.double()(x.double())
    assert types == [torch.float32] * 3 + [torch.float64] * 3
    assert unit.mu.dtype == torch.float64


def test_all_norms_of_the_network_keep_their_statistics_nearly_still() -> None:
    with torch.device("meta"):
        model = EMANet(5)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {3e-4}
    assert len(norms) == 58  # 55 of the backbone


def test_the_rates_of_the_dilated_stages() -> None:
    with torch.device("meta"):
        backbone = EMANet(5).backbone
    convs = {name: part for name, part in backbone.named_modules() if isinstance(part, nn.Conv2d)}
    rates = [
        [convs[f"{stage}.{index}.conv2"].dilation[0] for index in range(count)]
        for stage, count in (("layer3", 6), ("layer4", 3))
    ]
    assert rates == [[1, 2, 2, 2, 2, 2], [2, 8, 16]]
