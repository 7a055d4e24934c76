"""Write a network as ONNX, OpenVINO IR or a program of torch.export."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dseg import __version__
from dseg.checkpoints import sha256
from dseg.config.export import ExportConfig
from dseg.errors import DsegError
from dseg.export.quantise import calibrated, quantised
from dseg.files import written_whole
from dseg.graphs import (
    GraphFacts,
    add_facts,
    need,
    openvino_core,
    padded_size,
    trace,
    trace_program,
)
from dseg.graphs.facts import BIN, LICENCE, as_metadata
from dseg.graphs.trace import quiet
from dseg.models import SegModel

if TYPE_CHECKING:
    from onnx import ModelProto

MOST_BYTES = 2_000_000_000  # of a protocol buffer


def export(
    model: SegModel,
    weights: Path,
    config: ExportConfig,
    target: Path,
    *,
    on_note: Callable[[str], None] = lambda note: None,
) -> GraphFacts:
    """Write a network to a file.

    Args:
        model: network in evaluation mode.
        weights: its checkpoint file.
        config: format, size, precision, input and output.
        target: file to write; OpenVINO writes a ``.bin`` beside it.
        on_note: called with each sentence on what is being done.

    Returns:
        The facts that were written into its metadata.

    Raises:
        TraceError: the network cannot be exported so.
        DsegError: a package is missing, the size does not suit the network, or the file cannot be
            written.
    """
    _check_size(model, config)
    protocol = model.card.protocol
    facts = GraphFacts(
        input=config.input,
        output=config.output,
        size=config.size,
        multiple=1 if config.size else protocol.pad_multiple,
        remainder=0 if config.size else protocol.pad_remainder,
        upsampling=model.upsampling_by(protocol),
        align_corners=model.align_corners,
        precision=config.precision,
        weights=weights.name,
        sha256=sha256(weights),
        licence=config.licence or LICENCE,
        version=__version__,
    )
    options: dict[str, Any] = {
        "size": config.size,
        "pixels": config.input == "uint8",
        "labels": config.output == "labels",
    }
    if config.format == "torch":
        _write_program(trace_program(model, **options), model, facts, target)
        return facts
    half = config.precision == "fp16" and config.format == "onnx"
    on_note(f"Tracing {model.card.network}.")
    graph = trace(model, half=half, **options)
    if config.precision == "int8":
        calibration, images = calibrated(graph, model, config, on_note)
        facts = replace(facts, calibration=_describe_calibration(config, images))
        graph = quantised(calibration, model, config, on_note)
    add_facts(graph, model.card, facts)
    if config.format == "onnx":
        _write_onnx(graph, target)
    else:
        _write_openvino(graph, model, facts, target)
    return facts


def _describe_calibration(config: ExportConfig, images: int) -> str:
    return f"{config.calibration}, images: {images}, float layers: {config.keep_float}"


def _check_size(model: SegModel, config: ExportConfig) -> None:
    """Refuse a size that the network would have to pad first."""
    if config.size is None or config.output == "labels":
        return
    fitting = padded_size(model, config.size)
    if fitting != config.size:
        height, width = config.size
        raise DsegError(
            f"{model.card.network} pads images of {height}x{width} before it reads them.",
            hint=f"use --size {fitting[0]}x{fitting[1]}, or --output labels.",
        )


def _write_onnx(graph: ModelProto, target: Path) -> None:
    if graph.ByteSize() > MOST_BYTES:
        raise DsegError(
            f"The graph has {graph.ByteSize() / 1e9:.1f} GB; one file of ONNX holds 2.",
            hint="use --format openvino, or --precision fp16.",
        )
    with written_whole(target) as part:
        part.write_bytes(graph.SerializeToString())


def _write_openvino(graph: ModelProto, model: SegModel, facts: GraphFacts, target: Path) -> None:
    """Write ``.xml`` and ``.bin``, each whole or not at all; the first has the other's digest."""
    openvino = need("openvino")
    read = openvino_core().read_model(graph.SerializeToString())
    for key, value in as_metadata(model.card, facts).items():
        read.set_rt_info(value, ["dseg", key])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        made = Path(folder, "graph.xml")
        half = facts.precision == "fp16"
        openvino.save_model(read, made, compress_to_fp16=half)
        read.set_rt_info(sha256(made.with_suffix(".bin")), ["dseg", BIN])
        openvino.save_model(read, made, compress_to_fp16=half)
        for suffix in (".bin", ".xml"):
            with written_whole(target.with_suffix(suffix)) as part:
                shutil.copyfile(made.with_suffix(suffix), part)


def _write_program(
    program: torch.export.ExportedProgram, model: SegModel, facts: GraphFacts, target: Path
) -> None:
    metadata = json.dumps(as_metadata(model.card, facts))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        made = Path(folder, "graph.pt2")
        with quiet():
            torch.export.save(program, made, extra_files={"dseg.json": metadata})
        with written_whole(target) as part:
            shutil.copyfile(made, part)
