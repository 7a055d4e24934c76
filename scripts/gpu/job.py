"""Run one of the prepared jobs on a machine with a GPU.

Each job stops itself in time, and writes DIR/results.json after each of its parts. Every figure
stands beside its batch, size and precision, and the file names the machine.

Jobs: check (is all right on the GPU, and how fast).

Example:
    PYTHONPATH=.:scripts python scripts/gpu/job.py check --minutes 8 --out gpu-check --data camvid
    PYTHONPATH=.:scripts python scripts/gpu/job.py check --tiny --minutes 8 --out gpu-check
"""

from __future__ import annotations

import traceback
from pathlib import Path

import click
from check import PARTS
from desk import Desk

JOBS = {"check": PARTS}


@click.command(help=__doc__)
@click.argument("name", type=click.Choice(list(JOBS)))
@click.option("--minutes", default=8.0, help="After which it has stopped.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Results go there.")
@click.option("--data", type=click.Path(path_type=Path, exists=True), help="CamVid's folder.")
@click.option("--tiny", is_flag=True, help="Once and small, to try it without a GPU.")
@click.option("--only", multiple=True, help="These parts.")
def main(
    name: str, minutes: float, out: Path, data: Path | None, tiny: bool, only: tuple[str, ...]
) -> None:
    desk = Desk(out.resolve(), 60 * minutes, tiny)
    desk.say(f"{desk.results['machine']}")
    for part, run in JOBS[name].items():
        if only and part not in only:
            continue
        desk.say(f"{part}: {desk.left:.0f} s are left")
        try:
            desk.keep(part, run(desk, data.resolve() if data else None))
        except Exception:  # the other parts are worth having
            desk.keep(part, {"failed": traceback.format_exc()})
            desk.say(traceback.format_exc())
    desk.say("done")


if __name__ == "__main__":
    main()
