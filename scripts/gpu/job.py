"""Run one of the prepared jobs on a machine with a GPU.

Each job stops by itself in time, and also on SIGTERM, with everything kept: DIR/results.json
has the figures, each beside its device, precision and batch, and DIR.work the states, so that the
same command goes on. README.md beside this file says what each job needs and leaves.

Examples:
    python scripts/gpu/job.py camvid --minutes 8 --out gpu-camvid --data CamVid
    python scripts/gpu/job.py camvid --tiny --minutes 2 --out try
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

from needs import refuse_missing_packages  # noqa: E402

refuse_missing_packages()

import click  # noqa: E402
from jobs import JOBS, run_job  # noqa: E402

from dseg.errors import DsegError  # noqa: E402


@click.command(help=__doc__.replace("\n    python", "\n\n    python"))
@click.argument("name", type=click.Choice(list(JOBS)))
@click.option("--minutes", default=8.0, show_default=True, help="After which it has stopped.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Results go there.")
@click.option("--data", type=click.Path(path_type=Path), help="CamVid's folder.")
@click.option("--tiny", is_flag=True, help="Once and small, on the CPU, to try it.")
@click.option("--only", multiple=True, metavar="PART", help="These parts alone.")
@click.option(
    "--group", type=click.IntRange(1, 4), default=1, show_default=True, help="Networks of zoo."
)
@click.option(
    "--compile",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    show_default=True,
    help="Compile the network of camvid; auto: if the time that it saves is more than it takes.",
)
@click.option("--keep", multiple=True, metavar="NETWORK", help="Whose checkpoints zoo leaves.")
def main(
    name: str,
    minutes: float,
    out: Path,
    data: Path | None,
    tiny: bool,
    only: tuple[str, ...],
    group: int,
    compile: str,
    keep: tuple[str, ...],
) -> None:
    options = {"group": group, "compile": compile, "keep": list(keep)}
    try:
        code = run_job(
            name,
            out.resolve(),
            seconds=60 * minutes,
            tiny=tiny,
            data=None if data is None else data.resolve(),
            only=only,
            options=options,
        )
    except DsegError as fault:
        click.echo(f"Error: {fault.problem}\nHint: {fault.hint}", err=True)
        code = fault.exit_code
    sys.exit(code)


if __name__ == "__main__":
    main()
