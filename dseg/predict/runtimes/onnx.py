"""OnnxRuntime: ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from dseg.errors import DsegError
from dseg.graphs import GraphFacts, need
from dseg.models import ModelCard
from dseg.predict.runtimes.base import failed
from dseg.predict.runtimes.graph import GraphRuntime

QUIET = 3  # log level: errors only


class OnnxRuntime(GraphRuntime):
    """Computes logits by ONNX Runtime on the CPU, in the precision of the graph.

    Args:
        graph: ONNX file, or its bytes.
        card, facts: model card, and how the graph is fed.
        precision: ``float32``; ``float16`` or ``int8`` for a graph of that precision.
        threads: number of threads.

    Raises:
        RuntimeFailedError: ONNX Runtime cannot read the graph.
        DsegError: it is not installed, or cannot compute in that precision.
    """

    name = "onnx"

    def __init__(
        self, graph: Path | bytes, card: ModelCard, facts: GraphFacts, precision: str, threads: int
    ):
        super().__init__(card, facts, precision)
        runtime = need("onnxruntime")
        if precision == "bfloat16":
            raise DsegError(
                "ONNX Runtime has no bf16 on the CPU.",
                hint="use --runtime openvino or torch, or leave --precision out.",
            )
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = QUIET
        try:
            self._session = runtime.InferenceSession(
                graph if isinstance(graph, bytes) else str(graph),
                options,
                providers=["CPUExecutionProvider"],
            )
        except Exception as fault:  # its errors have no common class
            raise failed(self.name, card.network, fault) from fault
        self._input = self._session.get_inputs()[0].name

    def _run(self, image: Tensor) -> Tensor:
        [found] = self._session.run(None, {self._input: image.contiguous().numpy()})
        result = torch.from_numpy(found)
        if result.dim() == 3:  # labels
            return result
        return result.contiguous(memory_format=torch.channels_last)
