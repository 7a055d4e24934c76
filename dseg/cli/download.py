"""``dseg download``: fetch published weights, and list them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dseg.cli.console import download_display, plain
from dseg.cli.options.groups import DsegCommand, group
from dseg.cli.options.shared import json_option, quiet_option
from dseg.cli.options.types import FOLDER
from dseg.cli.stdio import emit_json
from dseg.cli.tables import show_table

if TYPE_CHECKING:
    from dseg.registry.weight_files import WeightFile


@click.command(cls=DsegCommand, short_help="Download published weights, or list them.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@group(
    "Results",
    click.option(
        "--out", "-o", type=FOLDER, metavar="DIR", help="Put the files there.  [default: the cache]"
    ),
    click.option("--overwrite", is_flag=True, help="Download files of Hugging Face again."),
    json_option("the facts of the files"),
)
@group(
    "General",
    quiet_option,
)
def download(
    names: tuple[str, ...], out: Path | None, overwrite: bool, json_file: Path | None, quiet: bool
) -> None:
    """Download the weights of networks and backbones, and print the paths of the files.

    Without NAME, list what can be downloaded, with size, licence and training data. A NAME is that
    of a network, of a backbone, or hf://owner/name/file[@revision] of Hugging Face. Each file is
    checked by its SHA-256; a broken download continues where it stopped. The cache is
    ~/.cache/dseg, or the folder in DSEG_CACHE. DSEG_OFFLINE=1 forbids the network, DSEG_MIRROR
    names another server, and proxies are those of HTTPS_PROXY.

    \b
    Example:
      dseg download
      dseg download dabnet espnet
      dseg download deeplabv3_r50_voc --out weights
    """
    facts = [_get(name, out, overwrite, quiet) for name in names] if names else _list()
    if json_file is not None:
        emit_json(json_file, facts)
    if str(json_file) == "-":
        return
    if names:
        for file in facts:
            click.echo(plain(file["path"]))
    else:
        _show(facts)


def _get(name: str, out: Path | None, overwrite: bool, quiet: bool) -> dict[str, Any]:
    """Download one file; return its facts."""
    from dseg.downloads import download_file, find_hub_file, find_named, is_hub_address

    display = download_display(quiet=quiet)
    if is_hub_address(name):
        path = find_hub_file(name, display, folder=out, again=overwrite)
        return {"name": name, "path": str(path), "bytes": path.stat().st_size}
    file = find_named(name)
    path = download_file(file, out, display, again=True)
    return {**file.facts(), "path": str(path), "bytes": path.stat().st_size}


def _list() -> list[dict[str, Any]]:
    """Return the facts of all files that can be downloaded."""
    from dseg.registry.weight_files import weight_files

    return [{**file.facts(), "path": _path(file)} for file in weight_files().values() if file.url]


def _path(file: WeightFile) -> str | None:
    """Return where a file is, None if it is not there."""
    from dseg.downloads import own_folders

    found = (folder / file.file for folder in own_folders())
    return next((str(path) for path in found if path.is_file()), None)


def _show(files: list[dict[str, Any]]) -> None:
    """Print a table of files, which fits 60 columns."""
    show_table(
        "",
        ("name", "MB", "licence", "trained on", "here"),
        (
            (
                file["name"],
                _megabytes(file["name"]),
                (file["licence"] or "not stated").removesuffix("-Clause"),
                ", ".join(file["trained_on"]) + ("*" if file["non_commercial_data"] else ""),
                "yes" if file["path"] else "no",
            )
            for file in files
        ),
        footer="* Images for research or non-commercial use only. Scores, and weights to fetch by "
        "hand: dseg models.",
    )


def _megabytes(name: str) -> str:
    """Return the size of a file in three digits, after a tilde if it is estimated."""
    from dseg.downloads import size_of
    from dseg.registry.weight_files import weight_files

    size, exact = size_of(weight_files()[name])
    digits = 1 if size < 1e8 else 0
    return f"{'' if exact else '~'}{size / 1e6:.{digits}f}"
