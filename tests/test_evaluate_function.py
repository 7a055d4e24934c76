"""``dseg.evaluation.evaluate``: the scores of ``dseg eval`` in one call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runs import run
from data_trees import make_camvid, save_image
from PIL import Image

from dseg.errors import DsegError
from dseg.evaluation import CityscapesScores, ClassScores, evaluate, make_json
from dseg.labels import unnamed_label_space

FRAME = "aachen_000000_000001"
TRUTH = [[7, 7, 8, 11, 23, 0], [26, 26, 26, 26, 24, 3]]
INSTANCES = [[7, 7, 8, 11, 23, 0], [26000, 26000, 26001, 26, 24000, 3]]
MASK = [[0, 0, 3, 3, 2, 2, 11, 10]]  # CamVid: sky, road, pole, ignored, bicyclist
PREDICTION = [[23, 11, 7, 12, 17, 17, 12, 7]]  # Cityscapes: one sky and one road are wrong


def save(path: Path, values: list[list[int]], dtype: Any = np.uint8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, dtype)).save(path)


@pytest.fixture
def cityscapes(tmp_path: Path) -> Path:
    """A frame of Cityscapes, and the output folder of ``dseg infer`` with one wrong pixel."""
    truth = tmp_path / "data/gtFine/val/aachen"
    save(truth / f"{FRAME}_gtFine_labelIds.png", TRUTH)
    save(truth / f"{FRAME}_gtFine_instanceIds.png", INSTANCES, np.uint16)
    save(tmp_path / f"out/label_ids/{FRAME}.png", [[8, *TRUTH[0][1:]], TRUTH[1]])
    save(tmp_path / f"out/train_ids/{FRAME}.png", [[1, 0, 1, 2, 10, 255], [13] * 4 + [11, 255]])
    return tmp_path


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    root = make_camvid(tmp_path / "camvid")
    save_image(root / "val/c.jpg", 1, 8)
    save(root / "valannot/c.png", MASK)
    save(tmp_path / "out/c.png", PREDICTION)
    return tmp_path


def command_scores(*words: object) -> dict[str, Any]:
    result = run("eval", *words, "-q", "--json", "-")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_ground_truth_alone_gets_the_official_scores_of_the_command(cityscapes: Path) -> None:
    scores = evaluate(cityscapes / "out", cityscapes / "data/gtFine/val")
    assert isinstance(scores, CityscapesScores)
    assert scores.mean_iou == (0.5 + 0.5 + 1 + 1 + 1 + 1) / 6
    assert scores.class_iiou["car"] == 1.0
    words = ("--pred-dir", cityscapes / "out", "--gt-dir", cityscapes / "data/gtFine/val")
    assert make_json(scores) == command_scores(*words)


@pytest.mark.parametrize(
    ("named", "options"),
    [
        ({}, ()),
        ({"dataset": "Cityscapes"}, ("--dataset", "cityscapes")),
        ({"pred_ids": "train"}, ("--pred-ids", "train")),
        ({"instances": False, "per_image": True}, ("--no-instances", "--per-image")),
    ],
)
def test_a_folder_of_cityscapes_is_scored_as_by_the_command(
    cityscapes: Path, named: dict[str, Any], options: tuple[str, ...]
) -> None:
    root = cityscapes / "data"
    scores = evaluate(str(cityscapes / "out"), data_dir=str(root), workers=1, **named)
    assert isinstance(scores, CityscapesScores)
    assert scores.class_iou["road"] == 0.5
    words = ("--pred-dir", cityscapes / "out", "--data-dir", root, *options)
    assert make_json(scores) == command_scores(*words)


def test_a_data_set_gets_plain_scores_of_the_command(camvid: Path) -> None:
    scores = evaluate(
        camvid / "out", dataset="camvid", data_dir=camvid / "camvid", label_space="cityscapes"
    )
    assert isinstance(scores, ClassScores)
    assert scores.class_iou["sky"] == 0.5
    facts = {"dataset": "camvid", "split": "val"}
    words = ("--dataset", "camvid", "--data-dir", camvid / "camvid", "--label-space", "cityscapes")
    found = command_scores("--pred-dir", camvid / "out", *words)
    left_out = found.pop("leftOutClasses")
    assert "train" in left_out
    assert facts | make_json(scores) == found


def test_folders_of_masks_are_scored_in_another_label_space(tmp_path: Path) -> None:
    save(tmp_path / "gt/a.png", [[0, 1, 2, 2]])
    save(tmp_path / "pred/a.png", [[0, 1, 2, 1]])
    scores = evaluate(tmp_path / "pred", tmp_path / "gt", label_space=unnamed_label_space(3))
    assert isinstance(scores, ClassScores)
    assert scores.mean_iou == (1 + 0.5 + 0.5) / 3
    words = ("--pred-dir", tmp_path / "pred", "--gt-dir", tmp_path / "gt", "--num-classes", 3)
    assert make_json(scores) == command_scores(*words)


@pytest.mark.parametrize(
    ("named", "problem"),
    [
        ({}, "No ground truth"),
        ({"gt_dir": "a", "data_dir": "b"}, "Two are named"),
        ({"dataset": "camvid"}, "data_dir"),
        ({"dataset": "camvd", "data_dir": "b"}, "camvd"),
        ({"dataset": "camvid", "gt_dir": "a", "data_dir": "b"}, "data_dir"),
        ({"data_dir": "b", "label_space": "camvid"}, "without dataset"),
        ({"gt_dir": "a", "label_space": "camvd"}, "camvd"),
        ({"gt_dir": "a", "pred_ids": "color"}, "'color'"),
        ({"gt_dir": "a", "label_space": "camvid", "pred_ids": "train"}, "pred_ids"),
        ({"gt_dir": "a"}, "does not exist"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(named: dict[str, Any], problem: str) -> None:
    with pytest.raises(DsegError, match=problem):
        evaluate("out", **named)


def test_train_ids_read_as_label_ids_are_refused(cityscapes: Path) -> None:
    save(cityscapes / f"ids/{FRAME}.png", [[0, 0, 1, 2, 10, 1], [13, 13, 13, 13, 11, 1]])
    with pytest.raises(DsegError, match="look like train ids"):
        evaluate(cityscapes / "ids", cityscapes / "data/gtFine/val")
