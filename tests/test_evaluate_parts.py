"""Evaluation: counts, plain scores, pairs of files, and the order of results."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dseg.errors import DsegError
from dseg.evaluation import evaluate_pairs, find_cityscapes_pairs, find_folder_pairs
from dseg.evaluation.confusion import class_iou, join_runs, joint_counts, mean_of_present
from dseg.labels import find_label_space, unnamed_label_space
from dseg.parallel import map_in_order


def write_masks(folder: Path, **masks):
    for name, values in masks.items():
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(values, np.uint8)).save(folder / f"{name}.png")


def test_plain_scores_are_those_computed_by_hand(tmp_path):
    write_masks(tmp_path / "gt", a=[[0, 0, 0, 1, 1, 11]], b=[[1, 255]])
    write_masks(tmp_path / "pred", a=[[0, 0, 1, 1, 11, 0]], b=[[1, 2]])
    pairs = find_folder_pairs(tmp_path / "gt", tmp_path / "pred")
    scores = evaluate_pairs(
        pairs.gt_files, pairs.pred_files, find_label_space("camvid"), per_image=True
    )
    assert scores.class_iou["Sky"] == 2 / 3
    assert scores.class_iou["Building"] == 2 / 4  # a prediction of "ignored" is a miss
    assert math.isnan(scores.class_iou["Pole"])  # predicted on an ignored pixel only
    assert scores.mean_iou == (2 / 3 + 2 / 4) / 2
    assert scores.class_accuracy["Building"] == 2 / 3
    assert scores.mean_accuracy == 2 / 3
    assert scores.pixel_accuracy == 4 / 6
    assert scores.ignored_pixels == 2
    assert scores.images[1].mean_iou == 1


def test_a_class_without_a_hit_lowers_the_mean(tmp_path):
    write_masks(tmp_path / "gt", a=[[0, 0, 1, 1]])
    write_masks(tmp_path / "pred", a=[[0, 0, 0, 0]])
    files = [tmp_path / "gt" / "a.png"], [tmp_path / "pred" / "a.png"]
    scores = evaluate_pairs(*files, unnamed_label_space(3))
    assert list(scores.class_iou.values())[:2] == [0.5, 0.0]
    assert scores.mean_iou == 0.25


def test_255_classes_fit_beside_ignored_pixels(tmp_path):
    write_masks(tmp_path / "gt", a=[[0, 254, 255]])
    write_masks(tmp_path / "pred", a=[[255, 254, 1]])
    files = [tmp_path / "gt" / "a.png"], [tmp_path / "pred" / "a.png"]
    assert evaluate_pairs(*files, unnamed_label_space(255)).mean_iou == 0.5


def test_counts_are_exact_in_areas_and_in_noise():
    rng = np.random.default_rng(0)
    for a, b in (rng.integers(0, 256, (2, 90, 301)), np.full((2, 90, 301), 5)):
        a[40:] = 3
        b[60:, 7:] = 200
        runs, lengths = join_runs(a.astype(np.uint8), b.astype(np.uint8))
        counts = joint_counts(*runs, lengths)
        assert counts.dtype == np.int64
        assert counts.sum() == 90 * 301
        for pair in ((3, 200), (3, 5), (5, 5)):
            assert counts[pair] == np.count_nonzero((a == pair[0]) & (b == pair[1]))


def test_runs_end_where_any_map_changes():
    runs, lengths = join_runs(np.array([[1, 1, 1], [1, 2, 2]]), np.array([[7, 8, 8], [8, 8, 8]]))
    assert [run.tolist() for run in runs] == [[1, 1, 2], [7, 8, 8]]
    assert lengths.tolist() == [1, 3, 2]


def test_iou_of_an_absent_class_is_nan_and_left_out_of_the_mean():
    scores = class_iou(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 0]]))
    assert scores[:2] == [0.75, 0.0]
    assert math.isnan(scores[2])
    assert mean_of_present(scores) == 0.375
    assert math.isnan(mean_of_present([math.nan]))


def test_results_come_in_order_and_only_few_wait():
    started = []

    def note(item):
        started.append(item)
        return -item

    results = map_in_order(note, range(50), workers=2)
    assert [next(results) for _ in range(3)] == [0, -1, -2]
    assert len(started) < 12
    assert list(results) == [-item for item in range(3, 50)]


def test_exactly_as_many_results_as_asked_for_are_computed_ahead():
    started = []
    results = map_in_order(started.append, range(9), workers=1, ahead=3, wait=True)
    next(results)
    until = time.monotonic() + 30
    while len(started) < 4 and time.monotonic() < until:
        time.sleep(0.001)
    assert started == [0, 1, 2, 3]


def test_a_fault_in_a_worker_is_raised_where_it_belongs():
    def fail(item):
        if item == 3:
            raise DsegError("three", hint="none")
        return item

    results = map_in_order(fail, range(9), workers=3)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DsegError, match="three"):
        next(results)


def test_pairs_are_found_at_any_depth_whatever_follows_the_frame(tmp_path):
    names = ["aachen_000000_000001", "aachen_000000_0000010", "ulm_000000_000002"]
    for depth, name in zip(["aachen", "aachen", "."], names, strict=True):
        gt, pred = tmp_path / "gt" / depth, tmp_path / "pred" / "x" / depth
        for folder, file in ((gt, f"{name}_gtFine_labelIds.png"), (pred, f"{name}_pred.png")):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / file).touch()
        (gt / f"{name}_gtFine_instanceIds.png").touch()
    (tmp_path / "pred" / ".hidden").mkdir()
    (tmp_path / "pred" / ".hidden" / f"{names[0]}.png").touch()
    (tmp_path / "pred" / "loop").symlink_to(tmp_path / "pred")
    pairs = find_cityscapes_pairs(tmp_path / "gt", tmp_path / "pred")
    assert [path.name for path in pairs.gt_files] == [
        f"{name}_gtFine_labelIds.png" for name in (names[1], names[0], names[2])
    ]
    assert [path.name.removesuffix("_pred.png") for path in pairs.pred_files] == [
        path.name.removesuffix("_gtFine_labelIds.png") for path in pairs.gt_files
    ]


def test_folders_pair_by_path_and_else_by_a_name_met_once(tmp_path):
    for folder in ("gt/one", "gt/two", "pred/one", "pred/elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("gt/one/a.png", "gt/two/b.png", "pred/one/a.bmp", "pred/elsewhere/b.png"):
        (tmp_path / file).touch()
    pairs = find_folder_pairs(tmp_path / "gt", tmp_path / "pred")
    assert [path.relative_to(tmp_path / "pred").as_posix() for path in pairs.pred_files] == [
        "one/a.bmp",
        "elsewhere/b.png",
    ]
