"""Convert the best weights of a run to a bundled checkpoint: half precision, with its scores.

Scores it on the test split of CamVid, mapped onto Cityscapes' classes, and on drawn scenes of the
validation split, writes dseg/weights/<network>.safetensors and prints its row of weights/README.md.

Example:
    python scripts/bundle_weights.py RUN --camvid CamVid --scenes scenes
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import torch
from safetensors import safe_open

import dseg
from dseg.checkpoints import save_model, sha256
from dseg.datasets import load_dataset
from dseg.distributed import Group
from dseg.labels import LABEL_SPACES
from dseg.training.validate import validate

WEIGHTS = Path(dseg.__file__).parent / "weights"
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(help=__doc__)
@click.argument("run", type=FOLDER)
@click.option("--camvid", type=FOLDER, required=True)
@click.option("--scenes", type=FOLDER, required=True)
@click.option("--out", type=click.Path(path_type=Path), default=WEIGHTS)
def main(run: Path, camvid: Path, scenes: Path, out: Path) -> None:
    source = run / "best.safetensors"
    with safe_open(source, framework="pt") as file:
        training = json.loads(file.metadata()["dseg"])["training"]
    training.pop("datasets", None)  # contains local paths
    model = dseg.load_model(weights=source)
    target = out / f"{model.card.network}.safetensors"
    save_model(model, target, training=training, half=True)
    halved = dseg.load_model(weights=target)  # score the weights as stored
    scores = {
        "camvid_test_miou": score(halved, "camvid", camvid, "test"),
        "scenes_val_miou": score(halved, "scenes", scenes, "val"),
    }
    save_model(halved, target, training=training, scores=scores, half=True)
    size = target.stat().st_size / 1e6
    numbers = " | ".join(f"{100 * value:.2f}" for value in scores.values())
    print(
        f"| `{target.name}` | {size:.2f} MB | {training['epoch']:g} epochs | {numbers} | "
        f"`{sha256(target)}` |"
    )


def score(model: dseg.models.SegModel, name: str, root: Path, split: str) -> float:
    """Return the mean IoU over the classes that occur in the masks of the data set."""
    torch.manual_seed(0)
    dataset = load_dataset(name, root, split, space=LABEL_SPACES["cityscapes"])
    found = validate(model, dataset, Group(), device="cpu")
    assert found is not None
    for label, iou in found.class_iou.items():
        print(f"{name} {split}  {label:16} {100 * iou:6.2f}")
    print(f"{name} {split}  mean of {len(dataset.classes)} classes {100 * found.mean_iou:.2f}")
    return found.mean_iou


if __name__ == "__main__":
    main()
