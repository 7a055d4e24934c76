"""``dseg distill``: train a network, the student, from trained ones, its teachers."""

from __future__ import annotations

from typing import Any

import click

from dseg.cli.options.groups import DsegCommand
from dseg.cli.train import train_by_options
from dseg.cli.train.options import distill_options


@click.command("distill", cls=DsegCommand, short_help="Train a network from a trained one.")
@distill_options
@click.pass_context
def distill_command(ctx: click.Context, /, **values: Any) -> None:
    """Train a network as dseg train does, and let it follow a trained one, the teacher.

    \b
    Examples:
      dseg distill --teacher big.pth --model fastscnn --data-dir roads --out run
      dseg distill --teacher big.pth --data-dir roads --unlabelled photos --out run
      dseg distill --out run --resume

    The teacher is any checkpoint that dseg infer --weights takes, whose classes are those of the
    data or can be mapped onto them. It labels the same crops as the network, which learns its
    probabilities beside the masks. Images of --unlabelled need no masks: there the teacher alone is
    followed.

    Recipe, plan, the folder RUN and --resume are those of dseg train. run.json records the file and
    the SHA-256 of each teacher, and a resumed run refuses another one.
    """
    train_by_options(ctx, values)
