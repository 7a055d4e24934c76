"""OpenVinoRuntime: OpenVINO on the CPU, at any size of input."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dseg.errors import DsegError
from dseg.graphs import GraphFacts, need, openvino_core
from dseg.models import ModelCard
from dseg.predict.runtimes.base import failed
from dseg.predict.runtimes.graph import GraphRuntime

if TYPE_CHECKING:
    from openvino import Model

NUMBERS = {"float32": "f32", "bfloat16": "bf16"}
REPEATS = 4  # consecutive inputs of a size before the network is compiled for it; a flip is one


def find_hint(precision: str) -> str:
    """Return OpenVINO's name for a precision, after checking that this CPU computes it well.

    The layers of an int8 network that are not quantised are computed in bf16 if the CPU has it,
    which is faster and changed no more labels.

    Raises:
        DsegError: the CPU has no instructions for the precision, or OpenVINO is wrong in it or is
            not installed.
    """
    have = openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "int8":
        return "bf16" if "BF16" in have else "f32"
    if precision not in NUMBERS:  # float16: three quarters of DABNet's labels were wrong
        raise DsegError(
            f"OpenVINO is not used in {precision} on the CPU, where its results are wrong.",
            hint="use --precision bf16 or fp32.",
        )
    if precision == "bfloat16" and "BF16" not in have:
        raise DsegError(
            "This CPU has no bf16 instructions: bf16 would be slower than fp32.",
            hint="leave --precision out.",
        )
    return NUMBERS[precision]


class OpenVinoRuntime(GraphRuntime):
    """Computes logits by OpenVINO on the CPU.

    A network that is compiled for the size of its input is up to a fifth faster, and each compiled
    network keeps memory for its activations. So there are at most two: one for the size at hand,
    compiled for the first size and for each that comes ``REPEATS`` times in a row, and one for all
    other sizes.

    Args:
        graph: ONNX file, its bytes, or an OpenVINO model.
        card, facts: model card, and how the graph is fed.
        precision: ``float32`` or ``bfloat16``; ``int8`` for a quantised graph.
        threads: number of threads.

    Raises:
        RuntimeFailedError: OpenVINO cannot read the graph.
        DsegError: OpenVINO is not installed, or the CPU has no instructions of the precision.
    """

    name = "openvino"

    def __init__(
        self,
        graph: Path | bytes | Model,
        card: ModelCard,
        facts: GraphFacts,
        precision: str,
        threads: int,
    ):
        super().__init__(card, facts, precision)
        self._openvino = need("openvino")
        hint = find_hint(precision)
        self._core = openvino_core()
        self._options = {
            "INFERENCE_PRECISION_HINT": hint,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        }
        try:
            unread = isinstance(graph, (Path, bytes))
            self._graph = self._channels_last(self._core.read_model(graph) if unread else graph)
        except RuntimeError as fault:
            raise failed(self.name, card.network, fault) from fault
        self._static: tuple[tuple[int, ...], Any, tuple[int, ...] | None] | None = None
        self._dynamic: Any = None
        self._last: tuple[int, ...] = ()
        self._repeats = 0

    def _channels_last(self, graph: Model) -> Model:
        """Return the graph with float ends channels last, as images and resizing have them."""
        from openvino.preprocess import PrePostProcessor

        layout = self._openvino.Layout
        prepost = PrePostProcessor(graph)
        ends = [prepost.input()] if self.facts.input == "float" else []
        ends += [] if self.labels_only else [prepost.output()]
        for end in ends:
            end.tensor().set_layout(layout("NHWC"))
            end.model().set_layout(layout("NCHW"))
        return prepost.build()

    def _run(self, image: Tensor) -> Tensor:
        pixels = self.facts.input == "uint8"
        array = (image if pixels else image.permute(0, 2, 3, 1)).contiguous().numpy()
        request, shape = self._request_for(array.shape)
        request.set_input_tensor(self._openvino.Tensor(array, shared_memory=True))
        if shape is None:
            request.infer()
            # a copy, since the next input overwrites the tensor
            found = torch.from_numpy(request.get_output_tensor(0).data).clone()
        else:
            found = torch.empty(shape, dtype=torch.uint8 if self.labels_only else torch.float32)
            request.set_output_tensor(self._openvino.Tensor(found.numpy(), shared_memory=True))
            request.infer()
        return found if self.labels_only else found.permute(0, 3, 1, 2)

    def _request_for(self, shape: tuple[int, ...]) -> tuple[Any, tuple[int, ...] | None]:
        """Return a request for inputs of a shape, and the shape of its output if that is known."""
        self._repeats = self._repeats + 1 if shape == self._last else 1
        self._last = shape
        if self._static is not None and self._static[0] == shape:
            return self._static[1:]
        if self._static is None or self._repeats >= REPEATS:
            self._static = None  # frees its memory before the next one is compiled
            graph = self._graph.clone()
            graph.reshape(list(shape))
            compiled = self._compile(graph)
            output = compiled.output(0).partial_shape
            known = None if output.is_dynamic else tuple(output.to_shape())
            self._static = shape, compiled.create_infer_request(), known
            return self._static[1:]
        if self._dynamic is None:
            self._dynamic = self._compile(self._graph).create_infer_request()
        return self._dynamic, None

    def _compile(self, graph: Model) -> Any:
        return self._core.compile_model(graph, "CPU", self._options)
