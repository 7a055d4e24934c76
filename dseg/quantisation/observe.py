"""Run a graph on images with onnxruntime, and collect histograms of its activations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dseg.errors import DsegError
from dseg.parallel import Advance, count_cores
from dseg.quantisation.histogram import Histogram

if TYPE_CHECKING:
    from onnx import ModelProto

BUDGET = 512 * 2**20  # bytes of observed activations that are held at once
Batches = Callable[[], Iterable[NDArray[np.float32]]]  # at each call, all inputs (N,3,H,W) again


class Runner:
    """A graph in onnxruntime, on the CPU.

    Args:
        model: the graph.
        outputs: names of float32 tensors to compute instead of the graph's outputs.
    """

    def __init__(self, model: ModelProto, outputs: Sequence[str] = ()):
        try:
            import onnxruntime
        except ImportError:
            raise DsegError(
                "onnxruntime is not installed, which quantisation needs.",
                hint="pip install 'dseg[onnx]'.",
            ) from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = count_cores()
        options.log_severity_level = 3  # errors
        options.enable_mem_pattern = False  # images may have many sizes
        data = (_with_outputs(model, outputs) if outputs else model).SerializeToString()
        self._session = onnxruntime.InferenceSession(
            data, options, providers=["CPUExecutionProvider"]
        )
        self._source = self._session.get_inputs()[0].name

    def run(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Return all outputs for one input.

        Raises:
            DsegError: the graph cannot be run on it.
        """
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument
        from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException as Fault

        try:
            found: list[NDArray[np.float32]] = self._session.run(None, {self._source: batch})
        except (Fail, InvalidArgument, Fault) as fault:
            raise DsegError(
                f"The graph cannot be run on an input of shape {list(batch.shape)}: {fault}.",
                hint="give images of a size that the graph was exported for.",
            ) from None
        return found


def observe(
    model: ModelProto,
    names: Sequence[str],
    batches: Batches,
    *,
    budget: int = BUDGET,
    advance: Advance = lambda: None,
) -> dict[str, Histogram]:
    """Return a histogram of each named float32 tensor over all batches.

    The network runs on all batches once for each group of tensors; a group takes at most
    ``budget`` bytes for the first batch. Beyond that and what the network itself needs, memory
    depends neither on the number of images nor on that of tensors.

    Args:
        model: graph with one input of shape (N, 3, H, W), float32.
        names: its input, or results of nodes.
        batches: returns all inputs at each call.
        budget: bytes; a tensor larger than this is a group of its own.
        advance: called after each forward pass; see ``count_passes``.

    Raises:
        DsegError: there is no batch, or a value is NaN or infinite.
    """
    histograms = {name: Histogram() for name in names}
    first = next(iter(batches()), None)
    if first is None:
        raise DsegError("There is no image to calibrate with.", hint="give at least one image.")
    constants = {tensor.name for tensor in model.graph.initializer}
    source = next(item.name for item in model.graph.input if item.name not in constants)
    for group in _group(names, model, first.shape, budget):
        computed = [name for name in group if name != source]
        runner = Runner(model, computed) if computed else None
        for batch in batches():
            if source in group:
                _add(histograms[source], batch, source)
            if runner is not None:
                for name, values in zip(computed, runner.run(batch), strict=True):
                    _add(histograms[name], values, name)
            advance()
    return histograms


def count_passes(
    model: ModelProto, names: Sequence[str], shape: Sequence[int], budget: int = BUDGET
) -> int:
    """Return the number of forward passes that ``observe`` needs for each batch of a shape."""
    return sum(1 for _ in _group(names, model, shape, budget))


def find_sizes(model: ModelProto, shape: Sequence[int]) -> dict[str, int]:
    """Return by name the number of bytes of each tensor whose shape follows from the input's."""
    from onnx import shape_inference

    fixed = _without_values(model)
    for output in fixed.graph.output:
        output.type.tensor_type.ClearField("shape")
    for dim, size in zip(fixed.graph.input[0].type.tensor_type.shape.dim, shape, strict=True):
        dim.dim_value = size
    inferred = shape_inference.infer_shapes(fixed, data_prop=True).graph
    sizes: dict[str, int] = {}
    for info in (*inferred.input, *inferred.value_info, *inferred.output):
        dims = info.type.tensor_type.shape.dim
        if dims and all(dim.HasField("dim_value") for dim in dims):
            sizes[info.name] = 4 * math.prod(dim.dim_value for dim in dims)
    return sizes


def _group(
    names: Sequence[str], model: ModelProto, shape: Sequence[int], budget: int
) -> Iterator[list[str]]:
    """Split names, in their order, into groups of tensors that take at most ``budget`` bytes."""
    sizes = find_sizes(model, shape)
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


def _with_outputs(model: ModelProto, names: Sequence[str]) -> ModelProto:
    from onnx import TensorProto, helper

    copy = type(model)()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    return copy


def _without_values(model: ModelProto) -> ModelProto:
    """Return a copy without the shapes that the exporter has written."""
    copy = type(model)()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    return copy


def _add(histogram: Histogram, values: NDArray[Any], name: str) -> None:
    try:
        histogram.add(values)
    except ValueError:
        raise DsegError(
            f"The tensor {name} is NaN or infinite for a calibration image.",
            hint="check the weights: dseg infer reports which images have such scores.",
        ) from None
