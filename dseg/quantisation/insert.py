"""Insert QuantizeLinear and DequantizeLinear nodes (QDQ) into an ONNX graph."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dseg.quantisation.graph import Graph, channel_axis, unique
from dseg.quantisation.ranges import Range

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

SMALLEST = float(np.finfo(np.float32).tiny)  # of all scales
# OpenVINO 2026.4 computes a wrong result for a quantised convolution without a bias that an
# addition and another node read, as in ESPNet; it removes a bias of 0, but not this one.
NO_BIAS = 1e-30


def insert_qdq(
    model: ModelProto,
    layers: Collection[str],
    ranges: Mapping[str, Range],
    *,
    symmetric: bool,
    concatenated: Collection[str] = (),
) -> ModelProto:
    """Return a copy of a model in which the named layers read quantised values.

    Each activation that such a layer reads is quantised once, behind its producer, and all its
    readers get the quantised values. Weights are int8 with one scale for each output channel.
    Biases stay float32: runtimes convert them, TensorRT reads no others. A convolution without a
    bias gets one, see ``NO_BIAS``.

    Args:
        model: float32; every node has a name of its own.
        layers: names of the layers to quantise.
        ranges: by name, the range of each activation that these layers read.
        symmetric: activations are int8 with zero point 0; otherwise uint8 with a zero point.
        concatenated: names of further activations to quantise, int8 with zero point 0, so that
            runtimes can concatenate them in 8 bits; those of one set have equal ranges.
    """
    copy = type(model)()
    copy.CopyFrom(model)
    _Insertion(copy, ranges, symmetric).run(layers, concatenated)
    return copy


def find_step(limits: Range, symmetric: bool) -> tuple[np.float32, int]:
    """Return scale and zero point of activations: value = scale * (integer - zero point).

    A symmetric range is quantised to integers from -127 to 127, another one to 0 to 255. The scale
    is 1 if the range is only 0.
    """
    if symmetric:
        return _as_scale(max(-limits.lowest, limits.highest) / 127), 0
    scale = _as_scale((limits.highest - limits.lowest) / 255)
    return scale, int(np.clip(round(-limits.lowest / float(scale)), 0, 255))


def quantise_weight(
    weight: NDArray[np.float32], axis: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return int8 values from -127 to 127, and the scale of each channel along an axis, (C,)."""
    others = tuple(index for index in range(weight.ndim) if index != axis)
    largest = np.abs(weight).max(axis=others, keepdims=True)
    scales = np.where(largest > 0, np.maximum(largest / 127, SMALLEST), 1).astype(np.float32)
    values = np.clip(np.round(weight / scales), -127, 127).astype(np.int8)
    return values, scales.reshape(-1)


def _as_scale(step: float) -> np.float32:
    scale: np.float32 = np.float32(max(step, SMALLEST) if step > 0 else 1)
    return scale


class _Insertion:
    """Collects the new nodes and constants of a graph, and then puts them into it."""

    def __init__(self, model: ModelProto, ranges: Mapping[str, Range], symmetric: bool):
        self._graph = Graph(model)
        self._model = model
        self._ranges = ranges
        self._symmetric = symmetric
        self._taken = set(self._graph.constants) | set(self._graph.readers)
        self._taken |= set(self._graph.producers) | {node.name for node in model.graph.node}
        self._constants: list[Any] = []
        self._behind: dict[str, list[NodeProto]] = {}  # by a producer's name, "" for the start
        self._weights: dict[tuple[str, int], str] = {}  # weight and axis -> result

    def run(self, layers: Collection[str], concatenated: Collection[str]) -> None:
        chosen = [layer for name, layer in self._graph.layers.items() if name in layers]
        for name in dict.fromkeys((*(layer.input[0] for layer in chosen), *concatenated)):
            self._quantise_activation(name, self._symmetric or name in concatenated)
        for layer in chosen:
            if layer.op_type in ("Conv", "ConvTranspose") and len(layer.input) == 2:
                layer.input.append(self._add_bias(layer))
            layer.input[1] = self._quantise_weight(layer)
        self._assemble()

    def _quantise_activation(self, name: str, symmetric: bool) -> None:
        scale, zero = find_step(self._ranges[name], symmetric)
        kind = np.int8 if symmetric else np.uint8
        parameters = [
            self._add_constant(f"{name}_scale", np.array(scale, np.float32)),
            self._add_constant(f"{name}_zero_point", np.array(zero, kind)),
        ]
        producer = self._graph.producers.get(name)
        place = producer.name if producer is not None else ""
        quantised = self._add_node("QuantizeLinear", place, [name, *parameters])
        result = self._add_node("DequantizeLinear", place, [quantised, *parameters])
        for reader in self._graph.readers[name]:
            for index, source in enumerate(reader.input):
                if source == name:
                    reader.input[index] = result

    def _quantise_weight(self, layer: NodeProto) -> str:
        from onnx import numpy_helper

        weight = self._graph.weight(layer)
        axis = channel_axis(layer, len(weight.dims))
        if (weight.name, axis) not in self._weights:
            values, scales = quantise_weight(numpy_helper.to_array(weight), axis)
            inputs = [
                self._add_constant(f"{weight.name}_quantized", values),
                self._add_constant(f"{weight.name}_scale", scales),
                self._add_constant(f"{weight.name}_zero_point", np.zeros(scales.size, np.int8)),
            ]
            result = self._add_node("DequantizeLinear", "", inputs, axis=axis)
            self._weights[weight.name, axis] = result
        return self._weights[weight.name, axis]

    def _add_bias(self, layer: NodeProto) -> str:
        """Return the name of a new bias that does not change the layer's results."""
        weight = self._graph.weight(layer)
        groups = next((item.i for item in layer.attribute if item.name == "group"), 1)
        transposed = layer.op_type == "ConvTranspose"
        channels = weight.dims[1] * groups if transposed else weight.dims[0]
        return self._add_constant(f"{layer.name}_bias", np.full(channels, NO_BIAS, np.float32))

    def _add_constant(self, name: str, values: NDArray[Any]) -> str:
        from onnx import numpy_helper

        name = unique(name, self._taken)
        self._taken.add(name)
        self._constants.append(numpy_helper.from_array(values, name))
        return name

    def _add_node(self, kind: str, place: str, inputs: list[str], **attributes: Any) -> str:
        """Add a node behind the named one, "" for the start; return the name of its result."""
        from onnx import helper

        name = unique(f"{inputs[0]}_{kind}", self._taken)
        result = unique(f"{name}_result", self._taken)
        self._taken |= {name, result}
        node = helper.make_node(kind, inputs, [result], name, **attributes)
        self._behind.setdefault(place, []).append(node)
        return result

    def _assemble(self) -> None:
        """Write all nodes in an order of execution, and leave out constants that nobody reads."""
        graph = self._model.graph
        nodes = list(self._behind.get("", []))
        for node in graph.node:
            copy = type(node)()
            copy.CopyFrom(node)
            nodes += [copy, *self._behind.get(node.name, [])]
        read = {name for node in nodes for name in node.input}
        read |= {output.name for output in graph.output}
        for index in reversed(range(len(graph.initializer))):
            if graph.initializer[index].name not in read:
                del graph.initializer[index]
        graph.initializer.extend(self._constants)
        del graph.node[:]
        graph.node.extend(nodes)
