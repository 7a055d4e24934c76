"""A view of an ONNX graph: the layers that can be quantised, and what they read."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from dseg.errors import DsegError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
OPSET = 13  # the first with a scale for each channel
_ADVICE = "export the network again with dseg export"


class Graph:
    """Indices of an ONNX graph, which must not change while they are used.

    Attributes:
        layers: by name, in the order of execution, the nodes with a constant float32 weight:
            these are quantised, and activations that are multiplied with each other are not.
        producers: by name of a result, the node that computes it.
        readers: by name of a tensor, the nodes that read it.
        constants: by name, the constant tensors.
    """

    def __init__(self, model: ModelProto):
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.producers = {name: node for node in model.graph.node for name in node.output}
        self.readers: defaultdict[str, list[NodeProto]] = defaultdict(list)
        for node in model.graph.node:
            for name in dict.fromkeys(node.input):
                self.readers[name].append(node)
        self.layers = {node.name: node for node in model.graph.node if self._is_layer(node)}

    def weight(self, layer: NodeProto) -> TensorProto:
        """Return the weight of a layer."""
        weight: TensorProto = self.constants[layer.input[1]]
        return weight

    def _is_layer(self, node: NodeProto) -> bool:
        from onnx import TensorProto

        if node.op_type not in LAYERS or node.input[0] in self.constants:
            return False
        weight = self.constants.get(node.input[1])
        return weight is not None and weight.data_type == TensorProto.FLOAT and len(weight.dims) > 1


def channel_axis(layer: NodeProto, rank: int) -> int:
    """Return the axis of the output channels in a layer's weight of a given rank."""
    if layer.op_type == "Conv":
        return 0
    if layer.op_type == "Gemm":
        return 0 if any(item.name == "transB" and item.i for item in layer.attribute) else 1
    return 1 if layer.op_type == "ConvTranspose" else rank - 1


def copy_named(model: ModelProto) -> ModelProto:
    """Return a copy of a float32 model in which each node has a name of its own.

    Raises:
        DsegError: the model is quantised already, has another number of inputs than one, an opset
            older than 13, or no layer to quantise.
    """
    copy = type(model)()
    copy.CopyFrom(model)
    taken: set[str] = set()
    for index, node in enumerate(copy.graph.node):
        if node.op_type == "QuantizeLinear":
            raise DsegError("the graph is quantised already", hint="give the float32 graph")
        if not node.name or node.name in taken:
            node.name = unique(f"{node.op_type}_{index}", taken)
        taken.add(node.name)
    constants = {tensor.name for tensor in copy.graph.initializer}
    inputs = [item.name for item in copy.graph.input if item.name not in constants]
    if len(inputs) != 1:
        raise DsegError(f"the graph has {len(inputs)} inputs, not 1", hint=_ADVICE)
    opset = max((item.version for item in copy.opset_import if not item.domain), default=0)
    if opset < OPSET:
        raise DsegError(f"the graph has opset {opset}, older than {OPSET}", hint=_ADVICE)
    if not Graph(copy).layers:
        raise DsegError("the graph has no layer that can be quantised", hint=_ADVICE)
    return copy


def unique(name: str, taken: set[str]) -> str:
    """Return a name with as many underscores behind it as make it a new one."""
    while name in taken:
        name += "_"
    return name
