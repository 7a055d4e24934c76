"""Options that several commands share, and the types that read their values."""

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
    """``--workers N``: processes or threads, by default one a core."""
    return click.option(
        "-j", "--workers", type=click.IntRange(min=1), default=None, metavar="N", help=what
    )


device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda[:N]|mps",
    help="Where the network is.",
)


amp_option = click.option(
    "--amp",
    type=click.Choice(["off", "auto", "bf16", "fp16"]),
    default="off",
    show_default=True,
    help="Reduced precision within the network.",
)


accept_lossy_option = click.option(
    "--accept-lossy",
    is_flag=True,
    help="Read masks that JPEG or another lossy compression may have changed.",
)


quiet_option = click.option("-q", "--quiet", is_flag=True, help="No progress, only the result.")
