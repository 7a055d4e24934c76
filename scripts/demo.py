"""The main job on the two street scenes that ship: masks, label ids, official score.

No trained weights ship yet, so the network is a placeholder with random weights: the masks are
noise and the score is what noise scores. What is shown is that every step runs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import click
import torch

import dseg
from dseg.checkpoints import save_model

SAMPLES = Path(dseg.__file__).parent / "samples"
NETWORK = "mobilenetdenseaspp"


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path), default=Path("dseg-out"))
def main(out: Path) -> None:
    if out.exists():
        shutil.rmtree(out)
    weights = out / "PLACEHOLDER-random-weights.safetensors"
    torch.manual_seed(0)
    save_model(dseg.build_model(NETWORK), weights)
    images = SAMPLES / "leftImg8bit"
    run("infer", "--model", NETWORK, "--weights", weights, "--img-dir", images, "--out", out)
    ids = out / "transferred"
    run("transfer-labels", out / "color", "--out", ids)
    run("eval", "--pred-dir", ids, "--gt-dir", SAMPLES / "gtFine" / "demo")
    print(
        "\nThe weights were a PLACEHOLDER with random numbers: the score is that of noise."
        f"\nLook at {out / 'overlay'}; for real masks put a trained checkpoint in weights/."
    )


def run(*words: str | Path) -> None:
    """Run one dseg command as a user would, showing it first."""
    print("\n$ dseg", *words, flush=True)
    done = subprocess.run([sys.executable, "-m", "dseg", *map(str, words)], check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
