"""``dseg inspect``: what a checkpoint file holds."""

from __future__ import annotations

from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dseg.cli.params import FILE, json_option, write_json

if TYPE_CHECKING:
    from dseg.checkpoints import Checkpoint


@click.command(short_help="Say what a checkpoint file holds.")
@click.argument("file", type=FILE)
@click.option("--keys", is_flag=True, help="List all keys with their shapes.")
@json_option("all of it")
def inspect(file: Path, keys: bool, json_file: Path | None) -> None:
    """Say what a checkpoint FILE holds: format, tensors, network, classes, scores.

    Files of dseg say it themselves; of others' files it is found out from the keys and shapes.
    No network is computed and no code in the file is run.

    \b
    Example:
      dseg inspect weights/denseASPP161.pkl
    """
    from dseg.checkpoints import read_checkpoint

    checkpoint = read_checkpoint(file)
    facts = _facts(checkpoint)
    if keys:
        facts["keys"] = {key: list(value.shape) for key, value in checkpoint.state.items()}
    if json_file is not None:
        write_json(json_file, facts)
    if json_file is None or str(json_file) != "-":
        for name, value in facts.items():
            _print(name, value)


def _facts(checkpoint: Checkpoint) -> dict[str, Any]:
    from dseg.checkpoints import find_networks, sha256

    state = checkpoint.state
    dtypes = sorted({str(value.dtype).removeprefix("torch.") for value in state.values()})
    facts: dict[str, Any] = {
        "file": str(checkpoint.path),
        "bytes": checkpoint.path.stat().st_size,
        "sha256": sha256(checkpoint.path),
        "format": checkpoint.kind,
        "container": checkpoint.container or "bare state dict",
        "beside it": list(checkpoint.extras),
        "tensors": len(state),
        "numbers": sum(value.numel() for value in state.values()),
        "types": dtypes,
    }
    if checkpoint.card is None:
        facts["fits"] = find_networks(checkpoint)
        return facts
    card = asdict(checkpoint.card)
    scores = card.pop("scores")
    card["scores"] = {name: score if isfinite(score) else None for name, score in scores.items()}
    space = card.pop("label_space")
    facts |= card | {"label_space": space["name"], "classes": space["names"]}
    facts["colors"] = space["colors"]
    return facts


def _print(name: str, value: object) -> None:
    """Print a fact as a line, a dict of facts as indented lines."""
    if isinstance(value, dict):
        click.echo(f"{name}:")
        for key, item in value.items():
            click.echo(f"  {key}: {item}")
    elif isinstance(value, (list, tuple)):
        click.echo(f"{name}: {', '.join(map(str, value)) or 'none'}")
    else:
        click.echo(f"{name}: {value}")
