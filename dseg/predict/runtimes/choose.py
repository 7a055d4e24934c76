"""Choose the runtime of a network, and prepare it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from dseg.device import find_amp
from dseg.errors import DsegError
from dseg.folding import prepare
from dseg.graphs import GraphFacts, TraceError, cached_graph, make_shell, padded_size
from dseg.graphs.needs import ImportFailedError, is_installed
from dseg.models import SegModel
from dseg.predict.runtimes.base import RUNTIMES, TITLES, Runtime, RuntimeFailedError
from dseg.predict.runtimes.pytorch import TorchRuntime

NEEDS = {  # packages that trace a network and compute its graph
    "openvino": ("openvino", "onnx", "onnxscript"),
    "onnx": ("onnxruntime", "onnx", "onnxscript"),
}

NUMBERS = {"fp32": "float32", "auto": "float32", "bf16": "bfloat16"}
CHECKED = (173, 331)  # height, width of the image on which a new graph is checked
TOLERANCE = 1e-3  # standard deviations of the logits; rounding alone makes about 1e-5


def make_runtime(
    model: SegModel,
    name: str = "auto",
    precision: str = "fp32",
    *,
    device: torch.device,
    on_note: Callable[[str], None] = lambda note: None,
) -> tuple[SegModel, Runtime]:
    """Return a copy of a network for inference, and the runtime that computes its logits.

    ``auto`` is OpenVINO on the CPU if it is installed, which is usually at least as fast as
    PyTorch (weights/zoo-cpu.md); PyTorch otherwise, and for a network that OpenVINO cannot
    compute.

    Args:
        model: network in evaluation mode; it does not change.
        name: a value of ``RUNTIMES``.
        precision: a value of ``PRECISIONS``.
        device: device of the network.
        on_note: called with each sentence for the user.

    Returns:
        The network, without weights unless PyTorch computes it; the runtime.

    Raises:
        DsegError: the runtime is not installed or does not support the device or precision.
        RuntimeFailedError, TraceError: the named runtime cannot compute the network.
    """
    chosen = choose_runtime(name, device)
    if precision == "int8":
        raise DsegError(
            "int8 needs a quantised file: weights have to be calibrated on images first.",
            hint="run dseg export --precision int8, and name its file with --weights.",
        )
    if chosen == "torch":
        return _make_torch(model, precision, device)
    try:
        return make_shell(model), _make_other(model, chosen, precision, on_note)
    except (TraceError, RuntimeFailedError, ImportFailedError) as fault:
        if name != "auto":
            raise
        on_note(f"{fault.problem} PyTorch computes it instead.")
        return _make_torch(model, precision, device)


def choose_runtime(name: str, device: torch.device) -> str:
    """Return the runtime that a name stands for on a device.

    Raises:
        DsegError: unknown, or not for this device.
    """
    if name not in RUNTIMES:
        raise DsegError(f"Unknown runtime {name!r}.", hint=f"choose one of: {', '.join(RUNTIMES)}.")
    chosen = name
    if name == "auto":
        openvino = device.type == "cpu" and is_installed(*NEEDS["openvino"])
        chosen = "openvino" if openvino else "torch"
    if chosen != "torch" and device.type != "cpu":
        raise DsegError(
            f"{TITLES[chosen]} is used on the CPU only, not on {device.type}.",
            hint="use --device cpu, or --runtime torch.",
        )
    return chosen


def _make_torch(
    model: SegModel, precision: str, device: torch.device
) -> tuple[SegModel, TorchRuntime]:
    amp = find_amp(precision, device)
    # An image comes channels last, and resizing logits is twice as fast so on the CPU.
    prepared = prepare(model, device=device)
    return prepared, TorchRuntime(prepared, amp, device)


def _make_other(
    model: SegModel, name: str, precision: str, on_note: Callable[[str], None]
) -> Runtime:
    """Return a runtime that computes a graph of the network, from the cache or newly traced."""
    network = model.card.network
    if precision not in NUMBERS:
        raise DsegError(
            f"{TITLES[name]} does not compute networks in {precision}.",
            hint=f"choose one of: {', '.join(NUMBERS)}.",
        )
    number = NUMBERS[precision]
    threads = torch.get_num_threads()
    if name == "openvino":
        from dseg.predict.runtimes.openvino import OpenVinoRuntime as GraphRuntime
        from dseg.predict.runtimes.openvino import find_hint

        find_hint(number)  # before the network is traced
    else:
        from dseg.predict.runtimes.onnx import OnnxRuntime as GraphRuntime  # type: ignore[assignment]

    def compute(graph: Path | bytes, number: str) -> Runtime:
        return GraphRuntime(graph, model.card, GraphFacts(), number, threads)

    def check(graph: bytes) -> None:
        check_logits(model, compute(graph, "float32"))

    reason = ", usually faster than PyTorch on a CPU" if name == "openvino" else ""
    converting = f"Converting {network}, once for these weights, for {TITLES[name]}{reason}."
    graph = cached_graph(model, on_trace=partial(on_note, converting), check=check)
    return compute(graph, number)


@torch.inference_mode()
def check_logits(model: SegModel, runtime: Runtime) -> None:
    """Check the logits of a runtime against PyTorch's, at a size that was not traced.

    Args:
        model: network in evaluation mode.
        runtime: computes it in float32.

    Raises:
        TraceError: the logits differ by more than ``TOLERANCE`` standard deviations.
    """
    height, width = padded_size(model, CHECKED)
    view = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    view = view.contiguous(memory_format=torch.channels_last)
    expected = prepare(model, device="cpu").logits(view)[0]
    if not expected.isfinite().all():  # untrained networks exist whose scores overflow
        return
    found = runtime(view)
    same = found.shape == expected.shape
    if same and (found - expected).abs().max() <= TOLERANCE * expected.std():
        return
    raise TraceError(
        f"The graph of {model.card.network} computes other scores than the network.",
        hint="use --runtime torch.",
    )
