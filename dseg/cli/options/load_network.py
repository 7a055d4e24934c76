"""Load a predictor from the configuration of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dseg.cli.console import say
from dseg.config import NetworkConfig

if TYPE_CHECKING:
    from dseg.checkpoints import LoadReport
    from dseg.distributed import Group
    from dseg.predict import Manifest, Predictor


def load_network(
    config: NetworkConfig, group: Group, *, multi_scale: bool = False
) -> tuple[Predictor, Manifest]:
    """Load the network, by default the bundled one; return it with its manifest.

    Raises:
        CheckpointError: the file is missing, not a checkpoint, or of another network.
        DsegError: unknown network, device or precision.
    """
    from dseg.allocator import keep_freed_memory
    from dseg.checkpoints import find_bundled, find_file, find_weights, load_model, sha256
    from dseg.device import find_device
    from dseg.distributed import local_device
    from dseg.predict import Manifest, Predictor

    if config.model is not None:
        file = find_weights(config.model, config.weights)
    else:
        file = find_file(config.weights) if config.weights is not None else find_bundled()
        if config.weights is None and group.main:
            say(
                f"Using the bundled demo network {file.stem} (weak: see weights/README.md). Choose "
                "another with --model or --weights."
            )
    device = local_device(config.device, group)
    if find_device(device).type == "cpu":  # an unknown device is refused before a file is read
        keep_freed_memory()
    reports: list[LoadReport] = []
    model = load_model(
        config.model,
        file,
        partial=config.partial,
        inplace_abn=config.inplace_abn,
        raw_weights=config.raw_weights,
        on_report=reports.append,
        on_note=say if group.main else lambda note: None,
    )
    if group.main and not reports[0].complete:
        say(f"WARNING: the checkpoint fits only in part: {reports[0]}.")
    if group.main and config.protocol_name == "authors" and model.card.authors is None:
        say(f"{model.card.network} has no other protocol of its authors: using plain.")
    card = model.card
    protocol = config.make_protocol(
        card.network, card.protocol, card.authors, multi_scale=multi_scale
    )
    predictor = Predictor(model, protocol=protocol, device=device, amp=config.amp)
    manifest = Manifest.of(
        predictor,
        file.name,
        sha256(file),
        inplace_abn=reports[0].inplace_abn,
        raw_weights=config.raw_weights,
    )
    return predictor, manifest
