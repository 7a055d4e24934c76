"""``dseg models``: list the networks."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from dseg.errors import DsegError
from dseg.registry import MODELS, plain_name


@click.command(short_help="List the networks.")
@click.argument("words", nargs=-1, metavar="[WORD]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def models(words: tuple[str, ...], as_json: bool) -> None:
    """List the networks with their parameters and operations at 1024x2048.

    With words: those whose name, paper or label space contains all words. GMACs are
    multiply-accumulates, GFLOPs count each of them as two operations; both as
    torch.utils.flop_counter counts them. The last column is about weights: downloaded, download
    (dseg download NAME, or on first use), bundled, or manual (dseg download NAME explains).

    \b
    Example:
      dseg models
      dseg models pspnet r101
      dseg models --json
    """
    from pathlib import Path

    from dseg.cli.console import show_table
    from dseg.cli.stdio import emit_json

    rows = [_row(name) for name in MODELS if all(_matches(name, word) for word in words)]
    if not rows:
        raise DsegError(f"No network matches {' and '.join(words)}.", hint="list all: dseg models.")
    if as_json:
        emit_json(Path("-"), rows)
        return
    show_table(
        "",
        (
            *("network", "params (M)", "GMACs", "GFLOPs", "classes"),
            *("published mIoU (%)", "ours (%)", "weights"),
        ),
        (
            (
                row["name"],
                f"{row['params'] / 1e6:.2f}",
                f"{row['gmacs']:.1f}",
                f"{row['gflops']:.1f}",
                f"{row['num_classes']} ({row['label_space']})",
                row["published"],
                row["measured"],
                _in_words(row["download"]),
            )
            for row in rows
        ),
    )


def _matches(name: str, word: str) -> bool:
    """Return True if a network's facts contain a word, in any case and with ``-`` or ``_``."""
    spec = MODELS[name]
    text = f"{name} {spec.title} {spec.paper} {spec.label_space}"
    return plain_name(word) in plain_name(text)


def _row(name: str) -> dict[str, Any]:
    spec = MODELS[name]
    authors = spec.authors
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
        "outputs": spec.outputs,
        "mean": spec.mean,
        "std": spec.std,
        "order": spec.order,
        "protocol": asdict(spec.protocol),
        "authors_protocol": asdict(authors) if authors is not None else None,
        "multi_scales": spec.multi_scales,
        "weights": spec.weights,
        "link": spec.link,
        "licence": spec.licence,
        "source": spec.source,
        "published": spec.published,
        "measured": spec.measured,
        "recipe": spec.recipe,
        "download": _weights_facts(name),
    }


def _weights_facts(name: str) -> dict[str, Any]:
    """Return where the weights of a network are or come from, and under which terms."""
    from dseg.downloads import file_of, find_own
    from dseg.registry.weight_files import weight_files

    own, file = find_own(name), file_of(name)
    bundled = any(other.bundled and other.network == name for other in weight_files().values())
    if own is not None:
        state = "downloaded"
    elif file is not None and file.url:
        state = "download"
    elif bundled:
        state = "bundled"
    else:
        state = "manual" if file is not None else "none"
    path = None if own is None else str(own)
    facts = {} if file is None else file.facts()
    return {"state": state, "path": path, "bundled": bundled, **facts}


def _in_words(weights: dict[str, Any]) -> str:
    """Return the state of weights for the table."""
    from dseg.downloads import describe_size
    from dseg.registry.weight_files import weight_files

    state = str(weights["state"])
    if state == "download":
        state = f"download ({describe_size(weight_files()[weights['name']])})"
    return {"none": "-"}.get(state, state)
