"""``dseg eval --model``: the scores of infer and eval in one command, without masks."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_runs import misused, refused, run, save_noise, written
from click.testing import Result
from data_trees import TREES, make_camvid, make_cityscapes, make_folder
from PIL import Image
from ranks import exit_code, own_words, torchrun

from dseg.checkpoints import load_model, save_model
from dseg.datasets import load_dataset
from dseg.distributed import Group
from dseg.evaluation import reading as predicted
from dseg.labels import LABEL_SPACES, LabelSpace, unnamed_label_space
from dseg.models import build_model
from dseg.predict import Prediction
from dseg.training.validate import validate

ONTO = ("--label-space", "cityscapes")


def save(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values)).save(path)


def save_network(space: LabelSpace, path: Path = Path("net.safetensors")) -> Path:
    """Write a DABNet with random weights for the classes of a label space."""
    torch.manual_seed(space.num_classes)
    model = build_model("dabnet", space.num_classes)
    model.card = replace(model.card, label_space=space)
    save_model(model, path)
    return path


def evaluate(*words: object) -> Result:
    return run("eval", "--device", "cpu", *words)


def scores_of(*words: object) -> dict[str, Any]:
    result = evaluate(*words, "-q", "--json", "-")
    assert result.exit_code == 0, result.output
    scores: dict[str, Any] = json.loads(result.stdout)
    return scores


@pytest.fixture
def camvid(here: Path) -> tuple[object, ...]:
    """A CamVid network, and the tiny tree with a test split of noise, as arguments."""
    make_camvid(Path("data"))
    rng = np.random.default_rng(0)
    for number, (name, height) in enumerate((("d", 48), ("e", 57), ("f", 40))):
        save_noise(f"data/test/{name}.png", height, 64, number)
        save(Path(f"data/testannot/{name}.png"), rng.integers(0, 12, (height, 64), np.uint8))
    weights = save_network(LABEL_SPACES["camvid"])
    return "-w", weights, "--dataset", "camvid", "--data-dir", "data", "--split", "test"


def check_that_it_is_infer_and_eval(
    words: tuple[object, ...], images: str, how: tuple[object, ...] = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compare the output of both; return the scores and the manifest."""
    weights, split = words[:2], words[2:]
    command = "multiscale-infer" if "--scales" in how else "infer"
    out = ("-o", "results", "--save", "label_ids", "--device", "cpu", "-q")
    assert run(command, images, *weights, *out, *how).exit_code == 0
    report = ("--per-image", "--json")
    both = run("eval", "--pred-dir", "results/label_ids", *split, *report, "two.json")
    before = written(".")
    alone = evaluate(*words, *how, *report, "one.json")
    assert alone.exit_code == both.exit_code == 0, alone.output + both.output
    assert sorted([*before, "one.json"]) == written(".")  # no mask
    assert alone.stdout == both.stdout
    assert alone.stderr.splitlines()[-1].startswith("Predicted and scored in ")
    assert alone.stderr.splitlines()[:-1] == both.stderr.splitlines()[:-1]
    one, two = (json.loads(Path(name).read_text()) for name in ("one.json", "two.json"))
    settings = one.pop("settings")
    assert one.pop("tiled") == 0
    assert settings == json.loads(Path("results/dseg-run.json").read_text())
    for scores, folder in ((one, images), (two, "results")):
        scores.pop("perImageScores", None)
        for image in scores["images"]:
            assert image.pop("prediction").startswith(f"{folder}/")
    assert one == two
    return one, settings


@pytest.mark.parametrize(
    "how",
    [
        (),
        ("--input-size", "32x40", "--tile", "32", "--overlap", "1/4"),
        ("--scales", "0.5,1", "--flip", "--fusion", "prob", "--input-scale", "0.75"),
    ],
    ids=["plain", "tiles", "scales"],
)
def test_the_numbers_are_those_of_infer_and_eval(
    camvid: tuple[object, ...], how: tuple[object, ...]
) -> None:
    scores, settings = check_that_it_is_infer_and_eval(camvid, "data/test", how)
    assert (scores["dataset"], scores["split"], scores["numImages"]) == ("camvid", "test", 3)
    assert len(scores["confMatrix"][0]) == 12
    assert 0 < scores["averageScoreClasses"] < 0.2
    assert (settings["network"], settings["label_space"]) == ("dabnet", "camvid")
    assert (settings["input_size"] is None) == ("--input-size" not in how)


def test_masks_may_be_read_as_the_networks_classes(here: Path) -> None:
    make_camvid(Path("data"))
    words = ("-w", save_network(LABEL_SPACES["cityscapes"]), "--dataset", "camvid")
    scores, _ = check_that_it_is_infer_and_eval(
        (*words, "--data-dir", "data", "--split", "train", *ONTO), "data/train"
    )
    assert "bicycle" in scores["leftOutClasses"]
    problem = "network has the 19 classes of cityscapes, but the masks of camvid are read as the 11"
    refused(evaluate(*words, "--data-dir", "data"), 2, problem, "--label-space cityscapes")


def test_cityscapes_gets_its_own_scores_with_instances(here: Path) -> None:
    root = make_cityscapes(Path("data"))
    for path in root.rglob("*_labelIds.png"):
        with Image.open(path) as image:
            label_ids = np.array(image)
        label_ids[:3, :5], label_ids[3:, 5:] = 26, 24
        save(path, label_ids)
        instances = label_ids.astype(np.uint16)
        instances[label_ids >= 24] *= 1000
        instances[:2, :2] += 1
        save(path.with_name(path.name.replace("labelIds", "instanceIds")), instances)
    weights = save_network(LABEL_SPACES["cityscapes"])
    scores, _ = check_that_it_is_infer_and_eval(
        ("-w", weights, "--dataset", "cityscapes", "--data-dir", root, "--split", "train"),
        "data/leftImg8bit/train",
    )
    assert (scores["engine"], scores["instances"]) == ("dseg", True)
    assert scores["categoryInstScores"]["vehicle"] is not None
    assert "settings" not in scores and "dataset" not in scores


@pytest.mark.parametrize("name", TREES)
def test_any_data_set_is_scored_as_validation_scores_it(here: Path, name: str) -> None:
    root = TREES[name](Path("data"))
    dataset = load_dataset(name, root, "train")
    weights = save_network(dataset.space)
    more = ["--no-instances"] if name in ("cityscapes", "scenes") else []
    words = ("--dataset", name, "--data-dir", root, "--split", "train", "-j", "1", *more)
    scores = scores_of("--weights", weights, *words)
    validation = validate(load_model(weights=weights), dataset, Group(), device="cpu")
    assert validation is not None
    assert scores["averageScoreClasses"] == validation.mean_iou
    assert scores["numImages"] == 2


def test_classes_without_names_are_those_of_the_masks_if_there_are_as_many(here: Path) -> None:
    words = ("--dataset", "folder", "--data-dir", make_folder(Path("data")))
    three = save_network(unnamed_label_space(3))
    assert scores_of("-w", three, *words)["labelSpace"] == "roads"
    four = save_network(unnamed_label_space(4), Path("four.safetensors"))
    refused(evaluate("-w", four, *words), 2, "has the 4 classes of unnamed-4", "another data set")


def test_a_network_is_found_by_its_name_and_by_old_spellings(camvid: tuple[object, ...]) -> None:
    words = ("--model_name", "DAB-Net", *camvid[2:], "-q")
    refused(
        evaluate(*words, "--model_path", "gone.pth"),
        3,
        "Checkpoint gone.pth does not exist",
        "dabnet",
    )
    assert evaluate(*words, "--checkpoint", camvid[1]).exit_code == 0
    misused(evaluate("--model", "dabnett"), "Did you mean dabnet")


def test_quiet_json_csv_and_a_threshold_work_as_elsewhere(camvid: tuple[object, ...]) -> None:
    result = evaluate(*camvid, "-q", "--csv", "-", "--fail-under", "99")
    assert result.exit_code == 4
    assert result.stderr.startswith("Error: Mean IoU ")
    header, *rows = result.stdout.splitlines()
    assert header.startswith("prediction,scored_pixels,pixel_accuracy,mean_iou,Sky,Building")
    assert [row.split(",")[0] for row in rows] == [f"data/test/{name}.png" for name in "def"]
    result = evaluate(*camvid, "-q", "--fail-under", "0")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("camvid test, classes of camvid, images: 3")


@pytest.mark.parametrize(
    ("words", "problem", "hint"),
    [
        ("--data-dir data --dataset camvid", "Neither predictions nor a network", "--pred-dir DIR"),
        ("--input-scale 0.5 --data-dir data", "Neither predictions nor a network", "--weights"),
        (
            "--model dabnet --pred-dir p --data-dir d",
            "--model cannot be combined with --pred-dir",
            "one of the two",
        ),
        (
            "--pred-dir p --data-dir d --input-size 8",
            "--input-size cannot be combined with --pred-dir",
            "",
        ),
        (
            "--pred-dir p --data-dir d --device cpu",
            "--device cannot be combined with --pred-dir",
            "",
        ),
        ("--model dabnet", "a data set is needed", "--dataset and --data-dir"),
        ("--model dabnet --gt-dir masks", "a data set is needed", "does not name the images"),
        ("--model dabnet --data-dir .", "a data set is needed", "--dataset"),
        ("--model dabnet --data-dir gone", "gone does not exist.", "spelling of --data-dir"),
        (
            "--model dabnet --dataset camvid",
            "folder of the data set camvid is missing",
            "--data-dir",
        ),
        ("--model dabnet --dataset voc --data-dir d --gt-dir g", "--gt-dir cannot be combined", ""),
        (
            "--model dabnet --dataset voc --data-dir d --pred-ids train",
            "--pred-ids is for",
            "leave out",
        ),
        (
            "--model dabnet --dataset cityscapes --data-dir d --official",
            "--official is for",
            "infer",
        ),
        ("--model dabnet --dataset voc --data-dir d --allow-missing", "--allow-missing is for", ""),
        ("--model dabnet --dataset voc --data-dir d --no-instances", "Cityscapes only", ""),
        ("-w x --dataset voc --data-dir d --input-size 8 --input-scale 2", "Both an input", "one"),
        ("-w x --dataset voc --data-dir d --tile 8", "A tile of 8x8 is too small", "32"),
        ("--model dabnet --dataset voc --data-dir gone", "gone", ""),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    words: str, problem: str, hint: str
) -> None:
    refused(run("eval", *words.split()), 2, problem, hint)


def test_images_that_cannot_be_scored_end_the_run(camvid: tuple[object, ...]) -> None:
    save_noise("data/test/e.png", 57, 65)
    problem = "data/test/e.png has 65x57 pixels, but data/testannot/e.png has 64x57"
    refused(evaluate(*camvid, "-q"), 2, problem, "size of the original image")
    Path("data/test/d.png").write_text("no image")
    refused(evaluate(*camvid, "-q"), 2, "data/test/d.png cannot be decoded", "repair")
    refused(evaluate(*camvid[:-1], "night"), 2, "has no split 'night'", "there are: train")
    for mask in Path("data/testannot").iterdir():
        mask.unlink()
    refused(evaluate(*camvid), 2, "3 of 3 images of the split test of camvid have no mask", "split")


def test_the_official_scores_want_label_ids(here: Path) -> None:
    root = make_cityscapes(Path("data"))
    for path in root.rglob("*_labelIds.png"):
        path.rename(path.with_name(path.name.replace("labelIds", "labelTrainIds")))
    words = ("-w", save_network(LABEL_SPACES["cityscapes"]), "--dataset", "cityscapes")
    result = evaluate(*words, "--data-dir", root)
    refused(result, 2, "1 of 1 masks are not *_labelIds.png", "--label-space cityscapes")
    assert "ulm_000002_000019_gtFine_labelTrainIds.png" in result.stderr


def test_no_more_images_are_held_than_there_are_threads(
    camvid: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        save_noise(f"data/test/{number:02}.png", 16, 16)
        save(Path(f"data/testannot/{number:02}.png"), np.zeros((16, 16), np.uint8))
    lock, held, most, threads = threading.Lock(), 0, 0, set()
    read = predicted.read_image

    def count(step: int) -> None:
        nonlocal held, most
        with lock:
            held += step
            most = max(most, held)

    def counted_read(path: Path) -> Any:
        count(1)
        return read(path)

    class Labels:
        def __init__(self, image: Any):
            self.size = image.shape[:2]

        def result(self) -> Prediction:
            count(-1)
            return Prediction(np.zeros(self.size, np.uint8), unnamed_label_space(3))

    def begin(predictor: object, image: Any) -> Labels:
        threads.add(threading.get_ident())
        threading.Event().wait(0.01)
        return Labels(image)

    monkeypatch.setattr(predicted, "read_image", counted_read)
    monkeypatch.setattr("dseg.predict.Predictor.begin", begin)
    assert scores_of(*camvid, "-j", "3")["numImages"] == 23
    assert 2 <= most <= 3
    assert len(threads) == 1


def test_ctrl_c_ends_with_130(camvid: tuple[object, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dseg.predict.Predictor.begin", stop)
    result = evaluate(*camvid)
    assert (result.exit_code, result.stdout) == (130, "")


def test_help_needs_no_torch_and_has_an_example() -> None:
    result = run("eval", "--help")
    assert "dseg eval --model DABNet --dataset cityscapes --data-dir cityscapes" in result.stdout


@pytest.mark.slow
def test_two_processes_give_the_scores_of_one(camvid: tuple[object, ...]) -> None:
    words = (*camvid, "--device", "cpu", "--per-image")
    one = scores_of(*words[:-3], "--per-image")
    two = torchrun("-m", "dseg", "eval", *words, "--json", "two.json")
    assert exit_code(two) == 0, two.stderr
    assert json.loads(Path("two.json").read_text()) == one
    assert [line.split(" in ")[0] for line in own_words(two)] == ["Predicted and scored"]
