"""GraphFacts: what an exported file says about itself, and the graph in it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dseg.checkpoints import sha256
from dseg.checkpoints.model_card import describe_card, read_card
from dseg.errors import CheckpointError, DsegError
from dseg.graphs.needs import need, openvino_core
from dseg.jsonio import parse_object, show
from dseg.models import ModelCard
from dseg.protocol import Size

if TYPE_CHECKING:
    from onnx import ModelProto

CARD, FACTS = "dseg", "dseg_graph"  # keys of the metadata
BIN = "bin_sha256"  # digest of the .bin beside an .xml file
LICENCE = "that of the weights; dseg itself: Apache-2.0"
GRAPH_SUFFIXES = (".onnx", ".xml")
INPUTS = {"float": "(N, 3, H, W) float32, normalised", "uint8": "(N, H, W, 3) uint8, RGB"}
OUTPUTS = {
    "logits": "(N, K, h, w) float32, at the network's stride",
    "labels": "(N, H, W) uint8, train ids",
}
PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True, kw_only=True)
class GraphFacts:
    """How an exported graph is fed, and what it was made from.

    Attributes:
        input: ``float``: normalised; ``uint8``: RGB pixels, normalised within the graph.
        output: ``logits`` at the network's stride, or ``labels``, train ids at the image's size.
        size: (height, width) of the only size of image; None for any.
        multiple, remainder: both sides of an image have to be multiples plus this remainder.
        upsampling: interpolation by which logits are resized, ``bilinear`` or ``bicubic``.
        align_corners: whether ``bilinear`` is with aligned corners.
        precision: ``fp32``, ``fp16`` or ``int8``.
        weights: name of the checkpoint file.
        sha256: digest of the checkpoint file.
        calibration: how int8 ranges were found; empty for other precisions.
        licence: licence of the file.
        version: version of dseg that wrote it.
    """

    input: str = "float"
    output: str = "logits"
    size: Size | None = None
    multiple: int = 1
    remainder: int = 0
    upsampling: str = "bilinear"
    align_corners: bool = True
    precision: str = "fp32"
    weights: str = ""
    sha256: str = ""
    calibration: str = ""
    licence: str = LICENCE
    version: str = ""


def as_metadata(card: ModelCard, facts: GraphFacts) -> dict[str, str]:
    """Return the metadata of an exported file: two JSON objects, and facts in words."""
    space = card.label_space
    return {
        CARD: json.dumps(describe_card(card)),
        FACTS: json.dumps(asdict(facts)),
        "classes": ", ".join(space.names),
        "colors": " ".join("#{:02x}{:02x}{:02x}".format(*color) for color in space.colors),
        "input": f"{INPUTS[facts.input]}; mean {card.mean} and std {card.std} of 0..1 {card.order}",
        "output": OUTPUTS[facts.output],
        "licence": facts.licence,
    }


def add_facts(graph: ModelProto, card: ModelCard, facts: GraphFacts) -> None:
    """Write a model card and facts into the metadata of an ONNX graph."""
    graph.producer_name, graph.producer_version = "dseg", facts.version
    del graph.metadata_props[:]
    for key, value in as_metadata(card, facts).items():
        entry = graph.metadata_props.add()
        entry.key, entry.value = key, value


def read_graph(path: Path) -> tuple[Any, ModelCard, GraphFacts]:
    """Read an exported file: its graph, model card and facts.

    Returns:
        An ``onnx.ModelProto`` for ``.onnx``, an ``openvino.Model`` for ``.xml``; its model card;
        its facts.

    Raises:
        CheckpointError: missing, damaged, or not written by ``dseg export``.
        DsegError: the package that reads it is not installed.
    """
    if not path.is_file():
        raise CheckpointError(
            f"{path} does not exist.", hint="name an exported .onnx or .xml file."
        )
    graph, metadata = (_read_openvino if path.suffix == ".xml" else _read_onnx)(path)
    if CARD not in metadata or FACTS not in metadata:
        raise CheckpointError(
            f"{path} was not written by dseg export: it has no model card.",
            hint="export the network's checkpoint with dseg export.",
        )
    return graph, read_card(path, metadata[CARD]), _parse_facts(path, metadata[FACTS])


def _read_onnx(path: Path) -> tuple[Any, dict[str, str]]:
    onnx = need("onnx")
    try:
        graph = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(graph)
    except Exception as fault:  # protobuf's and the checker's errors have no common class
        raise _damaged(path, str(fault)) from fault
    return graph, {entry.key: entry.value for entry in graph.metadata_props}


def _read_openvino(path: Path) -> tuple[Any, dict[str, str]]:
    core = openvino_core()
    with path.open("rb") as file:  # OpenVINO would try the formats of other frameworks in turn
        if b"<net" not in file.read(1000):
            raise _damaged(path, "it is not OpenVINO IR")
    try:
        graph = core.read_model(path)
    except RuntimeError as fault:
        raise _damaged(path, str(fault)) from fault
    if not graph.has_rt_info([CARD, CARD]):
        return graph, {}
    if graph.has_rt_info([CARD, BIN]):
        digest = str(graph.get_rt_info([CARD, BIN]).astype(str))
        if digest != sha256(path.with_suffix(".bin")):
            raise _damaged(path, "the .bin beside it is damaged, or that of another file")
    names = (CARD, FACTS)
    return graph, {name: str(graph.get_rt_info([CARD, name]).astype(str)) for name in names}


def _damaged(path: Path, reason: str) -> CheckpointError:
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    return CheckpointError(
        f"{path} cannot be read: {(lines or ['unknown reason'])[-1][:200].rstrip('.')}.",
        hint="export it again, or copy it again with the file beside it (.bin).",
    )


def _parse_facts(path: Path, text: str) -> GraphFacts:
    """Parse the facts of a file, whose values are checked where they are used."""
    try:
        data = parse_object(text)
        known = {name: data[name] for name in GraphFacts.__dataclass_fields__ if name in data}
        facts = GraphFacts(**known)
        if facts.size is not None:
            height, width = facts.size
            facts = replace(facts, size=(int(height), int(width)))
        for number in (facts.multiple, *(facts.size or ())):
            if type(number) is not int or number < 1:
                raise ValueError(f"{show(number)} is not a number of pixels")
        if type(facts.remainder) is not int or not 0 <= facts.remainder < facts.multiple:
            raise ValueError(f"{show(facts.remainder)} is not a remainder")
        for value, choices in (
            (facts.input, INPUTS),
            (facts.output, OUTPUTS),
            (facts.precision, PRECISIONS),
        ):
            if value not in choices:
                raise ValueError(f"{show(value)} is not one of {', '.join(choices)}")
        return facts
    except (DsegError, TypeError, ValueError) as fault:
        raise _damaged(path, f"its metadata is damaged: {fault}") from fault
