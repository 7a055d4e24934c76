"""The bundled synthetic street scenes are valid Cityscapes files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli_runs import run
from PIL import Image

import dseg
from dseg.images import MaskFile
from dseg.labels import find_label_space
from dseg.transfer import is_official_name, transfer_mask

SAMPLES = Path(dseg.__file__).parent / "samples"
FRAMES = ("dsegville_000000_000019", "dsegville_000001_000019")
WITH_INSTANCES = {24, 25, 26, 27, 28, 29, 30, 31, 32, 33}
SPACE = find_label_space("cityscapes")


def files_of(frame: str) -> tuple[Path, Path, Path]:
    """Return the files of the image, the label ids and the instance ids of a frame."""
    masks = SAMPLES / "gtFine/demo/dsegville"
    return (
        SAMPLES / "leftImg8bit/demo/dsegville" / f"{frame}_leftImg8bit.png",
        masks / f"{frame}_gtFine_labelIds.png",
        masks / f"{frame}_gtFine_instanceIds.png",
    )


def load(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize("frame", FRAMES)
def test_sizes_types_and_names(frame: str) -> None:
    image, label_ids, instance_ids = (load(path) for path in files_of(frame))
    assert image.shape == (512, 1024, 3) and image.dtype == np.uint8
    assert label_ids.shape == (512, 1024) and label_ids.dtype == np.uint8
    assert instance_ids.shape == (512, 1024) and instance_ids.dtype in (np.uint16, np.int32)
    assert all(is_official_name(path) for path in files_of(frame))


@pytest.mark.parametrize("frame", FRAMES)
def test_each_file_is_small(frame: str) -> None:
    assert max(path.stat().st_size for path in files_of(frame)) < 300_000


@pytest.mark.parametrize("frame", FRAMES)
def test_instances_agree_with_labels(frame: str) -> None:
    _, label_ids, instance_ids = (load(path).astype(int) for path in files_of(frame))
    assert set(np.unique(label_ids).tolist()) <= set(range(34))
    single = instance_ids >= 1000
    assert (instance_ids[single] // 1000 == label_ids[single]).all()
    assert (instance_ids[~single] == label_ids[~single]).all()
    assert set(np.unique(label_ids[single]).tolist()) <= WITH_INSTANCES
    assert not set(np.unique(label_ids[~single]).tolist()) & WITH_INSTANCES


def test_all_classes_and_several_instances_of_one_class_occur() -> None:
    found: set[int] = set()
    for frame in FRAMES:
        counts = np.bincount(load(files_of(frame)[1]).ravel(), minlength=256)
        found |= set(np.flatnonzero(counts >= 200).tolist())
        instances = np.unique(load(files_of(frame)[2]))
        assert (instances // 1000 == 26).sum() >= 4  # cars
        assert (instances // 1000 == 24).sum() >= 4  # persons
    assert set(SPACE.label_ids) <= found
    assert {1, 3} <= found  # bonnet and border, which are not scored


def test_the_two_scenes_differ_in_light() -> None:
    day, dusk = (load(files_of(frame)[0]).mean() for frame in FRAMES)
    assert day > 1.4 * dusk


@pytest.mark.parametrize("frame", FRAMES)
def test_the_labels_survive_conversion_to_colours_and_back(frame: str) -> None:
    label_ids = load(files_of(frame)[1])
    train_ids = transfer_mask(MaskFile(label_ids, None), SPACE, "label-ids", "color")
    palette = np.array(SPACE.palette(), np.uint8).reshape(256, 3)
    back = transfer_mask(MaskFile(palette[train_ids], None), SPACE, "color", "label-ids")
    scored = train_ids != 255
    assert (back[scored] == label_ids[scored]).all()
    assert not back[~scored].any()
    assert scored.mean() > 0.8


@pytest.mark.slow
def test_the_demo_labels_and_scores_them(tmp_path: Path) -> None:
    result = run("demo", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert [Path(line).name for line in result.stdout.splitlines()] == [
        f"{frame}_leftImg8bit.png" for frame in FRAMES
    ]


@pytest.mark.parametrize(
    ("name", "guess"), [("predict", "infer"), ("validate", "eval"), ("trian", "train")]
)
def test_a_command_of_another_toolkit_names_ours(name: str, guess: str) -> None:
    assert f"Did you mean {guess}?" in run(name).stderr
