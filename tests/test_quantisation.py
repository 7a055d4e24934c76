"""Post-training quantisation: histograms, ranges, QDQ graphs, sensitive layers."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from dseg.errors import DsegError
from dseg.quantisation import calibrate, find_sensitive, quantise
from dseg.quantisation.histogram import BINS, COUNTED, Histogram
from dseg.quantisation.insert import find_step, quantise_weight
from dseg.quantisation.observe import Runner, count_passes, find_sizes
from dseg.quantisation.ranges import (
    METHODS,
    Range,
    find_entropy,
    find_minmax,
    find_mse,
    find_percentile,
    kl_divergences,
)
from dseg.quantisation.sensitivity import find_fewest, split_by_loss

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
RNG = np.random.default_rng(0)


def histogram_of(*arrays: Any) -> Histogram:
    histogram = Histogram()
    for array in arrays:
        histogram.add(np.asarray(array, np.float32))
    return histogram


def test_a_histogram_counts_values_in_bins_whose_width_is_a_power_of_two() -> None:
    histogram = histogram_of([-1.0, 0.0, 0.0, 0.5, 1022.0])
    assert (histogram.width, histogram.start) == (0.5, -2)
    assert (histogram.lowest, histogram.highest) == (-1, 1022)
    assert (histogram.zeros, histogram.total) == (2, 5)
    assert (np.flatnonzero(histogram.counts) - 2).tolist() == [-2, 1, 2044]
    assert np.flatnonzero(histogram.magnitudes()).tolist() == [1, 2044]  # -1.0 is in (0.5, 1]


def test_a_histogram_grows_by_merging_bins_and_does_not_depend_on_the_order() -> None:
    arrays = [RNG.normal(size=500) * scale for scale in (1, 0.01, 300, 5)]
    first, second = histogram_of(*arrays), histogram_of(*arrays[::-1])
    whole = histogram_of(np.concatenate(arrays))
    for other in (second, whole):
        assert (first.width, first.start) == (other.width, other.start)
        assert first.counts.tolist() == other.counts.tolist()
    assert first.counts.sum() == 2000
    edges = first.edges()
    expected, _ = np.histogram(np.concatenate(arrays).astype(np.float32), edges)
    assert first.counts.tolist() == expected.tolist()
    assert BINS // 2 <= np.ptp(np.flatnonzero(first.counts)) < BINS


def test_a_large_array_is_sampled_but_its_extremes_are_exact() -> None:
    values = np.ones((1, 4, 512, 512), np.float32)
    values[0, 3, 7, 9] = 50
    values[..., ::2] = 2  # columns differ: every column has to be visited
    histogram = histogram_of(values)
    assert 0.7 * COUNTED < histogram.total <= COUNTED
    assert histogram.highest == 50
    assert 0.499 < histogram.counts.max() / histogram.total < 0.501


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_histogram_refuses_nan_and_infinity(value: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        histogram_of([1.0, value])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_special_tensors_have_a_range(method: str, symmetric: bool) -> None:
    find = METHODS[method]
    assert find(histogram_of(np.zeros(9)), symmetric) == Range(0, 0)
    assert find(histogram_of([]), symmetric) == Range(0, 0)
    for value in (3.0, -3.0, 1e-30, 1e30, 1e-44):
        lowest, highest = find(histogram_of(np.full(99, value)), symmetric)
        assert (lowest, highest) == pytest.approx((min(value, 0), max(value, 0)), rel=0.01)


@pytest.mark.parametrize("method", METHODS)
def test_a_range_scales_with_the_values_and_flips_with_them(method: str) -> None:
    values = np.abs(RNG.normal(size=20_000)) ** 3
    lowest, highest = METHODS[method](histogram_of(values), False)
    assert lowest == 0
    assert METHODS[method](histogram_of(values * 4), False) == (0, highest * 4)
    assert METHODS[method](histogram_of(-values), False) == (-highest, 0)


def test_methods_other_than_minmax_clip_an_outlier() -> None:
    histogram = histogram_of(RNG.uniform(0, 1, 100_000), [20.0])
    assert find_minmax(histogram) == (0, 20)
    assert find_percentile(histogram).highest == pytest.approx(1, abs=0.02)
    assert find_entropy(histogram).highest == 4  # the fewest bins, 256 of 1/64
    # (3 - limit)^2 + 1e6 (limit / 255)^2 / 12 has its minimum at 1.32
    histogram = histogram_of(*[RNG.uniform(0, 1, 100_000)] * 10, [3.0])
    assert find_mse(histogram).highest == pytest.approx(1.32, abs=0.03)


def test_the_percentile_leaves_one_value_in_10000_outside() -> None:
    histogram = histogram_of(np.arange(1, 20_001) / 20_000)  # 2 values may be outside
    assert find_percentile(histogram).highest == pytest.approx(19_998 / 20_000, abs=0.001)
    both = histogram_of(
        np.concatenate([np.full(50_000, -1.0), np.full(50_000, 2.0)]), [-90.0, 80.0]
    )
    assert find_percentile(both) == pytest.approx((-1, 2), abs=0.2)


def test_the_mean_squared_error_is_the_smallest_of_all_ranges() -> None:
    values = RNG.laplace(size=50_000).astype(np.float32)

    def error(limit: float) -> float:
        step = 2 * limit / 254
        quantised = np.clip(np.round(values / step), -127, 127) * step
        return float(np.mean((quantised - values) ** 2))

    _, limit = find_mse(histogram_of(values), symmetric=True)
    best = min(error(limit) for limit in np.linspace(0.5, 12, 200))
    assert error(limit) < 1.05 * best


def divergence(counts: list[float], size: int, levels: int) -> float:
    """The published definition for one candidate, with half a value for an empty level."""
    reference = np.array(counts[:size])
    kept = reference.copy()
    reference[-1] += sum(counts[size:])
    candidate = np.zeros(size)
    for level in range(levels):
        first, last = size * level // levels, size * (level + 1) // levels
        filled = reference[first:last] > 0
        if filled.any():
            candidate[first:last][filled] = (kept[first:last].sum() or 0.5) / filled.sum()
    p, q = reference / reference.sum(), candidate / kept.sum()
    return float(sum(a * np.log(a / b) for a, b in zip(p, q, strict=True) if a > 0))


def test_the_kl_divergence_is_that_of_the_definition() -> None:
    counts = [4.0, 0, 2, 2, 6, 0, 0, 1]
    # two levels of two bins: P = (4,0,2,9)/15, Q = (4,0,2,2)/8 with the mean of the second level
    by_hand = 4 / 15 * np.log(8 / 15) + 2 / 15 * np.log(8 / 15) + 9 / 15 * np.log(9 / 15 * 4)
    found = kl_divergences(np.array(counts), np.arange(2, 9), 2)
    assert found[2] == pytest.approx(by_hand)
    for size in (2, 3, 4, 5, 8):
        assert found[size - 2] == pytest.approx(divergence(counts, size, 2), abs=1e-12)
    assert np.isinf(kl_divergences(np.array([0.0, 0, 1]), np.array([2]), 2))  # all are clipped
    assert kl_divergences(np.array([5.0, 1, 2]), np.array([3]), 3) == pytest.approx(0)


def test_the_worst_group_is_split_until_the_budget_is_used() -> None:
    costs = dict.fromkeys(range(32), 0.001) | {5: 1.0, 20: 0.5}
    measured: list[int] = []

    def loss(items: Any) -> float:
        measured.append(len(items))
        return float(sum(costs[item] for item in items))

    found = split_by_loss(range(32), loss, most=16, least=0.01)
    assert {group: value for group, value in found if value > 0.4} == {(5,): 1.0, (20,): 0.5}
    assert len(measured) == 16
    assert sorted(item for group, _ in found for item in group) == list(range(32))
    assert [len(group) for group, _ in split_by_loss(range(32), loss, most=99, least=2)] == [4] * 8


@pytest.mark.parametrize("needed", [1, 2, 3, 7, 30, 31])
def test_the_fewest_that_reach_the_target_are_found(needed: int) -> None:
    asked: list[int] = []

    def agreement(count: int) -> float:
        asked.append(count)
        return 0.9 + 0.1 * (count >= needed)

    assert find_fewest(agreement, 31, 0.99) == (needed, 1.0)
    assert len(asked) <= 10


def convolution(name: str, source: str, result: str, weight: np.ndarray, **options: Any) -> Any:
    """Return a node and its constant."""
    node = onnx.helper.make_node("Conv", [source, f"{name}.weight"], [result], name, **options)
    return node, onnx.numpy_helper.from_array(weight.astype(np.float32), f"{name}.weight")


def graph_of(parts: list[Any], others: list[Any] = [], opset: int = 20) -> Any:  # noqa: B006
    helper = onnx.helper
    tensor = helper.make_tensor_value_info
    nodes = [node for node, _ in parts] + others
    graph = helper.make_graph(
        nodes,
        "graph",
        [tensor("image", onnx.TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [tensor(nodes[-1].output[0], onnx.TensorProto.FLOAT, [None] * 4)],
        [constant for _, constant in parts],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def example() -> Any:
    """Return convolution, ReLU, a depthwise and a 1x1 convolution, and their sum with the ReLU."""
    helper = onnx.helper
    first = convolution("first", "image", "a", RNG.normal(size=(8, 3, 3, 3)), pads=[1] * 4)
    relu = helper.make_node("Relu", ["a"], ["b"], "relu"), first[1]
    depth = convolution(
        "depth", "b", "c", RNG.normal(size=(8, 1, 3, 3)), group=8, dilations=[2, 2], pads=[2] * 4
    )
    last = convolution("last", "c", "d", RNG.normal(size=(8, 8, 1, 1)))
    add = helper.make_node("Add", ["b", "d"], ["logits"], "add")
    model = graph_of([first, relu, depth, last], [add])
    del model.graph.initializer[1]  # the ReLU's
    return model


IMAGES = [RNG.normal(size=(1, 3, 24, 32)).astype(np.float32) for _ in range(3)]


def run(model: Any, image: np.ndarray = IMAGES[0]) -> np.ndarray:
    return Runner(model).run(image)[0]


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_quantised_graph_is_valid_and_close_to_the_float32_one(symmetric: bool) -> None:
    model = example()
    before = model.SerializeToString()
    quantised = quantise(model, lambda: IMAGES, symmetric=symmetric)
    assert model.SerializeToString() == before
    onnx.checker.check_model(quantised, full_check=True)
    kinds = [node.op_type for node in quantised.graph.node]
    assert (kinds.count("QuantizeLinear"), kinds.count("DequantizeLinear")) == (2, 4)
    assert "first.weight" in {item.name for item in quantised.graph.initializer}
    constants = {
        item.name: onnx.numpy_helper.to_array(item) for item in quantised.graph.initializer
    }
    assert constants["depth.weight_scale"].shape == (8,)
    assert constants["depth.weight_quantized"].dtype == np.int8
    assert constants["b_zero_point"].dtype == (np.int8 if symmetric else np.uint8)
    assert constants["b_zero_point"] == 0  # behind the ReLU
    assert "depth.weight" not in constants
    expected = run(model)
    error = np.abs(run(quantised) - expected).max() / np.abs(expected).max()
    assert 1e-4 < error < 0.1


def test_openvino_computes_the_same_as_onnxruntime() -> None:
    openvino = pytest.importorskip("openvino")
    names = ["one", "two", "four"]
    parts = [
        convolution(
            name, "image", name, RNG.normal(size=(4, 3, 3, 3)), dilations=[d, d], pads=[d] * 4
        )
        for name, d in zip(names, (1, 2, 4), strict=True)
    ]
    others = [
        onnx.helper.make_node("Add", ["two", "four"], ["sum"], "add"),
        onnx.helper.make_node("Concat", ["one", "two", "sum"], ["cat"], "cat", axis=1),
        onnx.helper.make_node("Relu", ["cat"], ["logits"], "relu"),
    ]
    quantised = quantise(graph_of(parts, others), lambda: IMAGES)  # no biases: see NO_BIAS
    assert len([node for node in quantised.graph.node if node.op_type == "QuantizeLinear"]) == 1
    core = openvino.Core()
    read = core.read_model(quantised.SerializeToString())
    found = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([IMAGES[0]])[0]
    expected = run(quantised)
    assert np.abs(found - expected).max() < 0.01 * np.abs(expected).max()


def test_layers_that_are_kept_are_float32() -> None:
    quantised = quantise(example(), lambda: IMAGES, keep_float=["first", "depth"])
    constants = {item.name for item in quantised.graph.initializer}
    assert {"first.weight", "depth.weight", "last.weight_scale", "c_scale"} <= constants
    assert not {"image_scale", "b_scale", "last.weight"} & constants


def test_groups_of_activations_have_the_same_histograms() -> None:
    model = example()
    whole = calibrate(model, lambda: iter(IMAGES))
    passes: list[int] = []
    single = calibrate(model, lambda: iter(IMAGES), budget=1, advance=lambda: passes.append(1))
    assert len(passes) == 9  # three activations, three images
    assert set(whole.histograms) == {"image", "b", "c"}
    for name, histogram in whole.histograms.items():
        assert histogram.counts.tolist() == single.histograms[name].counts.tolist()
        assert histogram.highest == single.histograms[name].highest
    assert count_passes(whole.model, ["image", "b", "c"], (1, 3, 24, 32), 2**20) == 1
    assert find_sizes(whole.model, (1, 3, 24, 32))["b"] == 4 * 8 * 24 * 32


def test_weights_are_rounded_for_each_output_channel() -> None:
    weight = np.array([[1.27, -0.5], [0, 0], [-254, 1]], np.float32)
    values, scales = quantise_weight(weight, 0)
    assert values.tolist() == [[127, -50], [0, 0], [-127, 0]]
    assert scales.tolist() == pytest.approx([0.01, 1, 2])
    values, scales = quantise_weight(weight, 1)
    assert values.tolist() == [[1, -64], [0, 0], [-127, 127]]


def test_steps_represent_zero_exactly() -> None:
    assert find_step(Range(0, 255), symmetric=False) == (1, 0)
    assert find_step(Range(-51, 204), symmetric=False) == (1, 51)
    assert find_step(Range(-255, 0), symmetric=False) == (1, 255)
    assert find_step(Range(-51, 254), symmetric=True) == (2, 0)
    assert find_step(Range(0, 0), symmetric=False) == (1, 0)


def test_the_sensitive_layer_is_found() -> None:
    model = example()
    calibration = calibrate(model, lambda: iter(IMAGES))
    calibration.histograms["c"].add(np.full(1, 4e4, np.float32))  # the last layer gets coarse
    found = find_sensitive(calibration, lambda: iter(IMAGES), target=0.95, method="minmax")
    assert found.keep_float == ("first", "last")
    assert found.before < 0.8 < 0.95 <= found.after
    assert found.losses[0][0] == ("last",)
    none = find_sensitive(calibration, lambda: iter(IMAGES), target=0.0)
    assert (none.keep_float, none.measurements) == (("first",), 1)
    every = find_sensitive(calibration, lambda: iter(IMAGES), target=1.0, method="minmax")
    assert (len(every.keep_float), every.after) == (3, 1.0)


def other_opset() -> Any:
    return graph_of([convolution("first", "image", "a", np.ones((2, 3, 1, 1)))], opset=12)


def already_quantised() -> Any:
    return quantise(example(), lambda: IMAGES)


def without_layers() -> Any:
    model = other_opset()
    model.opset_import[0].version = 13
    model.graph.node[0].op_type = "Relu"
    return model


@pytest.mark.parametrize(
    ("make", "problem"),
    [(other_opset, "opset 12"), (already_quantised, "already"), (without_layers, "no layer")],
)
def test_graphs_that_cannot_be_quantised_are_refused(make: Any, problem: str) -> None:
    with pytest.raises(DsegError, match=problem):
        quantise(make(), lambda: IMAGES)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"method": "median"}, "Unknown method 'median'"),
        ({"keep_float": ["lsat"]}, "no layer 'lsat'.*\n.*did you mean last"),
        ({"batches": lambda: []}, "no image"),
        ({"batches": lambda: [IMAGES[0] * np.nan]}, "tensor image is NaN"),
        ({"batches": lambda: [np.ones((1, 4, 8, 8), np.float32)]}, "cannot be run"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(DsegError, match=problem):
        quantise(example(), **({"batches": lambda: IMAGES} | options))


def test_a_dense_block_is_concatenated_in_8_bits_with_one_scale() -> None:
    parts = [convolution("layer0", "image", "x0", RNG.normal(size=(4, 3, 1, 1)))]
    others, whole = [], "x0"
    for index in range(1, 6):
        parts.append(
            convolution(f"layer{index}", whole, f"x{index}", RNG.normal(size=(4, 4 * index, 1, 1)))
        )
        name = f"all{index}"
        others.append(onnx.helper.make_node("Concat", [whole, f"x{index}"], [name], name, axis=1))
        whole = name
    nodes = [parts[0][0]]
    for part, other in zip(parts[1:], others, strict=True):
        nodes += [part[0], other]
    model = graph_of(parts, others)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    calibration = calibrate(model, lambda: IMAGES)
    assert [sorted(names) for names in calibration.concatenations] == [[f"x{i}" for i in range(6)]]
    plain = calibration.quantise(keep_float=())
    dense = calibration.quantise(keep_float=(), concatenate=True)
    scales = [
        {item.name: onnx.numpy_helper.to_array(item) for item in made.graph.initializer}
        for made in (plain, dense)
    ]
    assert "x5_scale" not in scales[0]
    assert len({float(scales[1][f"x{index}_scale"]) for index in range(6)}) == 1
    assert {scales[1][f"x{index}_zero_point"].dtype.name for index in range(6)} == {"int8"}
    assert scales[1]["all4_zero_point"].dtype == np.uint8
    partly = calibration.quantise(keep_float=["layer3"], concatenate=True)
    assert "x5_scale" not in {item.name for item in partly.graph.initializer}


def test_a_missing_onnxruntime_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DsegError, match="onnxruntime is not installed"):
        quantise(example(), lambda: IMAGES)
