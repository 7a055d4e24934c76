"""Weights that a network cannot compute with are refused, by their key."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from checkpoint_files import refused
from torch import Tensor

from dseg.checkpoints.tensor_checks import check_tensors

FILE = Path("m.pth")
NAN, INF = float("nan"), float("inf")
KEY = "layer.weight"


def check(value: Tensor, wanted: Tensor | None = None, key: str = KEY) -> None:
    wanted = torch.zeros(value.shape) if wanted is None else wanted
    check_tensors(FILE, {"first": torch.ones(1), key: value}, {"first": torch.ones(1), key: wanted})


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str
)
def test_floats_of_16_to_64_bits_are_accepted(dtype: torch.dtype) -> None:
    check(torch.tensor([-1.5, 0, 3], dtype=dtype))
    check(torch.zeros(0, 3, dtype=dtype))
    check(torch.tensor(2.0, dtype=dtype))


def test_counters_can_be_of_any_kind() -> None:
    check(torch.tensor(3), torch.tensor(0), "norm.num_batches_tracked")
    check(torch.tensor(3.0), torch.tensor(0), "norm.num_batches_tracked")
    check(torch.tensor(3, dtype=torch.int32), torch.tensor(0), "norm.num_batches_tracked")


def test_what_is_not_loaded_is_not_checked() -> None:
    check_tensors(FILE, {"a": torch.ones(1), "b": torch.tensor([NAN])}, {"a": torch.ones(1)})
    check_tensors(FILE, {"a": torch.ones(1)}, {"a": torch.ones(1), "b": torch.ones(1)})


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([1, NAN, 3, NAN], "has 2 NaN and 0 infinite values of 4"),
        ([INF, 1, -INF, -INF], "has 0 NaN and 3 infinite values of 4"),
        ([1, 2, NAN, INF], "has 1 NaN and 1 infinite values of 4"),
        ([-INF, -INF, -INF, -INF], "has 0 NaN and 4 infinite values of 4"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_nan_and_infinity_are_counted(values: list[float], found: str, dtype: torch.dtype) -> None:
    fault = refused(lambda: check(torch.tensor(values, dtype=dtype)))
    assert fault.problem == f"m.pth cannot be used: layer.weight {found}."
    assert fault.hint == (
        "the training diverged or the file is damaged: use an earlier checkpoint, "
        "or download it again."
    )


def test_a_counter_that_is_not_finite_is_refused() -> None:
    fault = refused(lambda: check(torch.tensor(NAN), torch.tensor(0), "n.num_batches_tracked"))
    assert "n.num_batches_tracked has 1 NaN" in fault.problem


def test_a_negative_variance_is_refused() -> None:
    check(torch.tensor([0.0, 1.0]), key="norm.running_var")
    check(torch.tensor([-0.5]), key="norm.running_mean")
    fault = refused(lambda: check(torch.tensor([1, -0.25, -0.5]), key="norm.running_var"))
    assert fault.problem == (
        "m.pth cannot be used: norm.running_var is a variance but has a value of -0.5."
    )


@pytest.mark.parametrize("value", [1e39, -1e39])
def test_values_that_float32_cannot_hold_are_refused(value: float) -> None:
    wide = torch.tensor([0.0, value], dtype=torch.float64)
    fault = refused(lambda: check(wide))
    assert fault.problem == (
        "m.pth cannot be used: layer.weight has values up to 1e+39, too large for float32."
    )
    check(wide, torch.zeros(2, dtype=torch.float64))
    check(torch.tensor([3e38], dtype=torch.float64))


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (
            torch.ones(2, dtype=torch.int8),
            "holds int8 where the network has float32: perhaps quantised",
        ),
        (
            torch.ones(2, dtype=torch.int64),
            "holds int64 where the network has float32: perhaps quantised",
        ),
        (torch.tensor([True]), "holds bool where the network has float32: perhaps quantised"),
        (torch.ones(2, dtype=torch.complex64), "is complex (complex64)"),
        (
            torch.ones(2).to(torch.float8_e4m3fn),
            "has floats of 8 bits or fewer (float8_e4m3fn)",
        ),
        (torch.ones(2).to(torch.float8_e5m2), "has floats of 8 bits or fewer (float8_e5m2)"),
        (torch.ones(2, 2).to_sparse(), "is not a dense tensor (sparse_coo)"),
        (torch.ones(2, device="meta"), "has a shape but no values"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_than_plain_float_tensors_is_refused(value: Tensor, problem: str) -> None:
    fault = refused(lambda: check(value))
    assert fault.problem == f"m.pth cannot be used: layer.weight {problem}."
    assert fault.hint == (
        "ask its author for the weights as float32, saved before any quantisation or pruning."
    )


def test_other_layouts_of_sparse_and_quantised_tensors_are_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compressed = torch.ones(2, 2).to_sparse_csr()
        quantised = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
    assert "not a dense tensor (sparse_csr)" in refused(lambda: check(compressed)).problem
    assert "is quantised (qint8)" in refused(lambda: check(quantised)).problem


def test_a_complex_counter_is_refused() -> None:
    value = torch.ones((), dtype=torch.complex64)
    assert "is complex" in refused(lambda: check(value, torch.tensor(0))).problem


def test_parameters_that_need_gradients_are_checked_too() -> None:
    check(torch.ones(2, requires_grad=True))
    assert "1 NaN" in refused(lambda: check(torch.tensor([NAN], requires_grad=True))).problem
