"""``dseg inspect``: describe a checkpoint file."""

from __future__ import annotations

from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dseg.cli.console import download_display, show
from dseg.cli.options.groups import DsegCommand, group
from dseg.cli.options.shared import json_option
from dseg.cli.options.types import FILE
from dseg.cli.stdio import emit_json
from dseg.labels import IGNORE

if TYPE_CHECKING:
    from dseg.checkpoints import Checkpoint
    from dseg.models import ModelCard

OLD_KEYS = {  # in the JSON of this release too
    "beside": "beside it",
    "void_outputs": "void outputs",
    "authors_protocol": "authors' protocol",
}


@click.command(cls=DsegCommand, short_help="Describe a checkpoint file.")
@click.argument("file", type=FILE)
@group(
    "Results",
    click.option("--keys", is_flag=True, help="List all keys with their shapes."),
    json_option("all facts"),
)
def inspect(file: Path, keys: bool, json_file: Path | None) -> None:
    """Describe a checkpoint or exported FILE: format, tensors, network, classes, scores.

    Files of dseg contain these facts; for other files they are derived from keys and shapes, and
    the notes list the assumptions. The network is not run, and no code in the file is executed.

    \b
    Example:
      dseg inspect weights/denseASPP161.pkl
    """
    from dseg.checkpoints import find_file, read_checkpoint
    from dseg.graphs.facts import GRAPH_SUFFIXES

    path = find_file(file, download_display())
    if path.suffix in GRAPH_SUFFIXES:
        facts = _exported_facts(path)
    else:
        checkpoint = read_checkpoint(path)
        facts = _facts(checkpoint)
        if keys:
            facts["keys"] = {key: list(value.shape) for key, value in checkpoint.state.items()}
    if json_file is not None:
        emit_json(
            json_file, facts | {old: facts[new] for new, old in OLD_KEYS.items() if new in facts}
        )
    if json_file is None or str(json_file) != "-":
        for name, value in facts.items():
            _print(name, _in_words(value) if "protocol" in name else value)


def _facts(checkpoint: Checkpoint) -> dict[str, Any]:
    from dseg.checkpoints import sha256

    state = checkpoint.state
    dtypes = sorted({str(value.dtype).removeprefix("torch.") for value in state.values()})
    facts: dict[str, Any] = {
        "file": str(checkpoint.path),
        "bytes": checkpoint.path.stat().st_size,
        "sha256": sha256(checkpoint.path),
        "format": checkpoint.kind,
        "container": checkpoint.container or "bare state dict",
        "beside": list(checkpoint.extras),
        "tensors": len(state),
        "numbers": sum(value.numel() for value in state.values()),
        "types": dtypes,
    }
    facts |= _published_facts(facts["sha256"])
    card = checkpoint.card
    if card is None:
        found, card = _find(checkpoint)
        facts |= found
    return facts if card is None else facts | _card_facts(card)


def _published_facts(digest: str) -> dict[str, Any]:
    """Return source, licence and training data of a file of the table, by its SHA-256."""
    from dseg.registry.weight_files import find_by_digest

    file = find_by_digest(digest)
    if file is None:
        return {}
    facts = file.facts()
    names = "source", "licence", "score", "score_source", "data_terms", "non_commercial_data"
    return {"published_as": file.name} | {name: facts[name] for name in names}


def _exported_facts(path: Path) -> dict[str, Any]:
    """Return the facts of a file of ``dseg export``."""
    from dseg.checkpoints import sha256
    from dseg.graphs import read_graph

    _, card, graph = read_graph(path)
    beside = [path.with_suffix(".bin")] if path.suffix == ".xml" else []
    facts: dict[str, Any] = {
        "file": str(path),
        "bytes": sum(file.stat().st_size for file in (path, *beside)),
        "sha256": sha256(path),
        "beside": [file.name for file in beside],
        "format": {".onnx": "ONNX", ".xml": "OpenVINO IR"}[path.suffix],
        "graph": asdict(graph),
    }
    return facts | _card_facts(card)


def _find(checkpoint: Checkpoint) -> tuple[dict[str, Any], ModelCard | None]:
    """Identify a file of another toolkit or author; return its facts and model card."""
    from dseg.checkpoints import find_networks, load_model
    from dseg.errors import CheckpointError

    facts: dict[str, Any] = {"fits": find_networks(checkpoint)}
    notes: list[str] = []
    try:
        model = load_model(weights=checkpoint.path, on_note=notes.append)
    except CheckpointError as fault:
        return {**facts, "notes": [*checkpoint.notes, f"{fault.problem} Hint: {fault.hint}"]}, None
    return {**facts, "notes": notes}, model.card


def _card_facts(card: ModelCard) -> dict[str, Any]:
    """Return the facts of a model card: how images are read and what outputs mean."""
    scores = {name: score if isfinite(score) else None for name, score in card.scores.items()}
    void = [index for index, meaning in enumerate(card.outputs) if meaning == IGNORE]
    return {
        "network": card.network,
        "kwargs": card.kwargs,
        "outputs": card.num_outputs,
        "void_outputs": void,
        "label_space": card.label_space.name,
        "classes": card.label_space.names,
        "colors": card.label_space.colors,
        "mean": card.mean,
        "std": card.std,
        "order": card.order,
        "protocol": asdict(card.protocol),
        "authors_protocol": asdict(card.authors) if card.authors is not None else None,
        "scores": scores,
    }


def _in_words(protocol: dict[str, Any] | None) -> str:
    """Return a protocol in words."""
    from dseg.protocol import Protocol

    return Protocol(**protocol).describe() if protocol is not None else "the same"


def _print(name: str, value: object) -> None:
    """Print a fact as a line, a dict of facts as indented lines."""
    if name == "notes":
        for note in value if isinstance(value, list) else ():
            show(f"note: {note}")
    elif isinstance(value, dict) and value:
        show(f"{name}:")
        for key, item in value.items():
            show(f"  {key}: {item}")
    elif isinstance(value, (list, tuple, dict)):
        show(f"{name}: {', '.join(map(str, value)) or 'none'}")
    elif name == "non_commercial_data":
        show(f"{name}: {'not settled' if value is None else 'yes' if value else 'no'}")
    else:
        show(f"{name}: {value}")
