"""On a GPU: the authors' logits, the same masks as on the CPU, and reproducible training."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_runs import run
from goldens import FOLDER, compare_cases, load_golden, read_contract, save_as_the_authors_do
from PIL import Image

from dseg.checkpoints import find_bundled, load_model
from dseg.data.loader import prefetch
from dseg.data.stream import Batch
from dseg.data.transforms import Augmentation, apply_views, draw_view, make_generator
from dseg.models import build_model
from dseg.nn.sync_norm import synchronise_norms
from dseg.predict import Predictor
from dseg.registry import MODELS
from dseg.training.loop import Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]
ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "dseg" / "samples"
BUNDLED = find_bundled()
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
    """Return the label ids of the bundled scenes, one after another."""
    done = run("infer", SAMPLES, "-w", BUNDLED, "--save", "label_ids", "-o", out, *words)
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
        words = ("--scales", "0.5,1", "--flip", "--device", device, "-w", BUNDLED)
        out = tmp_path / device
        done = run("multiscale-infer", SAMPLES, *words, "--save", "label_ids", "-o", out)
        assert done.exit_code == 0, done.output
        files = sorted((out / "label_ids").rglob("*.png"))
        labels.append(np.concatenate([np.asarray(Image.open(file)).ravel() for file in files]))
    assert np.mean(labels[0] == labels[1]) >= 0.999


def _train(out: Path, *words: object, exit_code: int = 0) -> str:
    """Train DABNet on scenes for 20 steps at most; return what was printed."""
    done = run(
        *("train", "--model", "dabnet", "--dataset", "scenes", "--data-dir", SAMPLES),
        *("--split", "demo", "--val-split", "none", "--out", out, "--device", "cuda"),
        *("--set", "batch=2", "--set", "crop=128x192", "--set", "steps=20", "--no-check"),
        *("--log-every", 5, *words),
    )
    assert done.exit_code == exit_code, done.output
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


@pytest.mark.parametrize("pinned", [True, False])
def test_prefetched_batches_are_those_read(pinned: bool) -> None:
    numbers = torch.Generator().manual_seed(0)
    batches = [
        Batch(
            torch.randint(0, 256, (4, 3, 512, 512), dtype=torch.uint8, generator=numbers),
            torch.randint(0, 19, (4, 512, 512), dtype=torch.uint8, generator=numbers),
            [str(place)],
            [],
        )
        for place in range(6)
    ]
    sums = [int(batch.images.long().sum()) for batch in batches]
    given = [
        batch._replace(images=batch.images.pin_memory()) if pinned else batch for batch in batches
    ]
    for place, batch in enumerate(prefetch(iter(given), torch.device("cuda"))):
        assert batch.images.is_cuda and batch.train_ids.is_cuda
        assert int(batch.images.long().sum()) == sums[place]
        assert torch.equal(batch.train_ids.cpu(), batches[place].train_ids)


@pytest.mark.parametrize("rotate", [0.0, 20.0])
def test_crops_on_the_gpu_wait_for_nothing(rotate: float) -> None:
    some = Augmentation(
        crop=(96, 128), scales=(0.5, 2.0), continuous=True, flip=0.5, jitter=0.4, blur=0.5,
        rotate=rotate,
    )  # fmt: skip
    views = [draw_view(some, 150, 200, make_generator(0, 0, index)) for index in range(8)]
    numbers = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, 3, 150, 200), dtype=torch.uint8, generator=numbers)
    masks = torch.randint(0, 19, (8, 150, 200), dtype=torch.uint8, generator=numbers)
    wanted, wanted_ids = apply_views(images, masks, views, some.crop, (1.0, 2.0, 3.0))
    images, masks = images.cuda(), masks.cuda()
    apply_views(images, masks, views, some.crop, (1.0, 2.0, 3.0))  # pins memory, loads kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        found, ids = apply_views(images, masks, views, some.crop, (1.0, 2.0, 3.0))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert int((found.cpu().int() - wanted.int()).abs().max()) <= 1
    assert float((ids.cpu() != wanted_ids).float().mean()) < (1e-3 if rotate else 1e-9)


DETERMINISTIC = [
    "dabnet",
    "pspnet_r50",
    "swiftnet_r18",
    "sac_r101",
    "sfnet_lite_r18",
    "efficientvit_b0",
]


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_deterministic_run_goes_on_to_the_same_bytes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_step = Trainer._take_step

    def interrupted(trainer: Trainer, batches: list[Batch]) -> None:
        take_step(trainer, batches)
        if trainer.step == 9:
            os.kill(os.getpid(), signal.SIGINT)

    words = ("--model", name, "--deterministic")
    _train(tmp_path / "whole", *words)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_take_step", interrupted)
        _train(tmp_path / "parted", *words, exit_code=130)
    done = run("train", "--resume", "--out", tmp_path / "parted")
    assert done.exit_code == 0, done.output
    assert _losses(tmp_path / "whole") == _losses(tmp_path / "parted")
    one, two = (
        load_model(name, tmp_path / run / "last.safetensors") for run in ("whole", "parted")
    )
    assert all(map(torch.equal, one.state_dict().values(), two.state_dict().values()))


def test_norms_synchronised_in_one_process_are_those_of_one(tmp_path: Path) -> None:
    torch.distributed.init_process_group(
        "nccl", store=torch.distributed.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1
    )
    try:
        torch.manual_seed(0)
        plain = build_model("dabnet", 19).cuda().train()
        together = synchronise_norms(copy.deepcopy(plain), "cuda")
        x = torch.rand(2, 3, 64, 96, device="cuda")
        ours, theirs = plain(x).main, together(x).main
        ours.square().mean().backward()
        theirs.square().mean().backward()
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4)
        for mine, other in zip(plain.buffers(), together.buffers(), strict=True):
            assert torch.allclose(mine, other, rtol=1e-3, atol=1e-4)
    finally:
        torch.distributed.destroy_process_group()


SHORT = """
import sys, torch
torch.cuda.set_per_process_memory_fraction(float(sys.argv[1]))
from dseg.cli import main
sys.argv = ["dseg", *sys.argv[2:]]
main()
"""


def _with_little_memory(megabytes: int, *words: object) -> subprocess.CompletedProcess[str]:
    total = torch.cuda.get_device_properties(0).total_memory
    command = [sys.executable, "-c", SHORT, str(megabytes * 2**20 / total), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


def test_training_beyond_the_memory_says_what_takes_less(tmp_path: Path) -> None:
    done = _with_little_memory(
        *(400, "train", "--model", "pspnet_r101", "--dataset", "scenes", "--data-dir", SAMPLES),
        *("--split", "demo", "--val-split", "none", "--out", tmp_path / "run", "--no-check"),
        *("--set", "batch=2", "--set", "crop=256x512", "--set", "steps=2", "--device", "cuda"),
    )
    assert done.returncode == 1, done.stderr
    assert "Memory ran out while pspnet_r101 was trained on batches of 2 crops" in done.stderr
    assert "use a smaller --batch-size" in done.stderr
    assert "Traceback" not in done.stderr


def test_images_beyond_the_memory_are_predicted_in_tiles(tmp_path: Path) -> None:
    words = ("infer", SAMPLES, "-w", BUNDLED, "--save", "label_ids", "--device", "cuda", "-o")
    done = _with_little_memory(250, *words, tmp_path / "little", "--json", tmp_path / "facts.json")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "little" / "label_ids").rglob("*.png"))) == 7


def _enlarged(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """Write ``count`` images, the bundled scenes enlarged to (height, width), in turn."""
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
    words = ("-w", BUNDLED, "--save", "label_ids,confidence", "--device", "cuda", "--amp", amp)
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
    predictor = Predictor.load(weights=BUNDLED, device="cuda")
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
    predictor = Predictor.load(weights=BUNDLED, device="cuda")
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
