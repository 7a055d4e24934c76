"""Read-only views of an ONNX graph: producers, readers, float tensors, nodes to quantise."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property

import onnx
from onnx import NodeProto, TensorProto

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class Graph:
    """Indices of an ONNX graph, which must not change while they are used.

    Args:
        model: every node has a name of its own (see ``name_nodes``).
    """

    def __init__(self, model: onnx.ModelProto):
        self.model = model
        self.nodes = {node.name: node for node in model.graph.node}
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.producers = {name: node for node in model.graph.node for name in node.output if name}
        self.readers: defaultdict[str, list[NodeProto]] = defaultdict(list)
        for node in model.graph.node:
            for name in node.input:
                self.readers[name].append(node)
        self.outputs = {output.name for output in model.graph.output}

    @cached_property
    def floats(self) -> set[str]:
        """Names of the computed tensors that are float32."""
        inferred = onnx.shape_inference.infer_shapes(self.model).graph
        infos = (*inferred.input, *inferred.value_info, *inferred.output)
        return {
            info.name for info in infos if info.type.tensor_type.elem_type == TensorProto.FLOAT
        }

    def activations(self, node: NodeProto) -> list[str]:
        """Return the inputs of a node that are computed, for those that 8 bits can represent."""
        count = 1 if node.op_type in ("Resize", "Reshape", "Slice") else len(node.input)
        count = 2 if node.op_type in WEIGHTED else count  # a bias is added in 32 bits
        names = [name for name in node.input[:count] if name and name not in self.constants]
        return list(dict.fromkeys(names))

    def weight(self, node: NodeProto) -> TensorProto | None:
        """Return the constant float32 weight of a node, None if it has none."""
        if node.op_type not in WEIGHTED or len(node.input) < 2:
            return None
        tensor = self.constants.get(node.input[1])
        return tensor if tensor is not None and tensor.data_type == TensorProto.FLOAT else None


def name_nodes(model: onnx.ModelProto) -> None:
    """Give every node of a graph, in place, a name of its own."""
    taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{index}"
            while node.name in taken:
                node.name += "_"
        taken.add(node.name)


def channel_axis(node: NodeProto, rank: int) -> int:
    """Return the axis of a weight's output channels."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        transposed = any(item.name == "transB" and item.i for item in node.attribute)
        return 0 if transposed else 1
    return 1 if node.op_type == "ConvTranspose" else rank - 1
