"""What a GPU computes: the authors' logits, the CPU's masks, and training that can be repeated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_runs import run
from goldens import FOLDER, compare_cases, load_golden, read_contract, save_as_the_authors_do
from PIL import Image

from dseg.checkpoints import load_model
from dseg.predict import Predictor
from dseg.registry import MODELS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]
ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "dseg" / "samples"
SHIPPED = ROOT / "weights" / "dabnet.safetensors"
GPU_TOLERANCE = 2e-3  # of the standard deviation of the golden's logits, in float32 without TF32


def _of_each_family() -> list[str]:
    """Return the first golden of each class of networks."""
    found: dict[str, str] = {}
    for name, spec in MODELS.items():
        for golden in spec.goldens:
            if read_contract(FOLDER, golden).get("outputs"):
                found.setdefault(name.split("_")[0].rstrip("0123456789"), golden)
    return sorted(found.values())


@pytest.fixture
def without_tf32() -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("golden", _of_each_family())
def test_logits_match_the_authors_code(golden: str, tmp_path: Path, without_tf32: None) -> None:
    file = tmp_path / "authors.pth"
    save_as_the_authors_do(read_contract(FOLDER, golden), file)
    model = load_golden(golden, file).cuda()
    worst = {found.case: found.worst for found in compare_cases(model, FOLDER, golden)}
    assert worst
    assert {case: far for case, far in worst.items() if far > GPU_TOLERANCE} == {}


def _labels(out: Path, *words: object) -> np.ndarray:
    """Return the label ids of the scenes that ship, one after another."""
    done = run("infer", SAMPLES, "-w", SHIPPED, "--save", "label_ids", "-o", out, *words)
    assert done.exit_code == 0, done.output
    files = sorted((out / "label_ids").rglob("*.png"))
    assert len(files) == 7
    return np.concatenate([np.asarray(Image.open(file)).ravel() for file in files])


@pytest.mark.parametrize(("amp", "equal"), [("off", 0.999), ("fp16", 0.995), ("bf16", 0.98)])
def test_masks_are_those_of_the_cpu(amp: str, equal: float, tmp_path: Path) -> None:
    cpu = _labels(tmp_path / "cpu", "--device", "cpu")
    gpu = _labels(tmp_path / "gpu", "--device", "cuda", "--amp", amp)
    assert np.mean(cpu == gpu) >= equal


def test_tiles_give_the_masks_of_the_cpu(tmp_path: Path) -> None:
    words = ("--tile", "256x256")
    cpu = _labels(tmp_path / "cpu", "--device", "cpu", *words)
    gpu = _labels(tmp_path / "gpu", "--device", "cuda", *words)
    assert np.mean(cpu == gpu) >= 0.999


def test_several_scales_give_the_masks_of_the_cpu(tmp_path: Path) -> None:
    labels = []
    for device in ("cpu", "cuda"):
        words = ("--scales", "0.5,1", "--flip", "--device", device, "-w", SHIPPED)
        out = tmp_path / device
        done = run("multiscale-infer", SAMPLES, *words, "--save", "label_ids", "-o", out)
        assert done.exit_code == 0, done.output
        files = sorted((out / "label_ids").rglob("*.png"))
        labels.append(np.concatenate([np.asarray(Image.open(file)).ravel() for file in files]))
    assert np.mean(labels[0] == labels[1]) >= 0.999


def _train(out: Path, *words: object) -> str:
    """Train DABNet on scenes for 20 steps at most; return what was printed."""
    done = run(
        *("train", "--model", "dabnet", "--dataset", "scenes", "--data-dir", SAMPLES),
        *("--split", "demo", "--val-split", "none", "--out", out, "--device", "cuda"),
        *("--set", "batch=2", "--set", "crop=128x192", "--set", "steps=20", "--no-check"),
        *("--log-every", 5, *words),
    )
    assert done.exit_code == 0, done.output
    return done.output


def _losses(out: Path) -> list[float]:
    rows = [json.loads(row) for row in (out / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if row["kind"] == "train"]


@pytest.mark.parametrize("amp", ["off", "bf16", "fp16"])
@pytest.mark.parametrize("cache", ["none", "device"])
def test_training_learns(amp: str, cache: str, tmp_path: Path) -> None:
    _train(tmp_path / "run", "--amp", amp, "--cache", cache)
    losses = _losses(tmp_path / "run")
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    model = load_model("dabnet", tmp_path / "run" / "last.safetensors")
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def test_compiled_training_learns(tmp_path: Path) -> None:
    _train(tmp_path / "run", "--compile")
    losses = _losses(tmp_path / "run")
    assert losses[-1] < losses[0]


def test_deterministic_training_gives_the_same_bytes_again(tmp_path: Path) -> None:
    for name in ("one", "two"):
        _train(tmp_path / name, "--deterministic", "--cache", "device")
    assert _losses(tmp_path / "one") == _losses(tmp_path / "two")
    one, two = (tmp_path / name / "last.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def _enlarged(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """Write the scenes that ship, enlarged to (height, width), so many times over."""
    folder.mkdir()
    scenes = sorted((SAMPLES / "leftImg8bit").rglob("*.png"))
    for number in range(count):
        with Image.open(scenes[number % len(scenes)]) as scene:
            enlarged = scene.convert("RGB").resize(size[::-1], Image.Resampling.BICUBIC)
        enlarged.save(folder / f"{number:02}.png")
    return folder


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_batches_give_the_masks_of_single_images(amp: str, tmp_path: Path) -> None:
    images = _enlarged(tmp_path / "images", 7, (512, 1024))
    words = ("-w", SHIPPED, "--save", "label_ids,confidence", "--device", "cuda", "--amp", amp)
    for size in (1, 3):
        out = tmp_path / f"{size}"
        done = run("infer", images, *words, "--batch-size", size, "-o", out)
        assert done.exit_code == 0, done.output
    for number in range(7):
        single, batch = (
            np.asarray(Image.open(tmp_path / size / "label_ids" / f"{number:02}.png"))
            for size in ("1", "3")
        )
        assert np.mean(single == batch) >= (0.999 if amp == "off" else 0.99)


def test_beginning_does_not_wait_for_the_device() -> None:
    predictor = Predictor.load(weights=SHIPPED, device="cuda")
    image = np.asarray(Image.open(next((SAMPLES / "leftImg8bit").rglob("*.png"))).convert("RGB"))
    expected = predictor.predict(image, confidence=True)  # allocates, which may wait
    predictor.predict(image)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        pendings = [predictor.begin(image, confidence=True) for _ in range(3)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for pending in pendings:
        assert pending.train_ids.is_cuda
        found = pending.result()
        assert np.mean(found.train_ids == expected.train_ids) >= 0.999
        assert np.array_equal(pending.train_ids.cpu().numpy(), found.train_ids)
        assert found.confidence is not None


def test_a_shortage_on_the_device_falls_back_to_single_images() -> None:
    predictor = Predictor.load(weights=SHIPPED, device="cuda")
    image = np.zeros((512, 1024, 3), np.uint8)
    predictor.predict(image)
    torch.cuda.reset_peak_memory_stats()
    predictor.predict(image)
    needed = torch.cuda.max_memory_allocated() / torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(4 * needed)
    try:
        assert predictor.begin_batch([image] * 16) is None
        assert predictor.predict(image).tile is None
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_a_compiled_network_gives_the_same_masks(tmp_path: Path) -> None:
    plain = _labels(tmp_path / "plain", "--device", "cuda")
    compiled = _labels(tmp_path / "compiled", "--device", "cuda", "--compile")
    assert np.mean(plain == compiled) >= 0.999
