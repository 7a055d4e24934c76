"""``dseg models``: the networks that there are."""

from __future__ import annotations

from typing import Any

import click

from dseg.registry import MODELS


@click.command(short_help="List the networks.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def models(as_json: bool) -> None:
    """List the networks with their parameters and operations at 1024x2048.

    GMACs are multiply-accumulates, GFLOPs count each of them as two operations; both as
    torch.utils.flop_counter counts them.

    \b
    Example:
      dseg models --json
    """
    from pathlib import Path

    from dseg.cli.console import show_table
    from dseg.cli.params import write_json

    rows = [_row(name) for name in MODELS]
    if as_json:
        write_json(Path("-"), rows)
        return
    show_table(
        "",
        ("network", "params (M)", "GMACs", "GFLOPs", "classes", "published mIoU (%)", "ours (%)"),
        (
            (
                row["name"],
                f"{row['params'] / 1e6:.2f}",
                f"{row['gmacs']:.1f}",
                f"{row['gflops']:.1f}",
                f"{row['num_classes']} ({row['label_space']})",
                row["published"],
                row["measured"],
            )
            for row in rows
        ),
    )


def _row(name: str) -> dict[str, Any]:
    spec = MODELS[name]
    return {
        "name": name,
        "title": spec.title,
        "paper": spec.paper,
        "params": spec.params,
        "gmacs": spec.macs / 1e9,
        "gflops": 2 * spec.macs / 1e9,
        "size": [1024, 2048],
        "num_classes": spec.num_classes,
        "label_space": spec.label_space,
        "weights": spec.weights,
        "source": spec.source,
        "published": spec.published,
        "measured": spec.measured,
        "recipe": spec.recipe,
    }
