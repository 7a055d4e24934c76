"""Open a file of ``dseg export`` as a network and its runtime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from dseg.errors import CheckpointError, DsegError
from dseg.graphs import GraphFacts, read_graph
from dseg.graphs.needs import is_installed
from dseg.labels import IGNORE
from dseg.models import ModelCard, SegModel, build_model
from dseg.predict.runtimes.base import TITLES, Runtime
from dseg.protocol import Protocol
from dseg.registry import find_model


def open_exported(
    path: Path,
    runtime: str = "auto",
    precision: str = "fp32",
    *,
    device: torch.device,
    name: str | None = None,
) -> tuple[SegModel, Runtime, GraphFacts]:
    """Open an exported ``.onnx`` or ``.xml`` file.

    Args:
        path: the file.
        runtime: ``auto`` (OpenVINO if it is installed), ``openvino``, or ``onnx`` for ONNX files.
        precision: ``fp32`` for that of the file, or ``bf16`` by OpenVINO.
        device: the CPU.
        name: network that it has to be of; None for any.

    Returns:
        A network without weights, which has the model card; its runtime; the facts of the file.

    Raises:
        CheckpointError: missing, damaged, or not written by ``dseg export``.
        DsegError: the runtime is not installed, or does not read this format; or the file is of
            another network.
    """
    if device.type != "cpu":
        raise DsegError(
            f"{path.name} is an exported network, which is computed on the CPU.",
            hint="use --device cpu, or the checkpoint that it was exported from.",
        )
    chosen = _choose(path, runtime)
    graph, card, facts = read_graph(path)
    if name is not None and find_model(name) != card.network:
        raise DsegError(
            f"{path.name} is an exported {card.network}, not {find_model(name)}.",
            hint="name that network, or none.",
        )
    computed = _find_precision(path, facts, chosen, precision)
    model = _make_shell(path, card, facts)
    threads = torch.get_num_threads()
    if chosen == "openvino":
        from dseg.predict.runtimes.openvino import OpenVinoRuntime

        file = graph if path.suffix == ".xml" else path
        return model, OpenVinoRuntime(file, card, facts, computed, threads), facts
    from dseg.predict.runtimes.onnx import OnnxRuntime

    return model, OnnxRuntime(path, card, facts, computed, threads), facts


def _find_precision(path: Path, facts: GraphFacts, runtime: str, precision: str) -> str:
    """Return the precision in which a runtime computes an exported file.

    Raises:
        DsegError: the file cannot be computed in that precision.
    """
    if facts.precision == "int8" and precision in ("auto", "fp32", "int8"):
        return "int8"
    if precision == "int8":
        raise DsegError(
            f"{path.name} is not quantised: it was exported as {facts.precision}.",
            hint="export it with --precision int8, or leave --precision out.",
        )
    if precision == "bf16":
        return "bfloat16"
    halved = facts.precision == "fp16"
    if precision == "fp16" and not halved:
        raise DsegError(
            f"{path.name} was exported as {facts.precision}, not as fp16.",
            hint="export it with --precision fp16, or use --precision bf16.",
        )
    # OpenVINO converts weights to float32; its float16 results are wrong on CPUs
    return "float16" if halved and runtime == "onnx" else "float32"


def _choose(path: Path, runtime: str) -> str:
    """Return the runtime that computes an exported file."""
    if runtime == "auto":
        return "openvino" if path.suffix == ".xml" or is_installed("openvino") else "onnx"
    if runtime == "torch" or (runtime == "onnx" and path.suffix == ".xml"):
        raise DsegError(
            f"{TITLES[runtime]} does not read {path.name}.",
            hint="leave --runtime out, or name the checkpoint that it was exported from.",
        )
    return runtime


def _make_shell(path: Path, card: ModelCard, facts: GraphFacts) -> SegModel:
    """Build a network without weights, as the exported file is fed."""
    try:
        with torch.device("meta"):
            model = build_model(card.network, card.num_outputs, **card.kwargs).eval()
    except (DsegError, RuntimeError, ValueError, TypeError, LookupError) as fault:
        raise CheckpointError(
            f"{path} has damaged metadata: {str(fault).partition(chr(10))[0].rstrip('.')}.",
            hint="export it again.",
        ) from fault
    model.card = card
    if facts.output == "labels":  # which the graph pads, resizes and maps itself
        model.min_size = 1  # type: ignore[misc]
        outputs = (*range(card.label_space.num_classes), IGNORE)
        model.card = replace(
            card,
            outputs=outputs,
            protocol=replace(
                card.protocol, pad_multiple=facts.multiple, pad_remainder=facts.remainder
            ),
        )
    return model


def protocol_of(protocol: Protocol, facts: GraphFacts) -> Protocol:
    """Return a protocol with the only input size of an exported file, if it has one.

    Raises:
        DsegError: the file gives labels, and the protocol fuses scores.
    """
    fuses = len(protocol.scales) > 1 or protocol.flip or protocol.tile is not None
    if facts.output == "labels" and fuses:
        raise DsegError(
            "The exported file gives labels, which cannot be fused over scales, flips or tiles.",
            hint="export it with --output logits.",
        )
    if facts.size is None or protocol.input_size is not None:
        return protocol
    return replace(protocol.at_own_size(), input_size=facts.size)
