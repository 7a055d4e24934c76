"""Segment and score the two bundled street scenes: masks, label ids, official score."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import click

import dseg

SAMPLES = Path(dseg.__file__).parent / "samples"


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path), default=Path("dseg-out"))
def main(out: Path) -> None:
    if out.exists():
        shutil.rmtree(out)
    run("infer", "--img-dir", SAMPLES / "leftImg8bit", "--out", out)
    ids = out / "transferred"
    run("transfer-labels", out / "color", "--out", ids)
    run("eval", "--pred-dir", ids, "--gt-dir", SAMPLES / "gtFine" / "demo")
    print("\nThe masks over their images:")
    for overlay in sorted((out / "overlay").rglob("*.png")):
        print(f"  {overlay}")


def run(*words: str | Path) -> None:
    """Print a dseg command, and run it."""
    print("\n$ dseg", *words, flush=True)
    done = subprocess.run([sys.executable, "-m", "dseg", *map(str, words)], check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
