"""Options that several commands share."""

from __future__ import annotations

import click

from dseg.cli.options.types import FILE, Option


def json_option(what: str) -> Option:
    """``--json FILE``: write ``what`` as strict JSON, ``-`` for stdout."""
    return click.option(
        "--json",
        "json_file",
        type=FILE,
        metavar="FILE",
        help=f"Write {what} as JSON, '-' for stdout.",
    )


def workers_option(what: str) -> Option:
    """``--workers N``: number of processes or threads."""
    return click.option(
        "-j", "--workers", type=click.IntRange(min=1), default=None, metavar="N", help=what
    )


accept_lossy_option = click.option(
    "--accept-lossy",
    is_flag=True,
    help="Read masks that JPEG or another lossy compression may have changed.",
)


verbose_option = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Also say what is used and why, and the time of each stage.",
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Hide progress.")
