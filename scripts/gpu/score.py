"""Score the checkpoints of a job on CamVid's test split: whole images, one scale.

Prints a table row for each, and writes all scores to FOLDER/scores.json.

Examples:
    python scripts/gpu/score.py gpu-camvid --data CamVid --only last
    python scripts/gpu/score.py gpu-zoo --data CamVid
    python scripts/gpu/score.py gpu-bundled --data CamVid --label-space cityscapes
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

from needs import refuse_missing_packages  # noqa: E402

refuse_missing_packages()

import click  # noqa: E402
from context import describe_machine  # noqa: E402

from dseg.checkpoints import sha256  # noqa: E402
from dseg.cli import main as dseg  # noqa: E402
from dseg.files import written_whole  # noqa: E402

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(help=__doc__.replace("\n    python", "\n\n    python"))
@click.argument("folder", type=FOLDER)
@click.option("--data", type=FOLDER, required=True, help="Folder of CamVid.")
@click.option("--split", default="test", show_default=True, help="Split to score.")
@click.option(
    "--label-space", default="camvid", show_default=True, help="Label space of the networks."
)
@click.option("--only", metavar="NAME", help="Score only files of this name, such as last.")
@click.option("--device", default="cpu", show_default=True)
def main(
    folder: Path, data: Path, split: str, label_space: str, only: str | None, device: str
) -> None:
    files = sorted(folder.rglob("*.safetensors"))
    files = [file for file in files if only in (None, file.stem)]
    if not files:
        click.echo(
            f"Error: {folder} has no such checkpoint.\nHint: name the --out folder of a job.",
            err=True,
        )
        sys.exit(2)
    found = {}
    for file in files:
        scores = folder / f".{file.stem}-scores.json"
        words = ["eval", "--weights", file, "--dataset", "camvid", "--data-dir", data, "--quiet"]
        words += ["--split", split, "--label-space", label_space, "--device", device]
        try:
            dseg([*map(str, words), "--json", str(scores)], prog_name="dseg")
        except SystemExit as end:
            if end.code:
                raise
        name = file.relative_to(folder).as_posix()
        found[name] = {"sha256": sha256(file)} | json.loads(scores.read_text(encoding="utf-8"))
        scores.unlink()
    facts = {"split": split, "dtype": "fp32", "batch": 1, "machine": describe_machine()}
    with written_whole(folder / "scores.json") as file:
        file.write_text(json.dumps({**facts, "scores": found}, indent=1) + "\n", encoding="utf-8")
    for name, score in found.items():
        click.echo(f"| `{name}` | CamVid {split} {100 * score['averageScoreClasses']:.2f} % mIoU |")


if __name__ == "__main__":
    main()
