"""Load the network of a predictor, by name, checkpoint or exported file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from dseg.checkpoints import LoadReport, find_bundled, find_file, find_weights, load_model
from dseg.device import find_device
from dseg.downloads import current_display
from dseg.graphs.facts import GRAPH_SUFFIXES
from dseg.models import SegModel
from dseg.predict.runtimes import Runtime, open_exported, protocol_of
from dseg.protocol import Protocol
from dseg.registry import find_model

Note = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A network with what a predictor and its manifest need to know of its file.

    Attributes:
        model: network in evaluation mode.
        file: its checkpoint or exported file.
        runtime: name of a runtime, or the opened file.
        device: name of a device.
        protocol: inference protocol, None for that of the model card.
        inplace_abn: whether the file was read as trained with in-place activated batch norm.
        raw_weights: whether the raw weights were used although the file has EMA weights.
    """

    model: SegModel
    file: Path
    runtime: str | Runtime
    device: str
    protocol: Protocol | None
    inplace_abn: bool = False
    raw_weights: bool = False


def load_network(
    name: str | None,
    weights: Path | str | None,
    *,
    device: str,
    precision: str,
    runtime: str,
    protocol: Protocol | None,
    partial: bool,
    inplace_abn: bool | None,
    raw_weights: bool,
    on_report: Callable[[LoadReport], None],
    on_note: Note,
) -> Loaded:
    """Load a network; see ``Predictor.load`` for the arguments and errors."""
    key = None if name is None else find_model(name)
    find_device(device)  # refuse it before a large file is read
    file = _find(key, weights, on_note)
    if file.suffix in GRAPH_SUFFIXES:
        place = find_device("cpu" if device == "auto" else device)
        chosen = "auto" if runtime == "torch" else runtime  # PyTorch does not read it
        model, opened, facts = open_exported(file, chosen, precision, device=place, name=name)
        own = protocol_of(protocol or model.card.protocol, facts)
        return Loaded(model=model, file=file, runtime=opened, device=str(place), protocol=own)
    reports: list[LoadReport] = []
    model = load_model(
        key,
        file,
        partial=partial,
        inplace_abn=inplace_abn,
        raw_weights=raw_weights,
        on_report=reports.append,
        on_note=on_note,
    )
    on_report(reports[0])
    return Loaded(
        model=model,
        file=file,
        runtime=runtime,
        device=device,
        protocol=protocol,
        inplace_abn=reports[0].inplace_abn,
        raw_weights=raw_weights,
    )


def _find(key: str | None, weights: Path | str | None, on_note: Note) -> Path:
    """Return the file of a network, downloaded first if need be; by default the bundled one."""
    display = replace(current_display(), note=on_note)
    if weights is None:
        return find_bundled() if key is None else find_weights(key, None, display)
    file = find_file(Path(weights), display)
    if key is None or file.suffix in GRAPH_SUFFIXES:
        return file
    return find_weights(key, Path(weights), display)
