"""``dseg eval --dataset``: any registered data set, scored as in validation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_runs import misused, refused, run, save_noise
from data_trees import TREES, make_camvid, make_cityscapes, make_folder, save_image, write
from PIL import Image
from ranks import exit_code, own_words, torchrun

from dseg.checkpoints import load_model
from dseg.datasets import Dataset, load_dataset
from dseg.distributed import Group
from dseg.evaluation.matching import find_dataset_pairs
from dseg.evaluation.miou import evaluate_dataset
from dseg.labels import find_label_space
from dseg.training.validate import count_pixels, score, validate

CITYSCAPES = find_label_space("cityscapes")
OFFICIAL = ("cityscapes", "scenes")
ONTO = ("--label-space", "cityscapes")
# Sky twice, road twice, pole twice, ignored, and a bicyclist, which Cityscapes does not have.
MASK = [[0, 0, 3, 3, 2, 2, 11, 10]]
# One sky is predicted as building, one road as wall, which no mask of CamVid can hold.
PREDICTION = [[23, 11, 7, 12, 17, 17, 12, 7]]


def save(path: Path, values) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)
    return path


def evaluate(pred_dir: Path, name: str, root: Path, *more: object):
    return run("eval", "--pred-dir", pred_dir, "--dataset", name, "--data-dir", root, *more)


def scores_of(pred_dir: Path, name: str, root: Path, *more: object):
    result = evaluate(pred_dir, name, root, "-q", "--json", "-", *more)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def save_right(pred_dir: Path, dataset: Dataset, kind: str = "label") -> None:
    """Write correct predictions, named after the images."""
    ids = dataset.space.label_ids if kind == "label" else range(dataset.space.num_classes)
    values = np.full(256, ids[0], np.uint8)
    values[: len(ids)] = ids
    for index, sample in enumerate(dataset.samples):
        prediction = values[dataset.read(index).train_ids]
        save(pred_dir / f"{sample.image.stem}.png", prediction)


@pytest.fixture
def camvid(tmp_path: Path) -> tuple[Path, str, Path]:
    """One validation image of CamVid, and a prediction in Cityscapes' label ids."""
    root = make_camvid(tmp_path / "camvid")
    save_image(root / "val/c.jpg", 1, 8)
    save(root / "valannot/c.png", MASK)
    save(tmp_path / "pred/c.png", PREDICTION)
    return tmp_path / "pred", "camvid", root


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """Three images of a folder whose masks are colours, and predictions at random."""
    rows = [{"name": "road", "color": [128, 64, 128]}, {"name": "hut", "color": [1, 2, 3]}]
    said = {"mask_colors": True, "ignore_colors": [[0, 0, 0]], "class": rows}
    write(tmp_path / "data/classes.json", json.dumps(said))
    colors = np.array([[128, 64, 128], [1, 2, 3], [0, 0, 0]], np.uint8)
    rng = np.random.default_rng(0)
    for name in ("a", "deep/b", "c"):
        save_image(tmp_path / f"data/images/val/{name}.png", 20, 30)
        save(tmp_path / f"data/masks/val/{name}.png", colors[rng.integers(0, 3, (20, 30))])
        save(tmp_path / f"pred/{name}.png", rng.choice([7, 8, 11, 26], (20, 30)))
    return tmp_path


@pytest.mark.parametrize("kind", ["label", "train"])
@pytest.mark.parametrize("name", TREES)
def test_right_predictions_of_every_data_set_score_100_percent(tmp_path, name, kind) -> None:
    root = TREES[name](tmp_path / "data")
    save_right(tmp_path / "pred", load_dataset(name, root, "train"), kind)
    more = ["--no-instances"] if name in OFFICIAL else []
    more += ["--pred-ids", "train"] if kind == "train" else []
    scores = scores_of(tmp_path / "pred", name, root, "--split", "train", *more)
    assert (scores["averageScoreClasses"], scores["numImages"]) == (1, 2)


def test_classes_that_no_mask_can_hold_are_left_out_of_the_mean(camvid) -> None:
    scores = scores_of(*camvid, *ONTO, "--per-image")
    present = {name: iou for name, iou in scores["classScores"].items() if iou is not None}
    assert present == {"road": 0.5, "building": 0, "pole": 1, "sky": 0.5}
    assert scores["averageScoreClasses"] == 0.5
    assert scores["pixelAccuracy"] == 4 / 6
    assert scores["ignoredPixels"] == 2
    assert scores["images"][0]["averageScoreClasses"] == 0.5
    assert (scores["dataset"], scores["split"], scores["labelSpace"]) == (
        *("camvid", "val"),
        "cityscapes",
    )
    assert scores["leftOutClasses"] == [
        *("wall", "traffic light", "terrain", "rider", "truck", "bus", "train"),
        *("motorcycle", "bicycle"),
    ]


def test_the_table_shows_a_dash_for_them_and_stderr_names_them(camvid) -> None:
    result = evaluate(*camvid, *ONTO)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("camvid val, classes of cityscapes, images: 1")
    rows = {line[0]: line[1] for line in map(str.split, result.stdout.splitlines()[1:]) if line[1:]}
    assert (rows["road"], rows["wall"], rows["building"], rows["mean"]) == (
        *("50.00", "-"),
        *("0.00", "50.00"),
    )
    assert "Left out of the mean, as masks cannot contain them: wall, traffic" in result.stderr
    assert evaluate(*camvid, *ONTO, "-q").stderr == ""


def test_the_scores_are_those_of_validation(here, infer, checkpoint) -> None:
    for number, name in enumerate("ab"):
        save_noise(f"data/val/{name}.png", 48, 64, number)
        mask = np.random.default_rng(number).integers(0, 12, (48, 64))
        save(Path(f"data/valannot/{name}.png"), mask)
    assert infer("data/val", "-o", "results", "--save", "label_ids,train_ids").exit_code == 0
    scores = scores_of(Path("results"), "camvid", Path("data"), *ONTO)
    dataset = load_dataset("camvid", Path("data"), "val", space=CITYSCAPES)
    validation = validate(load_model(weights=checkpoint), dataset, Group(), device="cpu")
    assert validation is not None
    matrix = np.array(scores["confMatrix"])
    assert matrix.shape == (19, 20)
    assert np.array_equal(matrix[:, :19], validation.matrix)
    assert matrix[:, 19].sum() == 0
    assert matrix.sum() > 4000
    assert matrix[:, 14].sum() > 100  # trucks, which no mask of CamVid holds
    assert scores["averageScoreClasses"] == validation.mean_iou
    assert scores["pixelAccuracy"] == validation.pixel_accuracy
    as_train_ids = scores_of(Path("results"), "camvid", Path("data"), *ONTO, "--pred-ids", "train")
    assert as_train_ids == scores


def test_colour_masks_are_scored_as_validation_scores_them(noise) -> None:
    write(
        noise / "classes.json",
        (noise / "data/classes.json").read_text().replace("hut", "Building"),
    )
    dataset = load_dataset(
        *("folder", noise / "data", "val"), space=CITYSCAPES, class_file=noise / "classes.json"
    )
    assert dataset.classes == {0, 2}
    matrix = np.zeros((19, 19), np.int64)
    lookup = np.array([CITYSCAPES.train_id_of(value) for value in range(256)], np.uint8)
    for index, sample in enumerate(dataset.samples):
        prediction = lookup[np.asarray(Image.open(noise / f"pred/{sample.name}.png"))]
        matrix += count_pixels(dataset.read(index).train_ids, prediction, 19)
    expected = score(matrix, dataset)
    pairs = find_dataset_pairs(dataset, noise / "pred")
    scores = evaluate_dataset(pairs.gt_files, pairs.pred_files, dataset)
    assert np.array_equal(scores.confusion[:, :19], expected.matrix)
    assert {str(a) for a in scores.class_iou.values()} == {
        str(b) for b in expected.class_iou.values()
    }
    assert scores.mean_iou == expected.mean_iou
    assert 0.1 < scores.mean_iou < 0.3


@pytest.mark.parametrize("name", OFFICIAL)
def test_cityscapes_and_scenes_keep_the_official_engine(tmp_path, name) -> None:
    root = make_cityscapes(tmp_path / "data")
    prediction = [[7, 7, 8, 21, 21, 23, 23, 4]] * 6
    save(tmp_path / "pred/ulm_000002_000019_leftImg8bit.png", prediction)
    words = ("eval", "--pred-dir", tmp_path / "pred", "--data-dir", root, "-q", "--no-instances")
    for more in ([], ["--json", "-"], ["--csv", "-"], ["--official", "--json", "-"]):
        named, plain = run(*words, "--dataset", name.upper(), *more), run(*words, *more)
        assert (named.exit_code, named.stdout) == (0, plain.stdout), named.output
    official = json.loads(run(*words, "--json", "-").stdout)
    mapped = scores_of(tmp_path / "pred", name, root, *ONTO)
    assert mapped["averageScoreClasses"] == official["averageScoreClasses"]
    assert mapped["averageScoreClasses"] < 1
    refused(
        run(*words[:-1], "--dataset", name),
        2,
        "have no instance file, which iIoU",
        "--no-instances",
    )


def test_label_ids_and_train_ids_may_be_mixed_among_the_masks(tmp_path) -> None:
    root = make_cityscapes(tmp_path / "data")
    bonn = root / "gtFine/train/bonn/bonn_000001_000019_gtFine_labelIds.png"
    bonn.unlink()
    mask = [[0, 8, 10, 255]] * 6
    save(bonn.with_name("bonn_000001_000019_gtFine_labelTrainIds.png"), np.repeat(mask, 2, axis=1))
    pred_dir = tmp_path / "pred"
    save_right(pred_dir, load_dataset("cityscapes", root, "train"))
    scores = scores_of(pred_dir, "cityscapes", root, "--split", "train", *ONTO)
    assert (scores["averageScoreClasses"], scores["ignoredPixels"]) == (1, 24)
    assert scores["priors"]["vegetation"] == 1 / 3


def test_predictions_of_a_folder_above_the_split_are_those_of_their_own_images(tmp_path) -> None:
    root = make_folder(tmp_path / "data")
    save_image(root / "images/val/a.jpg")
    save(root / "masks/val/a.png", [[2] * 8] * 6)
    for place, value in (("train/a", 1), ("train/deep/b", 1), ("val/a", 2), ("val/c", 1)):
        save(tmp_path / f"pred/{place}.png", [[value] * 8] * 6)
    scores = scores_of(tmp_path / "pred", "folder", root)
    assert scores["classAccuracies"]["car"] == (48 + 0) / (48 + 12)
    both = scores_of(tmp_path / "pred", "folder", root, "--split", "trainval", "--per-image")
    predictions = [Path(image["prediction"]) for image in both["images"]]
    assert [str(path.relative_to(tmp_path / "pred")) for path in predictions] == [
        *("train/a.png", "train/deep/b.png", "val/a.png", "val/c.png"),
    ]


def test_equal_names_are_distinguished_by_their_folders_only(tmp_path) -> None:
    root = make_folder(tmp_path / "data")
    save_image(root / "images/val/deep/c.jpg")
    save(root / "masks/val/deep/c.png", [[1] * 8] * 6)
    save(tmp_path / "pred/c.png", [[1] * 8] * 6)
    save(tmp_path / "pred/other/c.png", [[1] * 8] * 6)
    problem = f"1 of 2 ground-truth files have no prediction in {tmp_path / 'pred'}: c.png."
    refused(evaluate(tmp_path / "pred", "folder", root), 2, problem, "--split")


def test_two_predictions_for_an_image_are_both_named(camvid) -> None:
    pred_dir, _, _ = camvid
    save(pred_dir / "val/c.png", PREDICTION)
    refused(evaluate(*camvid, *ONTO), 2, f"Two predictions for c: {pred_dir / 'c.png'} and ", "")


def test_missing_predictions_are_counted_and_named(camvid) -> None:
    pred_dir, _, root = camvid
    save_image(root / "val/z.jpg")
    save(root / "valannot/z.png", [[0] * 8] * 6)
    problem = f"1 of 2 ground-truth files have no prediction in {pred_dir}: z.png."
    refused(evaluate(*camvid, *ONTO), 2, problem, "--allow-missing")
    result = evaluate(*camvid, *ONTO, "--allow-missing", "--json", "-")
    assert "WARNING: 1 of 2 images have no prediction" in result.stderr
    assert json.loads(result.stdout)["missing"] == ["z.png"]


def test_wrong_values_and_sizes_are_named(camvid) -> None:
    pred_dir, _, root = camvid
    refused(evaluate(*camvid), 2, "holds id 12 at 2 pixels and 2 other wrong ids", "--label-space")
    save(pred_dir / "c.png", [[0, 0, 3, 3, 2, 2, 11]])
    refused(evaluate(*camvid), 2, "has 7x1 pixels, but ", "size of the original image")
    save(pred_dir / "c.png", MASK)
    save(root / "valannot/c.png", [[0, 0, 3, 3, 2, 2, 99, 10]])
    problem = "valannot/c.png holds id 99 at 1 pixels; CamVid's 11 classes are 0 to 10"
    refused(evaluate(*camvid), 2, problem, "dseg check-data")
    save(root / "valannot/c.png", np.full((1, 8, 3), (0, 0, 9)))
    refused(evaluate(*camvid), 2, "valannot/c.png holds colours, not ids", "transfer-labels")


def test_an_unknown_colour_of_a_mask_is_named(noise) -> None:
    save(noise / "data/masks/val/a.png", np.full((20, 30, 3), 9))
    result = evaluate(noise / "pred", "folder", noise / "data", "--pred-ids", "label")
    refused(result, 2, "a.png holds the colour (9, 9, 9)", "class file")


def test_train_ids_in_place_of_label_ids_are_recognised(tmp_path) -> None:
    root = make_cityscapes(tmp_path / "data")
    pred_dir = tmp_path / "pred"
    save_right(pred_dir, load_dataset("cityscapes", root, "train"), "train")
    words = (pred_dir, "cityscapes", root, "--split", "train", *ONTO)
    problem = "look like train ids, not label ids: none is above 18, and 100.0% of the pixels"
    refused(evaluate(*words, "-q"), 2, problem, "--pred-ids train")
    assert scores_of(*words, "--pred-ids", "train")["averageScoreClasses"] == 1
    assert scores_of(*words, "--pred-ids", "label")["averageScoreClasses"] == 0
    for path in pred_dir.iterdir():
        save(path, [[0, 0, 8, 8, 10, 10, 255, 255]] * 6)
    refused(evaluate(*words, "-q"), 2, "look like train ids (0..18 and 255)", "--pred-ids train")
    for path in pred_dir.iterdir():
        save(path, [[7, 7, 21, 21, 23, 23, 4, 4]] * 6)
    refused(evaluate(*words, "--pred-ids", "train"), 2, "train ids are 0 to 18 and 255", "leave")


def test_train_ids_are_recognised_where_label_ids_are_the_same_numbers_reordered(tmp_path) -> None:
    root = make_folder(tmp_path / "data")
    save_right(tmp_path / "pred", load_dataset("folder", root, "val"), "train")
    result = evaluate(tmp_path / "pred", "folder", root, "-q")
    refused(result, 2, "look like train ids, not label ids: none is above 2", "--pred-ids train")


def test_train_ids_that_are_label_ids_too_are_recognised(tmp_path) -> None:
    """Use ADE20K, whose label ids are one more than its train ids, without class 0."""
    values = np.array([[3, 4, 5, 6], [7, 8, 9, 20]], np.uint8)
    save(tmp_path / "gt/a.png", values + 1)
    (tmp_path / "classes.json").write_text(
        json.dumps({"class": [{"name": f"c{k}", "id": k + 1} for k in range(30)]})
    )
    save(tmp_path / "images/val/a.png", np.zeros((2, 4, 3), np.uint8))
    save(tmp_path / "masks/val/a.png", values + 1)
    save(tmp_path / "pred/a.png", values)
    result = evaluate(tmp_path / "pred", "folder", tmp_path, "-q")
    refused(result, 2, "look like train ids, not label ids", "--pred-ids train")
    save(tmp_path / "pred/a.png", values + 1)
    assert scores_of(tmp_path / "pred", "folder", tmp_path)["averageScoreClasses"] == 1


def test_a_split_without_public_labels_is_refused(tmp_path) -> None:
    root = make_camvid(tmp_path / "data")
    save_image(root / "test/d.jpg")
    (root / "testannot").mkdir()
    save(tmp_path / "pred/d.png", [[0] * 8] * 6)
    problem = "1 of 1 images of the split test of camvid have no mask."
    refused(evaluate(tmp_path / "pred", "camvid", root, "--split", "test"), 2, problem, "--split")
    (root / "valannot/c.png").unlink()
    result = evaluate(tmp_path / "pred", "camvid", root)
    refused(result, 2, "1 of 1 images of the split val in", "add the masks")


def test_masks_that_are_all_ignored_are_refused(camvid) -> None:
    save(camvid[2] / "valannot/c.png", [[11] * 8])
    refused(evaluate(*camvid, *ONTO, "-q"), 2, "All pixels of the 1 ground-truth files", "")


def test_a_class_file_can_be_anywhere(tmp_path) -> None:
    root = make_folder(tmp_path / "data")
    said = tmp_path / "roads.json"
    (root / "classes.json").rename(said)
    save_right(tmp_path / "pred", load_dataset("folder", root, "val", class_file=said))
    assert evaluate(tmp_path / "pred", "folder", root).exit_code == 2
    scores = scores_of(tmp_path / "pred", "folder", root, "--classes", said)
    assert scores["labels"] == {"Road": 1, "car": 2, "puddle": 0}
    assert scores["leftOutClasses"] == []


def test_results_of_several_kinds_csv_and_a_threshold_work_as_elsewhere(camvid) -> None:
    pred_dir = camvid[0]
    (pred_dir / "label_ids").mkdir()
    (pred_dir / "c.png").rename(pred_dir / "label_ids/c.png")
    save(pred_dir / "color/c.png", np.full((1, 8, 3), (0, 0, 9)))
    assert evaluate(*camvid, *ONTO, "--fail-under", "50").exit_code == 0
    result = evaluate(*camvid, *ONTO, "--fail-under", "50.1", "--csv", "-", "-j", "2")
    assert result.exit_code == 4
    assert "Mean IoU 50.000 % is below 50.1 %" in result.stderr
    header, row = result.stdout.splitlines()
    assert header.startswith("prediction,scored_pixels,pixel_accuracy,mean_iou,road,sidewalk")
    assert row.startswith(f"{pred_dir / 'label_ids/c.png'},6,0.66666666")
    assert row.split(",")[3:9] == ["0.5", "0.5", "", "0.0", "", ""]


@pytest.mark.parametrize(
    ("words", "problem", "hint"),
    [
        (
            ["--dataset", "camvid", "--gt-dir", "a"],
            "--gt-dir cannot be combined with --dataset",
            "leave",
        ),
        (["--dataset", "camvid"], "folder of the data set camvid is missing", "--data-dir"),
        (["--dataset", "voc", "--data-dir", "a", "--num-classes", "3"], "--num-classes cannot", ""),
        (
            ["--dataset", "voc", "--data-dir", "a", "--ignore", "3"],
            "--ignore cannot be combined",
            "",
        ),
        (
            ["--dataset", "voc", "--data-dir", "a", "--official"],
            "--official is for Citys",
            "scenes",
        ),
        (["--dataset", "scenes", "--data-dir", "a", *ONTO, "--no-instances"], "--no-inst", "space"),
        (["--dataset", "voc", "--data-dir", "a", "--classes", "f"], "voc has fixed classes", ""),
        (["--classes", "f", "--gt-dir", "a"], "--classes requires --data-dir", "both"),
        (["--data-dir", ".", "--label-space", "voc"], "--data-dir is for Cityscapes", "--dataset"),
        (["--dataset", "voc", "--data-dir", "a", "--per-image"], "--per-image requires", ""),
        (["--dataset", "voc", "--data-dir", "gone"], "gone", ""),
    ],
)
def test_options_that_contradict_each_other_are_refused(words, problem, hint) -> None:
    refused(run("eval", "--pred-dir", "p", *words), 2, problem, hint)


def test_classes_that_cannot_be_mapped_and_unknown_names_are_refused(
    camvid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(evaluate(*camvid, "--label-space", "voc"), 2, "cannot be mapped", "camvid onto citys")
    refused(evaluate(*camvid, "--split", "night"), 2, "has no split 'night'", "there are: train")
    misused(evaluate(camvid[0], "camvd", camvid[2]), "No data set named 'camvd'. Did you mean")


@pytest.mark.slow
def test_two_processes_give_the_scores_of_one(noise) -> None:
    write(
        noise / "data/classes.json",
        (noise / "data/classes.json").read_text().replace("hut", "Building"),
    )
    words = (noise / "pred", "folder", noise / "data", *ONTO, "--per-image", "--split", "val")
    one = scores_of(*words)
    given = ["--pred-dir", words[0], "--dataset", "folder", "--data-dir", *words[2:]]
    two = torchrun("-m", "dseg", "eval", *given, "--json", noise / "two.json")
    assert exit_code(two) == 0, two.stderr
    assert json.loads((noise / "two.json").read_text()) == one
    assert own_words(two)[0].startswith(
        "Left out of the mean, as masks cannot contain them: sidewalk,"
    )
    assert len(own_words(two)) == 2
