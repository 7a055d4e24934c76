"""Trace a network to an ONNX graph for a fixed size or for any."""

from __future__ import annotations

import copy
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.errors import DsegError
from dseg.folding import prepare
from dseg.graphs.needs import need
from dseg.models import Normaliser, SegModel
from dseg.protocol import Size
from dseg.registry import MODELS

if TYPE_CHECKING:
    from onnx import ModelProto

EXAMPLE = (192, 224)  # size of the image that is traced for any size
NOISY = ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")
MAX_REASON = 300  # characters


class TraceError(DsegError):
    """A network that cannot be traced to a graph."""


class GraphNetwork(nn.Module):
    """A network with one input and one output, as it is traced.

    Args:
        model: network in evaluation mode, prepared for inference.
        pixels: whether the input is (N, H, W, 3) uint8 RGB, normalised within the graph, in place
            of (N, 3, H, W) float32, normalised.
        labels: whether the output is (N, H, W) uint8 train ids, 255 for no class, in place of
            (N, K, h, w) float32 logits at the network's stride.
        half: compute in float16.
    """

    def __init__(self, model: SegModel, *, pixels: bool, labels: bool, half: bool):
        super().__init__()
        self.model = model.half() if half else model
        self.pixels, self.labels, self.half_precision = pixels, labels, half
        self._normalise = Normaliser(model.card, torch.device("cpu"))
        outputs = model.card.outputs or tuple(range(model.card.num_outputs))
        identity = outputs == tuple(range(len(outputs)))
        self.train_ids = None if identity else torch.tensor(outputs, dtype=torch.uint8)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits or train ids."""
        if self.pixels:
            image = self._normalise(image.permute(0, 3, 1, 2))
        view = image.half() if self.half_precision else image
        padded = self._pad(view) if self.labels else view
        scores = self.model.logits(padded)[0].float()
        if not self.labels:
            return scores
        scores = self._resize(scores, padded.shape[-2], padded.shape[-1])
        if padded is not view:
            scores = scores[..., : view.shape[-2], : view.shape[-1]]
        best = scores.argmax(1)
        return best.to(torch.uint8) if self.train_ids is None else self.train_ids[best]

    def _pad(self, view: Tensor) -> Tensor:
        """Pad a view of a fixed size as the protocol and the network require."""
        if not all(type(side) is int for side in view.shape[-2:]):
            return view  # of any size: the caller keeps to multiples
        protocol = self.model.card.protocol
        down, right = (
            (protocol.pad_remainder - side) % protocol.pad_multiple for side in view.shape[-2:]
        )
        padded = F.pad(view, (0, right, 0, down)) if down or right else view
        return self.model.pad(padded)

    def _resize(self, scores: Tensor, height: int, width: int) -> Tensor:
        if self.model.upsampling_by(self.model.card.protocol) == "bicubic":
            return F.interpolate(scores, (height, width), mode="bicubic", align_corners=False)
        return self.model.resize(scores, height, width)


def trace(
    model: SegModel,
    *,
    size: Size | None = None,
    pixels: bool = False,
    labels: bool = False,
    half: bool = False,
) -> ModelProto:
    """Trace a network to ONNX, with its norms folded into convolutions.

    Args:
        model: network from ``load_model`` or ``build_model``; it does not change.
        size: (height, width) of the only size of image, one at a time; None for any size and
            number of images.
        pixels, labels, half: as in ``GraphNetwork``.

    Returns:
        A graph with the input ``image`` and the output ``logits`` or ``train_ids``.

    Raises:
        TraceError: the network cannot be traced so.
        DsegError: the packages of the extra ``onnx`` are not installed.
    """
    _refuse_any_size(model, size)
    need("onnxscript", "onnx")
    network, example, dynamic = _arrange(model, size, pixels=pixels, labels=labels, half=half)
    try:
        with torch.no_grad(), quiet():
            program = torch.onnx.export(
                network,
                (example,),
                None,
                dynamo=True,
                input_names=["image"],
                output_names=["train_ids" if labels else "logits"],
                dynamic_shapes=dynamic,
                external_data=False,
                verbose=False,
            )
    except Exception as fault:  # the exporter raises whatever the network's operations raise
        raise _trace_error(model, size, fault) from fault
    assert program is not None
    graph: ModelProto = program.model_proto
    _name_dimensions(graph, 1 if pixels else 2)
    for node in graph.graph.node:  # they name source files of this machine
        del node.metadata_props[:]
        node.doc_string = ""
    return graph


def _refuse_any_size(model: SegModel, size: Size | None) -> None:
    """Raise the TraceError of a network of which the registry says that its graph has one size."""
    spec = MODELS.get(model.card.network)
    if size is None and spec is not None and spec.one_size:
        raise TraceError(
            f"The graph of {model.card.network} has one image size: {spec.one_size}.",
            hint="name it with --size HxW, or stay with PyTorch: --runtime torch.",
        )


def _name_dimensions(graph: ModelProto, top: int) -> None:
    """Give the dimensions of any size names, in place of the tracer's numbered symbols."""
    dims = graph.graph.input[0].type.tensor_type.shape.dim
    places = {0: "batch", top: "height", top + 1: "width"}
    names = {dims[at].dim_param: name for at, name in places.items() if dims[at].dim_param}
    if not names:
        return
    symbols = re.compile("|".join(rf"\b{re.escape(symbol)}\b" for symbol in names))
    for value in (*graph.graph.input, *graph.graph.output, *graph.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = symbols.sub(lambda found: names[found[0]], dim.dim_param)


def trace_program(
    model: SegModel, *, size: Size | None = None, pixels: bool = False, labels: bool = False
) -> torch.export.ExportedProgram:
    """Trace a network to a program of torch.export, as ``trace`` does to ONNX.

    Raises:
        TraceError: the network cannot be traced so.
    """
    _refuse_any_size(model, size)
    network, example, dynamic = _arrange(model, size, pixels=pixels, labels=labels, half=False)
    try:
        with torch.no_grad(), quiet():
            return torch.export.export(network, (example,), dynamic_shapes=dynamic)
    except Exception as fault:
        raise _trace_error(model, size, fault) from fault


def _arrange(
    model: SegModel, size: Size | None, *, pixels: bool, labels: bool, half: bool
) -> tuple[GraphNetwork, Tensor, tuple[dict[int, Any]] | None]:
    """Return the network to trace, an image, and which of the image's dimensions can change."""
    prepared = prepare(model, device="cpu", channels_last=False)
    network = GraphNetwork(prepared, pixels=pixels, labels=labels, half=half).eval()
    height, width = size or padded_size(model, EXAMPLE)
    count = 2 if size is None else 1  # torch takes a single one for a constant
    if pixels:
        example = torch.zeros((count, height, width, 3), dtype=torch.uint8)
    else:
        example = torch.zeros((count, 3, height, width))
    any_size = torch.export.Dim.DYNAMIC
    top = 1 if pixels else 2
    return network, example, None if size else ({0: any_size, top: any_size, top + 1: any_size},)


def padded_size(model: SegModel, size: Size) -> Size:
    """Return the (height, width) to which a network and its protocol pad an input."""
    protocol = model.card.protocol
    height, width = (
        max(side, model.min_size)
        + (protocol.pad_remainder - max(side, model.min_size)) % protocol.pad_multiple
        for side in size
    )
    return height, width


def _trace_error(model: SegModel, size: Size | None, fault: Exception) -> TraceError:
    """Return the error for a network that cannot be traced, with the innermost reason."""
    innermost: BaseException = fault
    while innermost.__cause__ is not None:
        innermost = innermost.__cause__
    lines = [line.strip() for line in str(innermost).splitlines() if line.strip()]
    reason = (lines[0] if lines else type(innermost).__name__)[:MAX_REASON].rstrip(".")
    what = "for any size" if size is None else f"at {size[0]}x{size[1]}"
    hint = "name one --size HxW" if size is None else "report it with this message"
    return TraceError(
        f"{model.card.network} cannot be traced {what}: {reason}.",
        hint=f"{hint}, or stay with PyTorch: --runtime torch.",
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporter, whose warnings are of no use to a user."""
    levels = {name: logging.getLogger(name).level for name in NOISY}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in NOISY:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


def make_shell(model: SegModel) -> SegModel:
    """Return a network without weights, which still pads, resizes and has its model card."""
    tensors: dict[int, Any] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        tensors[id(tensor)] = tensor.to("meta")
    return copy.deepcopy(model, tensors).eval()
