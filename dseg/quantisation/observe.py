"""Run a graph on calibration images and collect histograms of its activations."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from dseg.errors import DsegError
from dseg.parallel import count_cores
from dseg.quantisation.histogram import Histogram

BUDGET = 512 * 2**20  # bytes of observed activations that are held at once
Batches = Callable[[], Iterable[NDArray[np.float32]]]
Advance = Callable[[], None]


def start_session(model: onnx.ModelProto) -> Any:
    """Return an onnxruntime session of a model on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = count_cores()
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # images can have many sizes
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def observe(
    model: onnx.ModelProto,
    names: Sequence[str],
    batches: Batches,
    *,
    budget: int = BUDGET,
    advance: Advance = lambda: None,
) -> dict[str, Histogram]:
    """Return a histogram of each named float32 tensor over all batches.

    The network runs once for each group of tensors, which together take at most ``budget`` bytes
    for the first batch, and each group is observed over all batches: memory depends neither on
    the number of images nor, beyond what the network itself needs, on that of tensors.

    Args:
        model: one input of shape (N, 3, H, W).
        names: inputs or results of nodes.
        batches: returns a new iterator over inputs, (N, 3, H, W) float32, at each call.
        budget: bytes; a tensor larger than this is a group of its own.
        advance: called after each forward pass.

    Raises:
        DsegError: there is no batch, or an activation is NaN or infinite.
    """
    histograms = {name: Histogram() for name in names}
    first = next(iter(batches()), None)
    if first is None:
        raise DsegError("no image to calibrate with", hint="give at least one image")
    source = model.graph.input[0].name
    for group in _group(names, tensor_bytes(model, first.shape), budget):
        computed = [name for name in group if name != source]
        session = start_session(_with_outputs(model, computed)) if computed else None
        for batch in batches():
            if session is not None:
                for name, values in zip(computed, session.run(computed, {source: batch})):
                    _add(histograms[name], values, name)
            if source in group:
                _add(histograms[source], batch, source)
            advance()
    return histograms


def count_groups(
    model: onnx.ModelProto, names: Sequence[str], shape: Sequence[int], budget: int = BUDGET
) -> int:
    """Return the number of times that ``observe`` reads all batches."""
    return len(list(_group(names, tensor_bytes(model, shape), budget)))


def tensor_bytes(model: onnx.ModelProto, shape: Sequence[int]) -> dict[str, int]:
    """Return the size of each tensor whose shape can be inferred from that of the input."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]  # the exporter's symbolic sizes
    for output in fixed.graph.output:
        output.type.tensor_type.ClearField("shape")
    for dim, size in zip(fixed.graph.input[0].type.tensor_type.shape.dim, shape, strict=True):
        dim.Clear()
        dim.dim_value = size
    inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True).graph
    found: dict[str, int] = {}
    for info in (*inferred.input, *inferred.value_info, *inferred.output):
        dims = info.type.tensor_type.shape.dim
        if all(dim.HasField("dim_value") for dim in dims):
            found[info.name] = 4 * math.prod(dim.dim_value for dim in dims)
    return found


def _group(names: Sequence[str], sizes: dict[str, int], budget: int) -> Iterator[list[str]]:
    """Split names, in their order, into groups of at most ``budget`` bytes."""
    largest = max(sizes.values(), default=budget)
    group: list[str] = []
    held = 0
    for name in names:
        size = sizes.get(name, largest)
        if group and held + size > budget:
            yield group
            group, held = [], 0
        group.append(name)
        held += size
    if group:
        yield group


def _with_outputs(model: onnx.ModelProto, names: Collection[str]) -> onnx.ModelProto:
    """Return a copy of a model whose outputs are the named float32 tensors, and no others."""
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    del observed.graph.output[:]
    for name in names:
        observed.graph.output.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        )
    return observed


def _add(histogram: Histogram, values: NDArray[np.float32], name: str) -> None:
    try:
        histogram.add(values)
    except ValueError:
        raise DsegError(
            f"the result {name} of the network is NaN or infinite for a calibration image",
            hint="check the weights with dseg infer; half precision is no cause, this is float32",
        ) from None
