"""Load a predictor from the configuration of a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dseg.cli.console import download_display, say
from dseg.config import NetworkConfig
from dseg.errors import Detail

Say = Callable[[str], None]

if TYPE_CHECKING:
    from dseg.checkpoints import LoadReport
    from dseg.distributed import Group
    from dseg.predict import Manifest, Predictor


def load_network(
    config: NetworkConfig,
    group: Group,
    *,
    multi_scale: bool = False,
    quiet: bool = False,
    verbose: bool = False,
) -> tuple[Predictor, Manifest]:
    """Load the network, by default the bundled one; return it with its manifest.

    Raises:
        CheckpointError: the file is missing, cannot be downloaded, is not a checkpoint, or is of
            another network.
        DsegError: unknown network, device or precision.
    """
    from dseg.allocator import keep_freed_memory
    from dseg.checkpoints import sha256
    from dseg.device import check_bf16, find_device
    from dseg.distributed import local_device
    from dseg.graphs.facts import GRAPH_SUFFIXES
    from dseg.predict import Manifest

    # the first process downloads and decides; the file may be missing on another machine
    file = group.from_main(lambda: _find_checkpoint(config, quiet=quiet))
    if not file.is_file():
        file = _find_checkpoint(config, quiet=True)
    exported = file.suffix in GRAPH_SUFFIXES
    device = "cpu" if exported and config.device == "auto" else local_device(config.device, group)
    found = find_device(device)  # an unknown device is refused before a file is read
    check_bf16(config.precision, found)
    if found.type == "cpu":
        keep_freed_memory()
    if exported:
        predictor = _open_exported(config, file, device, multi_scale=multi_scale)
        return predictor, Manifest.of(predictor, file.name, sha256(file))
    predictor, inplace_abn = _load_checkpoint(
        config, file, device, multi_scale=multi_scale, note=_note_sayer(group, verbose=verbose)
    )
    manifest = Manifest.of(
        predictor,
        file.name,
        sha256(file),
        inplace_abn=inplace_abn,
        raw_weights=config.raw_weights,
    )
    return predictor, manifest


def _note_sayer(group: Group, *, verbose: bool) -> Say:
    """Return a function that shows notes: of several processes those of the first."""

    def note(line: str) -> None:
        if group.main and (verbose or not isinstance(line, Detail)):
            say(str(line))

    return note


def _find_checkpoint(config: NetworkConfig, *, quiet: bool) -> Path:
    """Return the checkpoint, downloaded first if need be; the bundled one if none is named."""
    from dseg.checkpoints import find_bundled, find_file, find_weights

    display = download_display(quiet=quiet)
    if config.model is not None:
        return find_weights(config.model, config.weights, display)
    if config.weights is not None:
        return find_file(config.weights, display)
    file = find_bundled()
    say(
        f"Using the bundled demo network {file.stem} (weak: see weights/README.md). Better: "
        f"--model {file.stem}, trained on Cityscapes (3 MB download); others: dseg models."
    )
    return file


def _load_checkpoint(
    config: NetworkConfig, file: Path, device: str, *, multi_scale: bool, note: Say
) -> tuple[Predictor, bool]:
    """Load a checkpoint; return its predictor, and whether it has in-place activated norms."""
    from dseg.checkpoints import load_model
    from dseg.predict import Predictor

    reports: list[LoadReport] = []
    model = load_model(
        config.model,
        file,
        partial=config.partial,
        inplace_abn=config.inplace_abn,
        raw_weights=config.raw_weights,
        on_report=reports.append,
        on_note=note,
    )
    if not reports[0].complete:
        note(f"WARNING: the checkpoint fits only in part: {reports[0]}.")
    card = model.card
    if config.protocol_name == "authors" and card.authors is None:
        note(f"{card.network} has no other protocol of its authors: using plain.")
    protocol = config.make_protocol(
        card.network, card.protocol, card.authors, multi_scale=multi_scale
    )
    predictor = Predictor(
        model,
        protocol=protocol,
        device=device,
        precision=config.precision,
        runtime=config.runtime,
        on_note=note,
    )
    return predictor, reports[0].inplace_abn


def _open_exported(
    config: NetworkConfig, file: Path, device: str, *, multi_scale: bool
) -> Predictor:
    """Open an exported file, which has its model card.

    Raises:
        DsegError: it is of another network than the named one, or does not suit the protocol.
    """
    from dseg.device import find_device
    from dseg.predict import Predictor
    from dseg.predict.runtimes import open_exported, protocol_of

    model, runtime, facts = open_exported(
        file, config.runtime, config.precision, device=find_device(device), name=config.model
    )
    card = model.card
    protocol = config.make_protocol(
        card.network, card.protocol, card.authors, multi_scale=multi_scale
    )
    return Predictor(model, protocol=protocol_of(protocol, facts), device=device, runtime=runtime)
