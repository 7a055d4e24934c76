"""The whole flow on a tiny Cityscapes tree, up to official scores that are known beforehand."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_runs import save_noise
from click.testing import CliRunner, Result
from PIL import Image
from stand_ins import StandIn, predictor
from torch import nn

from dseg import distributed
from dseg.cli import main
from dseg.models import SegModel, build_model
from dseg.predict import Manifest, find_images, pipeline, predict_images, readahead, results

HEIGHT, WIDTH = 64, 128
ROAD, SKY, CAR = 7, 23, 26  # label ids
FRAMES = ("aachen/aachen_000000_000019", "ulm/ulm_000003_000019")


def sky_by_brightness() -> SegModel:
    """Return a MobileNetDenseASPP that predicts sky where the image is bright, else road.

    Every layer passes the first channel on and the classifier compares it with a threshold.
    """
    model = build_model("mobilenetdenseaspp")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for name, module in model.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight[0] = 1
            elif isinstance(module, nn.Conv2d) and name.startswith("backbone."):
                centre = module.kernel_size[0] // 2
                module.weight[0, 0, centre, centre] = 1
        for block in model.backbone.children():
            if getattr(block, "residual", False):
                block.project.conv.weight.zero_()
        classifier = model.classifier
        classifier.bias.fill_(-10)
        classifier.bias[0] = 0  # road
        classifier.bias[10] = -0.5  # sky
        classifier.weight[10, classifier.in_channels - 320] = 1  # the backbone's first channel
    return model.eval()


def write_frame(root: Path, frame: str, *, with_car: bool) -> None:
    """Write an image of bright upper and dark lower half, its label ids and its instance ids."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[: HEIGHT // 2] = 255
    ids = np.full((HEIGHT, WIDTH), ROAD, np.uint8)
    ids[: HEIGHT // 2] = SKY
    ids[:, :2] = 1  # ego vehicle, ignored
    if with_car:
        ids[48:56, 64:80] = CAR
    instances = ids.astype(np.uint16)
    instances[ids == CAR] = CAR * 1000
    for kind, suffix, content in (
        ("leftImg8bit", "leftImg8bit", pixels),
        ("gtFine", "gtFine_labelIds", ids),
        ("gtFine", "gtFine_instanceIds", instances),
    ):
        path = root / kind / "val" / f"{frame}_{suffix}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(content).save(path)


@pytest.fixture(scope="module")
def cityscapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cityscapes")
    for frame, with_car in zip(FRAMES, (False, True), strict=True):
        write_frame(root, frame, with_car=with_car)
    state = {f"module.{key}": value for key, value in sky_by_brightness().state_dict().items()}
    torch.save(state, root / "sky.pkl", _use_new_zipfile_serialization=False)
    return root


def dseg(*words: object) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result


def score(predictions: Path, cityscapes: Path, *options: str) -> dict[str, dict[str, float]]:
    words = ("eval", "--pred-dir", predictions, "--data-dir", cityscapes, "--json", "-", "-q")
    scores: dict[str, dict[str, float]] = json.loads(dseg(*words, *options).stdout)
    return scores


def segment(command: str, cityscapes: Path, out: Path, *options: str) -> None:
    images = cityscapes / "leftImg8bit" / "val"
    weights = cityscapes / "sky.pkl"
    words = ("--model", "MobileNetDenseASPP", "--weights", weights, "--img-dir", images)
    dseg(command, *words, "--out", out, "--save", "label_ids,train_ids,color", *options)


@pytest.mark.parametrize("options", [(), ("--official",)], ids=["ours", "official"])
def test_infer_transfer_eval_gives_the_known_score(
    cityscapes: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    segment("infer", cityscapes, tmp_path / "out")
    dseg("transfer", tmp_path / "out" / "color", "--out", tmp_path / "ids")
    written = tmp_path / "ids" / "ulm" / "ulm_000003_000019_leftImg8bit.png"
    rows = np.asarray(Image.open(written))[:, 64]
    # upsampled with align_corners, the border between rows 3 and 4 of the 8x16 map lies at row 35
    assert rows.tolist() == [SKY] * 35 + [ROAD] * 29
    scores = score(tmp_path / "ids", cityscapes, *options)
    # two frames of 126 scored columns: 32 rows of sky found, 3 too many; of 32 rows of road 29
    # found, less the car of 8 x 16 pixels, which is missed
    sky, road = 64 / 70, (58 * 126 - 128) / (64 * 126)
    assert scores["classScores"]["sky"] == sky
    assert scores["classScores"]["road"] == road
    assert scores["classScores"]["car"] == 0
    assert scores["classInstScores"]["car"] == 0
    assert scores["averageScoreClasses"] == pytest.approx((sky + road + 0) / 3, abs=1e-15)


@pytest.mark.parametrize("source", ["color", "train_ids"])
def test_transferred_masks_are_those_that_infer_writes(
    cityscapes: Path, tmp_path: Path, source: str
) -> None:
    segment("infer", cityscapes, tmp_path / "out")
    given = ("--from", "train-ids") if source == "train_ids" else ()
    dseg("transfer-labels", tmp_path / "out" / source, "--out", tmp_path / "ids", *given)
    for frame in FRAMES:
        name = f"{frame}_leftImg8bit.png"
        made = (tmp_path / "ids" / name, tmp_path / "out" / "label_ids" / name)
        transferred, written = (np.asarray(Image.open(path)) for path in made)
        assert np.array_equal(transferred, written)


def test_multiscale_infer_gives_the_known_score(cityscapes: Path, tmp_path: Path) -> None:
    segment("multiscale-infer", cityscapes, tmp_path / "out", "--scales", "1.0,1.5")
    scores = score(tmp_path / "out", cityscapes)
    assert scores["classScores"]["sky"] == 64 / 70
    record = json.loads((tmp_path / "out" / "dseg-run.json").read_text())
    assert (record["scales"], record["flip"]) == ([1.0, 1.5], True)


def test_decoding_waits_while_earlier_images_are_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        save_noise(tmp_path / f"images/{number:02}.png", 20, 20, number)
    decoded, changed, may_write = [], threading.Condition(), threading.Event()
    read, write = readahead.read_image, results.write_png

    def counted_read(path: Path, *others: Any) -> Any:
        with changed:
            decoded.append(path.name)
            changed.notify_all()
        return read(path, *others)

    def blocked_write(*words: Any) -> None:
        assert may_write.wait(60)
        write(*words)

    monkeypatch.setattr(readahead, "read_image", counted_read)
    monkeypatch.setattr(results, "write_png", blocked_write)
    monkeypatch.setattr(distributed, "count_cores", lambda: 8)  # threads that decode images
    monkeypatch.setattr(pipeline, "PIXELS_AHEAD", 3 * 400 + 399)  # three images and almost a fourth
    network = predictor(StandIn())
    images = find_images([tmp_path / "images"])
    words = (network, images, tmp_path / "out", Manifest.of(network, "weights", ""))
    with ThreadPoolExecutor(1) as pool:
        summary = pool.submit(predict_images, *words, kinds=("train_ids",))
        try:
            with changed:
                assert changed.wait_for(lambda: len(decoded) >= 3, 60)
                assert not changed.wait_for(lambda: len(decoded) > 3, 0.5)
        finally:
            may_write.set()
        assert summary.result(60).done == 12
    assert len(decoded) == 12
