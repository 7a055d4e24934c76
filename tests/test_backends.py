"""PyTorch's settings for a run: TF32, deterministic algorithms, compilation, fused optimizers."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from dseg.distributed import Group
from dseg.errors import DsegError
from dseg.models import build_model
from dseg.recipes import Recipe
from dseg.training.backends import compile_model, deterministic_or_refused, set_backends
from dseg.training.optim import make_optimizer
from dseg.training.state import restore_optimizer

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
RECIPE = Recipe(source="", optimizer="adam").override(["batch=2"])


@pytest.fixture
def backends() -> Iterator[None]:
    found = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    benchmark = torch.backends.cudnn.benchmark
    yield
    torch.set_float32_matmul_precision(found[0])
    torch.backends.cudnn.allow_tf32 = found[1]
    torch.backends.cudnn.benchmark = benchmark
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(("tf32", "precision"), [(True, "high"), (False, "highest")])
def test_tf32_applies_to_products_and_convolutions(
    backends: None, tf32: bool, precision: str
) -> None:
    set_backends(CUDA, deterministic=False, tf32=tf32)
    assert torch.get_float32_matmul_precision() == precision
    assert torch.backends.cudnn.allow_tf32 is tf32
    assert torch.backends.cudnn.benchmark
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_cpu_computes_float32_in_any_case(backends: None) -> None:
    torch.set_float32_matmul_precision("highest")
    set_backends(CPU, deterministic=True, tf32=True)
    assert torch.get_float32_matmul_precision() == "highest"
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark


def test_an_operation_without_a_deterministic_algorithm_is_named() -> None:
    message = (
        "adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation, but you "
        "set 'torch.use_deterministic_algorithms(True)'."
    )
    with pytest.raises(DsegError) as fault, deterministic_or_refused("dabnet", CUDA):
        raise RuntimeError(message)
    assert fault.value.problem == (
        "dabnet cannot be trained deterministically on cuda: adaptive_avg_pool2d_backward_cuda has "
        "no deterministic algorithm there."
    )
    assert fault.value.hint == "leave out --deterministic, or use --device cpu."
    message = "CuBLAS is not deterministic: set CUBLAS_WORKSPACE_CONFIG=:4096:8"
    with pytest.raises(DsegError) as fault, deterministic_or_refused("dabnet", CUDA):
        raise RuntimeError(message)
    assert fault.value.hint == "set CUBLAS_WORKSPACE_CONFIG=:4096:8 in the environment."
    with pytest.raises(RuntimeError, match="anything else"), deterministic_or_refused("x", CUDA):
        raise RuntimeError("anything else")


@pytest.mark.parametrize(
    ("device", "overrides", "world_size", "mode"),
    [
        (CUDA, (), 1, "reduce-overhead"),
        (CPU, (), 1, None),
        (
            CUDA,
            ("accumulate=2",),
            1,
            None,
        ),  # a graph would overwrite the gradients of the first micro-batch
        (CUDA, (), 2, None),
    ],
)
def test_graphs_are_captured_without_accumulation_and_in_one_process(
    device: torch.device,
    overrides: tuple[str, ...],
    world_size: int,
    mode: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[dict[str, Any]] = []
    model = build_model("dabnet")
    monkeypatch.setattr(model, "compile", lambda **options: given.append(options))
    compile_model(model, device, RECIPE.override(list(overrides)), Group(0, world_size))
    assert given == [{} if mode is None else {"mode": mode}]


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("fused", [True, False])
def test_a_run_can_be_resumed_with_or_without_a_fused_optimizer(kind: str, fused: bool) -> None:
    recipe = RECIPE.override([f"optimizer={kind}"])

    def step(fused: bool, saved: dict[str, Any] | None) -> tuple[Any, torch.Tensor]:
        torch.manual_seed(0)
        model = build_model("dabnet", 3)
        optimizer = make_optimizer(model, recipe, fused=fused)
        if saved is not None:
            restore_optimizer(optimizer, copy.deepcopy(saved), begun=True)
        assert all(bool(group.get("fused")) == fused for group in optimizer.param_groups)
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 0.5)
        optimizer.step()
        return optimizer.state_dict(), next(model.parameters()).detach().clone()

    saved, _ = step(not fused, None)
    _, resumed = step(fused, saved)
    _, uninterrupted = step(not fused, saved)
    _, restarted = step(fused, None)
    assert torch.allclose(resumed, uninterrupted, rtol=1e-5, atol=1e-7)
    if kind == "sgd":  # Adam's steps by a constant gradient are equal
        assert not torch.allclose(resumed, restarted, rtol=1e-5, atol=1e-7)
