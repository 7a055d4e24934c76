"""Insert QuantizeLinear and DequantizeLinear nodes (QDQ) into an ONNX graph."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from dseg.quantisation.graph import Graph, channel_axis
from dseg.quantisation.ranges import Range

SMALLEST = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class Scheme:
    """How values are quantised.

    Args:
        symmetric: activations int8 with zero point 0, as TensorRT reads them; otherwise uint8
            with a zero point, for OpenVINO and onnxruntime on CPUs.
        float_bias: biases stay float32; otherwise int32 in steps of the products.
        share: every reader of a quantised tensor reads the quantised values.
        outputs: results of weighted layers are quantised even if only float nodes read them.
    """

    symmetric: bool = False
    float_bias: bool = True
    share: bool = True
    outputs: bool = False


def step_of(limits: Range, symmetric: bool) -> tuple[np.float32, int]:
    """Return scale and zero point: value = scale * (quantised - zero point).

    A symmetric range is quantised to -127 to 127, another one to 0 to 255.
    """
    if symmetric:
        return _positive(max(-limits.lowest, limits.highest) / 127), 0
    scale = _positive((limits.highest - limits.lowest) / 255)
    return scale, int(np.clip(round(-limits.lowest / float(scale)), 0, 255))


def _positive(scale: float) -> np.float32:
    """Return a scale, 1 where all values are 0."""
    return np.float32(max(scale, SMALLEST)) if scale > 0 else np.float32(1)


def quantise_weight(
    weight: NDArray[np.float32], axis: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return int8 values from -127 to 127, and the scale of each channel along ``axis``."""
    rest = tuple(index for index in range(weight.ndim) if index != axis)
    largest = np.abs(weight).max(axis=rest, keepdims=True)
    scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    scales = np.maximum(scales, SMALLEST)
    values = np.clip(np.round(weight / scales), -127, 127).astype(np.int8)
    return values, scales.reshape(-1)


def insert_qdq(
    model: onnx.ModelProto, nodes: Collection[str], ranges: Mapping[str, Range], scheme: Scheme
) -> onnx.ModelProto:
    """Return a copy of a model in which the named nodes read quantised activations and weights.

    Args:
        model: float32; every node has a name of its own.
        nodes: names of the nodes to quantise.
        ranges: range of each activation that they read.
        scheme: how values are quantised.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    pass_ = _Pass(result, set(nodes), ranges, scheme)
    pass_.run()
    return result


class _Pass:
    def __init__(
        self,
        model: onnx.ModelProto,
        nodes: set[str],
        ranges: Mapping[str, Range],
        scheme: Scheme,
    ):
        self.model, self.nodes, self.ranges, self.scheme = model, nodes, ranges, scheme
        self.graph = Graph(model)
        self.scales: dict[str, np.float32] = {}  # of activations
        self.before: dict[str, list[NodeProto]] = {}  # by the producer's name, "" for the input
        self.constants: dict[str, onnx.TensorProto] = {}
        self.fresh: dict[str, str] = {}

    def run(self) -> None:
        chosen = [node for node in self.model.graph.node if node.name in self.nodes]
        read = (name for node in chosen for name in self.graph.activations(node))
        tensors = dict.fromkeys(name for name in read if name in self.ranges)
        if self.scheme.outputs:
            tensors |= dict.fromkeys(node.output[0] for node in chosen if node.output[0] in self.ranges)
        for name in tensors:
            self._quantise_activation(name)
        for node in chosen:
            self._quantise_constants(node)
        self._assemble()

    def _quantise_activation(self, name: str) -> None:
        scale, zero = step_of(self.ranges[name], self.scheme.symmetric)
        self.scales[name] = scale
        kind = np.int8 if self.scheme.symmetric else np.uint8
        parameters = [
            self._constant(f"{name}_scale", np.array(scale, np.float32)),
            self._constant(f"{name}_zero_point", np.array(zero, kind)),
        ]
        pair = [
            helper.make_node("QuantizeLinear", [name, *parameters], [f"{name}_quantized"]),
            helper.make_node(
                "DequantizeLinear", [f"{name}_quantized", *parameters], [f"{name}_dequantized"]
            ),
        ]
        for node, op in zip(pair, ("QuantizeLinear", "DequantizeLinear"), strict=True):
            node.name = f"{name}_{op}"
        producer = self.graph.producers.get(name)
        self.before.setdefault(producer.name if producer else "", []).extend(pair)
        for reader in self.graph.readers[name]:
            if self.scheme.share or reader.name in self.nodes:
                for index, source in enumerate(reader.input):
                    if source == name:
                        reader.input[index] = f"{name}_dequantized"

    def _quantise_constants(self, node: NodeProto) -> None:
        weight = self.graph.weight(node)
        if weight is None:
            return
        values = numpy_helper.to_array(weight)
        axis = channel_axis(node, values.ndim)
        name = f"{weight.name}_axis{axis}"
        quantised, scales = quantise_weight(values, axis)
        inputs = [
            self._constant(f"{name}_quantized", quantised),
            self._constant(f"{name}_scale", scales),
            self._constant(f"{name}_zero_point", np.zeros(scales.shape, np.int8)),
        ]
        output = f"{name}_dequantized"
        if output not in self.fresh:
            self.fresh[output] = name
            self.before.setdefault("", []).append(
                helper.make_node("DequantizeLinear", inputs, [output], f"{name}_dq", axis=axis)
            )
        node.input[1] = output
        if self.scheme.float_bias or node.op_type not in ("Conv", "ConvTranspose"):
            return
        if len(node.input) > 2 and node.input[2] in self.graph.constants:
            self._quantise_bias(node, scales)

    def _quantise_bias(self, node: NodeProto, scales: NDArray[np.float32]) -> None:
        source = node.input[0].removesuffix("_dequantized")
        steps = (scales * self.scales[source]).astype(np.float32)
        bias = numpy_helper.to_array(self.graph.constants[node.input[2]])
        quantised = np.clip(np.round(bias.astype(np.float64) / steps), -(2**31) + 1, 2**31 - 1)
        name = f"{node.name}_bias"
        inputs = [
            self._constant(f"{name}_quantized", quantised.astype(np.int32)),
            self._constant(f"{name}_scale", steps),
            self._constant(f"{name}_zero_point", np.zeros(steps.shape, np.int32)),
        ]
        self.before.setdefault("", []).append(
            helper.make_node("DequantizeLinear", inputs, [f"{name}_dq"], f"{name}_dql", axis=0)
        )
        node.input[2] = f"{name}_dq"

    def _constant(self, name: str, values: NDArray[np.generic]) -> str:
        self.constants.setdefault(name, numpy_helper.from_array(values, name))
        return name

    def _assemble(self) -> None:
        """Put new nodes behind the producers of what they read, and drop unread constants."""
        graph = self.model.graph
        ordered = list(self.before.get("", []))
        for node in graph.node:
            ordered += [node, *self.before.get(node.name, [])]
        read = {name for node in ordered for name in node.input}
        kept = [tensor for tensor in graph.initializer if tensor.name in read]
        nodes = [*ordered]
        copies = [helper.make_node("Identity", [""], [""])] * 0
        for node in nodes:
            copy = NodeProto()
            copy.CopyFrom(node)
            copies.append(copy)
        constants = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
        del graph.node[:]
        graph.node.extend(copies)
        del graph.initializer[:]
        graph.initializer.extend([*constants, *self.constants.values()])
