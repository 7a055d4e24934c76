"""Scores, compared with values computed by hand and with the official engine."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dseg.errors import DsegError
from dseg.evaluation import (
    evaluate_cityscapes,
    evaluate_official,
    make_csv,
    make_json,
    make_tables,
)
from dseg.evaluation.cityscapes.official_script import MODULE
from dseg.labels import find_label_space

SEEDS = range(6)
SIZES = [(1, 1), (1, 7), (33, 47), (64, 128)]
VEHICLES_AND_PEOPLE = range(24, 34)


def write_scene(folder: Path, frame: str, truth, prediction, instances=None):
    """Write one frame as Cityscapes does; returns ground truth and prediction."""
    truth = np.asarray(truth, np.uint8)
    gt_file = folder / "gt" / f"{frame}_gtFine_labelIds.png"
    pred_file = folder / "pred" / f"{frame}_leftImg8bit.png"
    for path in (gt_file, pred_file):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(truth).save(gt_file)
    Image.fromarray(np.asarray(prediction, np.uint8)).save(pred_file)
    values = truth if instances is None else np.asarray(instances)
    instance_file = gt_file.with_name(gt_file.name.replace("labelIds", "instanceIds"))
    Image.fromarray(values.astype(np.uint16)).save(instance_file)
    return gt_file, pred_file


def draw_scene(rng: np.random.Generator, height: int, width: int, labels):
    """Draw rectangles of labels; things are instances, or a group in one case of five."""
    truth = np.full((height, width), rng.choice(labels), np.uint8)
    instances = truth.astype(np.uint16)
    for number in range(24):
        top, left = rng.integers(height), rng.integers(width)
        box = np.s_[
            top : top + rng.integers(1, height // 2 + 2),
            left : left + rng.integers(1, width // 2 + 2),
        ]
        label = int(rng.choice(labels))
        truth[box] = label
        single = label in VEHICLES_AND_PEOPLE and rng.random() < 0.8
        instances[box] = label * 1000 + number if single else label
    prediction = np.where(
        rng.random(truth.shape) < 0.7, truth, rng.choice(labels, truth.shape)
    ).astype(np.uint8)
    return truth, prediction, instances


def draw_set(folder: Path, seed: int, size=None, count=4):
    """Write some frames; the odd seeds lack most classes, so that some scores are NaN."""
    rng = np.random.default_rng(seed)
    labels = np.arange(34) if seed % 2 == 0 else rng.choice(34, 9, replace=False)
    files = []
    for number in range(count):
        height, width = size or SIZES[int(rng.integers(len(SIZES)))]
        scene = draw_scene(rng, height, width, labels)
        files.append(write_scene(folder, f"town_{seed:06}_{number:06}", *scene))
    return [gt for gt, _ in files], [pred for _, pred in files]


def bits(value):
    """Replace floats for a bitwise comparison in which NaN equals NaN."""
    if isinstance(value, dict):
        return {key: bits(item) for key, item in value.items()}
    if isinstance(value, list):
        return value
    return float(value).hex()


# Two rows of eight: road is 7, car 26, bus 28. One car of 4 pixels, 3 found, one predicted as bus;
# one car of 2 pixels, both found; a road pixel is predicted as car; the last two are ignored.
TINY_TRUTH = [[7, 7, 7, 7, 7, 7, 0, 0], [26, 26, 26, 26, 26, 26, 28, 28]]
TINY_PREDICTION = [[7, 7, 7, 7, 7, 26, 7, 26], [26, 26, 26, 28, 26, 26, 28, 7]]
TINY_INSTANCES = [
    [7, 7, 7, 7, 7, 7, 0, 0],
    [26000, 26000, 26000, 26000, 26001, 26001, 28000, 28000],
]
CAR, BUS = 12794.0202738185, 35732.1511111111


@pytest.fixture
def tiny(tmp_path):
    scene = write_scene(tmp_path, "town_000000_000001", TINY_TRUTH, TINY_PREDICTION, TINY_INSTANCES)
    return [scene[0]], [scene[1]]


@pytest.mark.parametrize("engine", [evaluate_cityscapes, evaluate_official])
def test_the_tiny_scene_has_the_scores_computed_by_hand(tiny, engine):
    scores = engine(*tiny)
    assert scores.class_iou["road"] == 5 / 7  # 5 hits, 1 miss, 1 false alarm on the bus
    assert scores.class_iou["car"] == 5 / 7  # the car predicted on the ignored pixel is free
    assert scores.class_iou["bus"] == 1 / 3
    assert math.isnan(scores.class_iou["sky"])
    assert scores.mean_iou == pytest.approx((5 / 7 + 5 / 7 + 1 / 3) / 3, abs=1e-15)
    hits, misses = CAR * (3 / 4 + 2 / 2), CAR / 4
    assert scores.class_iiou["car"] == pytest.approx(hits / (hits + 1 + misses), abs=1e-12)
    assert scores.class_iiou["bus"] == pytest.approx(BUS / 2 / (BUS + 1), abs=1e-12)
    assert scores.category_iou["flat"] == 5 / 7
    assert scores.category_iou["vehicle"] == 7 / 9
    hits, misses = 2 * CAR + BUS / 2, BUS / 2
    expected = hits / (hits + 1 + misses)
    assert scores.category_iiou["vehicle"] == pytest.approx(expected, abs=1e-12)
    assert scores.priors["car"] == 6 / 16
    assert scores.confusion[26, 28] == 1
    assert scores.confusion.sum() == 16


@pytest.mark.parametrize("seed", SEEDS)
def test_both_engines_agree_to_the_last_bit(tmp_path, seed):
    files = draw_set(tmp_path, seed)
    ours = evaluate_cityscapes(*files, per_image=True).official_dict()
    official = evaluate_official(*files, per_image=True).official_dict()
    assert ours.keys() == official.keys()
    assert "perImageScores" in ours
    assert ours["confMatrix"] == official["confMatrix"]
    assert bits(ours) == bits(official)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_both_engines_agree_at_each_size(tmp_path, size):
    files = draw_set(tmp_path, 11, size, count=2)
    ours, official = evaluate_cityscapes(*files), evaluate_official(*files)
    assert bits(ours.official_dict()) == bits(official.official_dict())


def test_ignored_ground_truth_gives_nan_in_both_engines(tmp_path):
    blank = np.full((5, 6), 3)
    gt, pred = write_scene(tmp_path, "town_000000_000001", blank, np.full((5, 6), 26))
    ours, official = evaluate_cityscapes([gt], [pred]), evaluate_official([gt], [pred])
    assert math.isnan(ours.mean_iou)
    assert math.isnan(ours.mean_category_iiou)
    assert bits(ours.official_dict()) == bits(official.official_dict())


def test_caravans_count_for_the_category_of_a_car_but_have_no_iiou(tmp_path):
    truth, prediction = [[26, 26, 29, 29, 7]], [[29, 26, 29, 26, 29]]
    instances = [[26000, 26000, 29000, 29000, 7]]
    gt, pred = write_scene(tmp_path, "town_000000_000001", truth, prediction, instances)
    ours = evaluate_cityscapes([gt], [pred])
    assert ours.class_iiou["car"] == 0.5
    assert math.isnan(ours.class_iiou["caravan"])
    assert ours.category_iiou["vehicle"] == CAR / (CAR + 1)
    assert bits(ours.official_dict()) == bits(evaluate_official([gt], [pred]).official_dict())


def test_a_group_region_has_no_weight(tmp_path):
    truth, prediction = [[24, 24, 24, 24]], [[24, 24, 24, 7]]
    alone = write_scene(tmp_path, "town_000000_000001", truth, prediction)
    scores = evaluate_cityscapes([alone[0]], [alone[1]])
    assert scores.class_iou["person"] == 0.75
    assert math.isnan(scores.class_iiou["person"])
    parts = [[24, 24, 24000, 24000]]
    both = write_scene(tmp_path, "town_000000_000002", truth, prediction, parts)
    assert evaluate_cityscapes([both[0]], [both[1]]).class_iiou["person"] == 0.5


def test_the_number_of_workers_changes_no_bit(tmp_path):
    files = draw_set(tmp_path, 2, (33, 47), count=9)
    one = evaluate_cityscapes(*files, workers=1, per_image=True)
    many = evaluate_cityscapes(*files, workers=5, per_image=True)
    assert bits(one.official_dict()) == bits(many.official_dict())
    assert [image.mean_iou for image in one.images] == [image.mean_iou for image in many.images]


def test_per_image_scores_are_those_of_the_image_alone(tmp_path):
    gt, pred = draw_set(tmp_path, 4, (33, 47), count=3)
    images = evaluate_cityscapes(gt, pred, per_image=True).images
    assert [image.prediction for image in images] == pred
    for index, image in enumerate(images):
        alone = evaluate_cityscapes([gt[index]], [pred[index]])
        assert image.mean_iou == alone.mean_iou
        assert image.scored_pixels + image.ignored_pixels == 33 * 47
    official = evaluate_official(gt, pred, per_image=True).images
    assert [image.class_iou["road"] for image in images] == [
        image.class_iou["road"] for image in official
    ]


def test_without_instances_there_is_no_iiou_and_no_instance_file_is_read(tiny):
    tiny[0][0].with_name(tiny[0][0].name.replace("labelIds", "instanceIds")).unlink()
    for engine in (evaluate_cityscapes, evaluate_official):
        scores = engine(*tiny, instances=False)
        assert scores.class_iou["car"] == 5 / 7
        assert math.isnan(scores.class_iiou["car"])
        assert math.isnan(scores.mean_iiou)


def test_train_ids_score_like_the_label_ids_they_stand_for(tmp_path, tiny):
    lookup = np.zeros(256, np.uint8)
    for train_id, label_id in enumerate(find_label_space("cityscapes").label_ids):
        lookup[label_id] = train_id
    train = lookup[np.array(TINY_PREDICTION)]
    path = tmp_path / "train.png"
    Image.fromarray(train).save(path)
    ours = evaluate_cityscapes(tiny[0], [path], pred_ids="train")
    assert bits(ours.official_dict()) == bits(evaluate_cityscapes(*tiny).official_dict())


def test_sixteen_bits_and_palettes_hold_ids_too(tmp_path, tiny):
    image = Image.fromarray(np.array(TINY_PREDICTION, np.uint8))
    palette = image.copy()
    palette.putpalette([7] * 768)
    palette.save(tmp_path / "palette.png")
    Image.fromarray(np.array(TINY_PREDICTION, np.uint16)).save(tmp_path / "deep.png")
    for name in ("palette.png", "deep.png"):
        assert evaluate_cityscapes(tiny[0], [tmp_path / name]).class_iou["car"] == 5 / 7


def test_an_instance_file_of_eight_bits_has_no_instances(tiny):
    instance_file = tiny[0][0].with_name(tiny[0][0].name.replace("labelIds", "instanceIds"))
    Image.fromarray(np.array(TINY_TRUTH, np.uint8)).save(instance_file)
    ours, official = evaluate_cityscapes(*tiny), evaluate_official(*tiny)
    assert ours.class_iiou["car"] == 0.0  # a false alarm and nothing else
    assert bits(ours.official_dict()) == bits(official.official_dict())


def test_the_official_engine_leaves_nothing_behind(tiny, monkeypatch, capfd, tmp_path):
    monkeypatch.setenv("CITYSCAPES_EXPORT_DIR", str(tmp_path / "missing"))  # fatal at import
    monkeypatch.setenv("CITYSCAPES_RESULTS", "elsewhere")
    before = set(tmp_path.rglob("*"))
    had_in1d = hasattr(np, "in1d")
    known = MODULE in sys.modules
    assert evaluate_official(*tiny).class_iou["car"] == 5 / 7
    assert hasattr(np, "in1d") == had_in1d
    assert (MODULE in sys.modules) == known
    assert os.environ["CITYSCAPES_RESULTS"] == "elsewhere"
    assert capfd.readouterr() == ("", "")
    assert set(tmp_path.rglob("*")) == before


def test_the_official_engine_cannot_quit_the_process(tiny, tmp_path):
    other = tmp_path / "other.png"
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(other)
    with pytest.raises(DsegError, match=r"3x3 pixels, but .* has 8x2"):
        evaluate_official(tiny[0], [other])


@pytest.mark.parametrize("engine", [evaluate_cityscapes, evaluate_official])
@pytest.mark.parametrize(
    ("value", "says"),
    [(34005, "instance 34005, but label ids end at 33"), (7001, "road has no instances")],
)
def test_an_unknown_instance_is_refused(tmp_path, engine, value, says):
    scene = write_scene(tmp_path, "town_000000_000001", [[7]], [[7]], [[value]])
    with pytest.raises(DsegError, match=says):
        engine([scene[0]], [scene[1]])


def test_an_instance_file_of_another_size_is_refused(tmp_path):
    gt, pred = write_scene(tmp_path, "town_000000_000001", [[7, 7]], [[7, 7]], [[7]])
    with pytest.raises(DsegError, match=r"instanceIds.png has 1x1 pixels, but .* has 2x1"):
        evaluate_cityscapes([gt], [pred])


def test_lists_that_do_not_fit_are_refused(tiny):
    for engine in (evaluate_cityscapes, evaluate_official):
        with pytest.raises(DsegError, match="1 ground-truth files but 0 predictions"):
            engine(tiny[0], [])
        with pytest.raises(DsegError, match="nothing to score"):
            engine([], [])


def test_json_is_strict_and_csv_has_a_row_an_image(tiny):
    scores = evaluate_cityscapes(*tiny, per_image=True)
    text = json.dumps(make_json(scores, ["x"]), allow_nan=False)
    read = json.loads(text)
    assert read["classScores"]["car"] == 5 / 7
    assert read["classScores"]["sky"] is None
    assert read["averageScoreClasses"] == scores.mean_iou
    assert read["missing"] == ["x"]
    assert read["images"][0]["classScores"]["sky"] is None
    header, row = make_csv(scores.images)
    assert header[:4] == ["prediction", "scored_pixels", "pixel_accuracy", "mean_iou"]
    cells = dict(zip(header, row, strict=True))
    assert float(cells["car"]) == 5 / 7
    assert cells["sky"] == ""


def test_tables_show_percent_and_a_dash_for_an_absent_class(tiny):
    classes, categories = make_tables(evaluate_cityscapes(*tiny))
    assert ("car", "71.43", "87.50", "37.50") in classes.rows
    assert ("sky", "-", "-", "0.00") in classes.rows
    assert len(classes.rows) == 20
    assert len(categories.rows) == 8
    assert categories.rows[-1][0] == "mean"
