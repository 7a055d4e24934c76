"""A view of an ONNX graph: the layers that can be quantised, and what they read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import TYPE_CHECKING

from dseg.errors import DsegError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
OPSET = 13  # the first with a scale for each channel
_ADVICE = "export the network again with dseg export."


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

    def concatenations(self, floats: Collection[str]) -> list[tuple[str, ...]]:
        """Return sets of tensors that are concatenated with each other along the channels.

        Results of concatenations are not among them, but what these were made of: a dense block,
        in which each layer's result is appended to all before, is one set.

        Args:
            floats: names of the float32 tensors.
        """
        roots: dict[str, str] = {}

        def find(name: str) -> str:
            while roots.setdefault(name, name) != name:
                name = roots[name]
            return name

        results: set[str] = set()
        for node in self.producers.values():
            along = any(item.name == "axis" and item.i == 1 for item in node.attribute)
            if node.op_type == "Concat" and along and set(node.input) <= set(floats):
                results.add(node.output[0])
                for name in node.input:
                    roots[find(name)] = find(node.output[0])
        sets: defaultdict[str, list[str]] = defaultdict(list)
        for name in list(roots):
            if name not in results:
                sets[find(name)].append(name)
        return [tuple(names) for names in sets.values()]

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
            raise DsegError("The graph is quantised already.", hint="give the float32 graph.")
        if not node.name or node.name in taken:
            node.name = unique(f"{node.op_type}_{index}", taken)
        taken.add(node.name)
    constants = {tensor.name for tensor in copy.graph.initializer}
    inputs = [item.name for item in copy.graph.input if item.name not in constants]
    if len(inputs) != 1:
        raise DsegError(f"The graph has {len(inputs)} inputs, not 1.", hint=_ADVICE)
    opset = max((item.version for item in copy.opset_import if not item.domain), default=0)
    if opset < OPSET:
        raise DsegError(f"The graph has opset {opset}, older than {OPSET}.", hint=_ADVICE)
    if not Graph(copy).layers:
        raise DsegError("The graph has no layer that can be quantised.", hint=_ADVICE)
    return copy


def find_floats(model: ModelProto) -> set[str]:
    """Return the names of the computed float32 tensors of a graph."""
    from onnx import TensorProto, shape_inference

    graph = shape_inference.infer_shapes(model).graph
    infos = (*graph.input, *graph.value_info, *graph.output)
    return {info.name for info in infos if info.type.tensor_type.elem_type == TensorProto.FLOAT}


def unique(name: str, taken: set[str]) -> str:
    """Return a name with as many underscores behind it as make it a new one."""
    while name in taken:
        name += "_"
    return name
