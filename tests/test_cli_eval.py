"""``dseg eval`` as a user runs it: what it prints, writes and refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from dseg.cli import main

FRAMES = ("aachen_000000_000001", "ulm_000003_000019")
TRUTH = np.array([[7, 7, 8, 11, 23, 0], [26, 26, 26, 26, 24, 3]], np.uint8)
INSTANCES = np.array([[7, 7, 8, 11, 23, 0], [26000, 26000, 26001, 26, 24000, 3]], np.uint16)
TRAIN_ID = {7: 0, 8: 1, 11: 2, 23: 10, 26: 13, 24: 11, 0: 255, 3: 255}


def save(path: Path, values) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values)).save(path)


def as_train_ids(values) -> np.ndarray:
    return np.vectorize(TRAIN_ID.get)(values).astype(np.uint8)


@pytest.fixture
def tree(tmp_path):
    """A Cityscapes tree of two frames, and predictions with one wrong pixel in twelve."""
    for frame in FRAMES:
        city = tmp_path / "data" / "gtFine" / "val" / frame.split("_")[0]
        save(city / f"{frame}_gtFine_labelIds.png", TRUTH)
        save(city / f"{frame}_gtFine_instanceIds.png", INSTANCES)
        prediction = TRUTH.copy()
        prediction[0, 0] = 8
        save(tmp_path / "pred" / f"{frame}_leftImg8bit.png", prediction)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(main, ["eval", *map(str, arguments)])


def run_tree(tree, *more):
    gt_dir = tree / "data" / "gtFine" / "val"
    return run("--pred-dir", tree / "pred", "--gt-dir", gt_dir, *more)


def refused(result, code, problem, hint):
    """Check that a fault is two lines, with its exit code and nothing on stdout."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    first, second = result.stderr.strip().splitlines()[-2:]
    assert first.startswith("Error: ")
    assert problem in first
    assert second.startswith("Hint: ")
    assert hint in second
    assert "Traceback" not in result.output


def change_prediction(tree, values, frame=FRAMES[1]):
    save(tree / "pred" / f"{frame}_leftImg8bit.png", values)


@pytest.mark.parametrize("engine", [[], ["--official"]], ids=["ours", "official"])
def test_the_table_is_on_stdout_and_the_rest_on_stderr(tree, engine):
    result = run_tree(tree, *engine)
    assert result.exit_code == 0, result.output
    rows = {line[0]: line[1:] for line in map(str.split, result.stdout.splitlines()) if line}
    assert rows["road"][:2] == ["50.00", "-"]
    assert rows["sidewalk"][0] == "50.00"
    assert rows["car"][:2] == ["100.00", "100.00"]
    assert rows["flat"][0] == "100.00"
    assert rows["mean"][0] == "100.00"  # of the categories, printed last
    assert "83.33" in result.stdout  # of the classes: (50 + 50 + 4 * 100) / 6
    assert "Scored in" in result.stderr
    assert "WARNING" not in result.stderr


def test_both_engines_write_the_same_json(tree):
    ours, official = tree / "ours.json", tree / "official.json"
    assert run_tree(tree, "--json", ours, "-q").exit_code == 0
    assert run_tree(tree, "--json", official, "-q", "--official").exit_code == 0
    first, second = json.loads(ours.read_text()), json.loads(official.read_text())
    assert first.pop("engine") == "dseg"
    assert second.pop("engine") == "cityscapesscripts"
    assert first == second
    assert first["averageScoreClasses"] == (0.5 + 0.5 + 1 + 1 + 1 + 1) / 6


def test_json_on_stdout_is_alone_and_strict(tree):
    def no_nan(name):
        raise AssertionError(name)

    result = run_tree(tree, "--json", "-", "--per-image")
    assert result.exit_code == 0
    read = json.loads(result.stdout, parse_constant=no_nan)
    assert read["classScores"]["train"] is None
    assert read["numImages"] == 2
    assert len(read["images"]) == 2
    assert read["images"][0]["averageScoreClasses"] == 5 / 6


def test_quiet_leaves_only_the_table(tree):
    result = run_tree(tree, "-q")
    assert result.stderr == ""
    assert "road" in result.stdout


def test_csv_has_a_row_an_image(tree):
    result = run_tree(tree, "--csv", tree / "images.csv")
    assert result.exit_code == 0
    header, *rows = (tree / "images.csv").read_text().splitlines()
    assert header.startswith("prediction,scored_pixels,pixel_accuracy,mean_iou,road,sidewalk")
    assert len(rows) == 2
    assert rows[0].split(",")[1:3] == ["10", "0.9"]


def test_data_dir_and_split_name_the_ground_truth(tree):
    data = tree / "data"
    assert run("--pred-dir", tree / "pred", "--data-dir", data).exit_code == 0
    result = run("--pred-dir", tree / "pred", "--data-dir", data, "--split", "train")
    refused(result, 2, "does not exist (searched for", "--gt-dir")
    assert "gtFine/train/**/*_gtFine_labelIds.png" in result.stderr


def test_a_results_folder_of_several_kinds_is_read_at_label_ids(tree):
    results = tree / "results"
    for frame in FRAMES:
        save(results / "label_ids" / f"{frame}.png", TRUTH)
        save(results / "train_ids" / f"{frame}.png", as_train_ids(TRUTH))
        save(results / "color" / f"{frame}.png", np.zeros((*TRUTH.shape, 3), np.uint8))
    result = run("--pred-dir", results, "--data-dir", tree / "data")
    assert result.exit_code == 0, result.output
    assert f"scoring {results / 'label_ids'}" in result.stderr
    result = run("--pred-dir", results, "--data-dir", tree / "data", "--pred-ids", "train")
    assert result.exit_code == 0, result.output
    assert f"scoring {results / 'train_ids'}" in result.stderr


def test_missing_predictions_are_counted_and_named(tree):
    (tree / "pred" / f"{FRAMES[1]}_leftImg8bit.png").unlink()
    problem = f"1 of 2 ground-truth files have no prediction in {tree / 'pred'}: {FRAMES[1]}"
    refused(run_tree(tree), 2, problem, "--allow-missing")
    result = run_tree(tree, "--allow-missing", "-q", "--json", tree / "scores.json")
    assert result.exit_code == 0
    assert "WARNING: 1 of 2 images have no prediction" in result.stderr
    scores = json.loads((tree / "scores.json").read_text())
    assert scores["missing"] == [f"{FRAMES[1]}_gtFine_labelIds.png"]
    assert scores["numImages"] == 1
    (tree / "pred" / f"{FRAMES[0]}_leftImg8bit.png").rename(tree / "pred" / "other.png")
    refused(run_tree(tree, "--allow-missing"), 2, "2 of 2 ground-truth files", "--pred-dir")


def test_two_predictions_for_a_frame_are_both_named(tree):
    save(tree / "pred" / f"{FRAMES[0]}_color.png", TRUTH)
    result = run_tree(tree)
    refused(result, 2, f"Two predictions for {FRAMES[0]}", "keep one PNG")
    assert f"{FRAMES[0]}_color.png and " in result.stderr
    assert f"{FRAMES[0]}_leftImg8bit.png" in result.stderr


def test_missing_and_empty_folders_are_refused(tree):
    (tree / "empty").mkdir()
    refused(
        run("--pred-dir", tree / "pred", "--gt-dir", tree / "empty"),
        2,
        f"No ground-truth file in {tree / 'empty'} (searched for",
        "--gt-dir",
    )
    refused(
        run("--pred-dir", tree / "empty", "--data-dir", tree / "data"),
        2,
        f"No prediction file in {tree / 'empty'} (searched for",
        "--pred-dir",
    )
    gone = tree / "gone"
    refused(run("--pred-dir", gone, "--data-dir", tree / "data"), 2, "does not exist", "--pred-dir")


BOTH = pytest.mark.parametrize("engine", [[], ["--official"]], ids=["ours", "official"])


@BOTH
def test_a_prediction_of_another_size_names_both_sizes(tree, engine):
    change_prediction(tree, np.zeros((3, 5), np.uint8))
    problem = f"{FRAMES[1]}_leftImg8bit.png has 5x3 pixels, but "
    refused(run_tree(tree, *engine), 2, problem, "size of the original image")
    assert "has 6x2 (width x height)" in run_tree(tree, *engine).stderr


@BOTH
def test_a_wrong_id_is_named_with_its_pixels(tree, engine):
    wrong = TRUTH.copy()
    wrong[0, :3] = 40
    change_prediction(tree, wrong)
    problem = f"{FRAMES[1]}_leftImg8bit.png holds id 40 at 3 pixels; Cityscapes label ids are"
    refused(run_tree(tree, *engine), 2, problem, "label ids (road is 7)")
    change_prediction(tree, wrong.astype(np.uint16) * 100)
    refused(run_tree(tree, *engine), 2, "holds id 4000", "0 to 255")


@BOTH
def test_colours_are_refused(tree, engine):
    change_prediction(tree, np.full((*TRUTH.shape, 3), (128, 64, 128), np.uint8))
    refused(run_tree(tree, *engine), 2, "holds colours, not ids", "dseg transfer-labels")


def test_instance_files_of_8_bits_are_named(tree):
    assert "8 bits" not in run_tree(tree).stderr
    path = next(tree.rglob("*_instanceIds.png"))
    with Image.open(path) as image:
        values = np.asarray(image)
    Image.fromarray((values % 256).astype(np.uint8)).save(path)
    result = run_tree(tree)
    assert "*_instanceIds.png have 8 bits, which cannot represent instances" in result.stderr
    for path in tree.rglob("*_instanceIds.png"):
        Image.fromarray(np.zeros(values.shape, np.uint16)).save(path)
    assert "No iIoU: the ground truth contains no instances" in run_tree(tree).stderr


def test_a_prediction_stored_as_jpeg_is_refused_unless_accepted(tree, monkeypatch):
    path = tree / "pred" / f"{FRAMES[0]}_leftImg8bit.png"
    with Image.open(path) as image:
        image.load()
    image.save(path, "JPEG", quality=100)
    for engine in ((), ("--official",)):
        refused(run_tree(tree, *engine), 2, "is JPEG, which changes values", "--accept-lossy")
    assert run_tree(tree, "--accept-lossy").exit_code in (0, 2)


def test_a_broken_png_is_refused(tree):
    path = tree / "pred" / f"{FRAMES[0]}_leftImg8bit.png"
    path.write_bytes(path.read_bytes()[:50])
    refused(run_tree(tree), 2, f"{path} cannot be decoded", "repair")


@BOTH
def test_a_missing_instance_file_is_refused_unless_iiou_is_not_wanted(tree, engine):
    for path in tree.rglob("*ulm*_instanceIds.png"):
        path.unlink()
    problem = "1 of 2 ground-truth files have no instance file, which iIoU needs"
    refused(run_tree(tree, *engine), 2, problem, "--no-instances")
    result = run_tree(tree, "--no-instances", *engine)
    assert result.exit_code == 0, result.output
    assert "83.33" in result.stdout


@BOTH
def test_blank_ground_truth_is_that_of_the_test_split(tree, engine):
    for path in tree.rglob("*_gtFine_*.png"):
        save(path, np.full(TRUTH.shape, 3, np.uint8))
    result = run_tree(tree, *engine)
    refused(result, 2, "All pixels of the 2 ground-truth files", "no public labels")


@BOTH
def test_train_ids_are_recognised_by_255(tree, engine):
    for frame in FRAMES:
        change_prediction(tree, as_train_ids(TRUTH), frame)
    result = run_tree(tree, *engine)
    refused(result, 2, "holds id 255 at 2 pixels", "dseg transfer-labels")
    assert "look like train ids" in result.stderr
    assert "--to label-ids" in result.stderr
    converted = run_tree(tree, "--pred-ids", "train")
    assert converted.exit_code == 0, converted.output
    assert "100.00" in converted.stdout


@BOTH
def test_train_ids_are_recognised_over_the_whole_set(tree, engine):
    train_ids = as_train_ids(TRUTH)
    train_ids[train_ids == 255] = 1
    for frame in FRAMES:
        change_prediction(tree, train_ids, frame)
    result = run_tree(tree, *engine)
    refused(result, 2, "The predictions look like train ids", "--to label-ids")
    assert "100.0% of the pixels are correct as train ids, 0.0% as label ids" in result.stderr
    assert run_tree(tree, "--pred-ids", "label").exit_code == 0


def test_one_frame_of_label_ids_saves_the_set_from_being_called_train_ids(tree):
    change_prediction(tree, np.zeros(TRUTH.shape, np.uint8))
    assert run_tree(tree).exit_code == 0


def test_label_ids_that_end_at_18_are_not_called_train_ids(tree):
    legal = np.where(TRUTH > 18, 0, TRUTH).astype(np.uint8)
    legal[0, 5] = 6
    for frame in FRAMES:
        change_prediction(tree, legal, frame)
    assert run_tree(tree).exit_code == 0


def test_label_ids_are_refused_as_train_ids(tree):
    result = run_tree(tree, "--pred-ids", "train")
    refused(result, 2, "; train ids are 0 to 18 and 255.", "leave --pred-ids train away")


def test_a_threshold_decides_the_exit_code(tree):
    assert run_tree(tree, "--fail-under", "83.3").exit_code == 0
    result = run_tree(tree, "--fail-under", "83.4")
    assert result.exit_code == 4
    assert "road" in result.stdout
    assert "Error: Mean IoU 83.333 % is below 83.4 %." in result.stderr
    assert result.stderr.splitlines()[-1].startswith("Hint: ")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--gt-dir", "a", "--data-dir", "b"], "Two ground truths are named"),
        ([], "No ground truth is named"),
        (["--gt-dir", "a", "--label-space", "voc", "--official"], "--official is for Cityscapes"),
        (["--gt-dir", "a", "--num-classes", "3", "--pred-ids", "train"], "--pred-ids is for"),
        (["--gt-dir", "a", "--ignore", "3"], "--ignore requires --num-classes"),
        (
            ["--gt-dir", "a", "--official", "--pred-ids", "train"],
            "official engine reads only label",
        ),
        (["--gt-dir", "a", "--per-image"], "--per-image requires --json or --csv"),
        (["--gt-dir", "a", "--json", "-", "--csv", "-"], "cannot both go to stdout"),
    ],
)
def test_options_that_contradict_each_other_are_refused(arguments, problem):
    refused(run("--pred-dir", "p", *arguments), 2, problem, "")


@pytest.fixture
def masks(tmp_path):
    save(tmp_path / "gt" / "a.png", np.array([[0, 1, 1, 2, 9]], np.uint8))
    save(tmp_path / "pred" / "a.png", np.array([[0, 1, 2, 2, 2]], np.uint8))
    return "--pred-dir", tmp_path / "pred", "--gt-dir", tmp_path / "gt"


def test_unnamed_classes_are_scored_without_the_ignored_ids(masks):
    result = run(*masks, "--num-classes", "3", "--ignore", "9", "--json", "-")
    assert result.exit_code == 0, result.output
    scores = json.loads(result.stdout)
    assert scores["classScores"] == {"class 0": 1.0, "class 1": 0.5, "class 2": 0.5}
    assert scores["ignoredPixels"] == 1
    result = run(*masks, "--num-classes", "3", "--ignore", "9", "--ignore", "0", "--json", "-")
    assert json.loads(result.stdout)["classScores"] == {"class 1": 0.5, "class 2": 0.5}
    assert json.loads(result.stdout)["labels"] == {"class 1": 1, "class 2": 2}


def test_the_table_of_other_label_spaces_has_accuracies(masks):
    result = run(*masks, "--label-space", "camvid")
    assert result.exit_code == 0, result.output
    assert "Sky" in result.stdout
    assert "accuracy %" in result.stdout
    assert "60.00" in result.stdout


def test_an_id_outside_the_label_space_is_refused(masks):
    result = run(*masks, "--num-classes", "3")
    refused(result, 2, "holds id 9 at 1 pixels; unnamed-3 has ids up to 2, and 255", "--ignore")
    refused(run(*masks, "--num-classes", "1", "--ignore", "0"), 2, "leaves no class", "fewer")


def test_torch_is_not_imported():
    code = "import sys, dseg.evaluation, dseg.cli.eval; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_has_an_example():
    result = run("--help")
    assert result.exit_code == 0
    assert "dseg eval --pred-dir results/label_ids --gt-dir gtFine/val" in result.stdout
