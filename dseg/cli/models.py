"""``dseg models``: list the networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from dseg.cli.console import show
from dseg.cli.options.groups import DsegCommand, group
from dseg.errors import DsegError
from dseg.registry import MODELS, plain_name

if TYPE_CHECKING:
    from dseg.speeds import Speed

START_WITH = "dabnet"
COLUMNS = ("network", "Cityscapes val", "params (M)", "weights", "ms here", "GMACs")
ORDERS = ("name", "score", "params", "gmacs", "ms")
FACTS = {
    "title": "network",
    "paper": "paper",
    "published": "published mIoU (%)",
    "measured": "measured here (%)",
    "params": "parameters",
    "gmacs": "GMACs at 1024x2048",
    "gflops": "GFLOPs at 1024x2048",
    "ms_here": "ms at 1024x2048 here",
    "num_classes": "classes",
    "label_space": "label space",
    "recipe": "recipe",
    "source": "release of its authors",
    "weights": "file of its authors",
    "link": "link",
    "licence": "licence of the file",
}


@click.command(cls=DsegCommand, short_help="List the networks.")
@click.argument("words", nargs=-1, metavar="[NAME|WORD]...")
@group(
    "Results",
    click.option(
        "--sort",
        type=click.Choice(ORDERS),
        help="Order; the best and the fastest come first.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table."),
)
def models(words: tuple[str, ...], sort: str | None, as_json: bool) -> None:
    """List the networks with their published score, parameters and operations at 1024x2048.

    With a NAME: its paper, scores, weights and recipe. With words: the networks whose name, paper
    or label space contains all of them. GMACs are multiply-accumulates, as
    torch.utils.flop_counter counts them. Weights: downloaded, download (dseg download NAME, or on
    first use), bundled, or manual (dseg download NAME explains). ms here: milliseconds an image on
    this machine, if dseg bench --model NAME has measured them.

    \b
    Example:
      dseg models
      dseg models dabnet
      dseg models pspnet r101
      dseg models --sort score
    """
    from pathlib import Path

    from dseg.cli.stdio import emit_json
    from dseg.cli.tables import show_table
    from dseg.speeds import read_speeds

    names = [name for name in MODELS if all(_matches(name, word) for word in words)]
    exact = [name for name in names if len(words) == 1 and plain_name(name) == plain_name(words[0])]
    if not names:
        raise DsegError(f"No network matches {' and '.join(words)}.", hint="list all: dseg models.")
    speeds = read_speeds()
    found = (_row(name, speeds.get(name)) for name in names)
    rows = sorted(found, key=lambda row: _rank(row, sort))
    if as_json:
        emit_json(Path("-"), rows)
    elif exact:
        _show_facts(next(row for row in rows if row["name"] == exact[0]))
    else:
        if not words:
            show(f"Start with: dseg infer --model {START_WITH} PHOTO")
            click.echo()
        show_table("", COLUMNS, map(_cells, rows), footer=_footer(speeds))


def _rank(row: dict[str, Any], sort: str | None) -> Any:
    """Return what rows are sorted by; the registry's order without ``sort``."""
    if sort is None:
        return 0
    if sort == "score":
        return -(row["score"] or 0)
    if sort == "ms":
        return row["ms_here"] or float("inf")
    return row[sort]


def _footer(speeds: Mapping[str, Speed]) -> str:
    """Return the line below the table."""
    if not speeds:
        return "Details: dseg models NAME. Milliseconds here: dseg bench --model NAME."
    device = next(iter(speeds.values())).device
    return f"Details: dseg models NAME. ms here: to the labels of 1024x2048 pixels, {device}."


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["name"],
        f"{row['score']:.2f}" if row["score"] else "-",
        f"{row['params'] / 1e6:.2f}",
        _in_words(row["download"]),
        f"{row['ms_here']:.0f}" if row["ms_here"] else "-",
        f"{row['gmacs']:.1f}",
    )


def _show_facts(row: dict[str, Any]) -> None:
    """Print the facts of one network, a line each."""
    facts = {FACTS[key]: row[key] for key in FACTS if row[key] not in ("", None)}
    facts["weights"] = _in_words(row["download"])
    facts[FACTS["ms_here"]] = _speed_in_words(row)
    wide = max(map(len, facts))
    for name, value in facts.items():
        text = f"{value:,}" if isinstance(value, int) else value
        text = f"{value:.1f}" if isinstance(value, float) else text
        show(f"{name:<{wide}}  {text}", indent=" " * (wide + 2))
    click.echo()
    show(f"Use it: dseg infer --model {row['name']} PHOTO")


def _speed_in_words(row: dict[str, Any]) -> str:
    """Return the milliseconds on this machine, or how to measure them."""
    if row["ms_here"] is None:
        return f"not measured: dseg bench --model {row['name']}"
    speed = row["ms_here_conditions"]
    return f"{speed['ms']:.1f} ({speed['runtime']}, {speed['precision']}; {speed['device']})"


def _matches(name: str, word: str) -> bool:
    """Return True if a network's facts contain a word, in any case and with ``-`` or ``_``."""
    spec = MODELS[name]
    text = f"{name} {spec.title} {spec.paper} {spec.label_space}"
    return plain_name(word) in plain_name(text)


def _row(name: str, speed: Speed | None) -> dict[str, Any]:
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
        "ms_here": None if speed is None else round(speed.ms, 3),
        "ms_here_conditions": None if speed is None else asdict(speed),
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
        "score": spec.score,
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
