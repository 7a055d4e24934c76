"""Run one of the prepared jobs on a machine with a GPU.

A job saves its results and stops at its time limit or on SIGTERM: DIR/results.json has
the figures with device, precision and batch, DIR.work the states, so that the same command resumes
the job. README.md in this folder lists what each job needs and writes.

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
@click.option("--minutes", default=8.0, show_default=True, help="Time limit.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of results.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of CamVid.")
@click.option("--tiny", is_flag=True, help="Try the job at a small size on the CPU.")
@click.option("--only", multiple=True, metavar="PART", help="Run only these parts.")
@click.option(
    "--group",
    type=click.IntRange(1, 4),
    default=1,
    show_default=True,
    help="Group of networks of zoo.",
)
@click.option(
    "--compile",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    show_default=True,
    help="Compile the network of camvid; auto: if that saves more time than it takes.",
)
@click.option(
    "--keep", multiple=True, metavar="NETWORK", help="Networks whose checkpoints zoo keeps."
)
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
