"""Job ``check``: is everything right on the GPU, and how fast is it."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from bench_train import make_trainer
from desk import ROOT, Desk
from survey import fill_batch

from dseg.recipes import Recipe
from dseg.registry import MODELS

HERE = Path(__file__).parent
SPEED = (
    *("dabnet", "bisenetv1", "bisenetv2", "fastscnn", "swiftnet_r18", "icnet", "dfanet"),
    *("mobilenetdenseaspp", "denseaspp121", "denseaspp161", "pspnet_r101", "gald_r101"),
)
COMPILED = ("dabnet", "fastscnn", "bisenetv1", "denseaspp161")


def run_tests(desk: Desk, data: Path | None) -> dict[str, Any]:
    """Run the tests that need a GPU."""
    words = [sys.executable, "-m", "pytest", "-m", "gpu", "-n", "6", "-q", "-rfE", "--tb=short"]
    if desk.tiny:
        words += ["-k", "nothing"]
    code, said = desk.call([*words, "-p", "no:cacheprovider"], limit=130)
    (desk.out / "tests.txt").write_text(said)
    lines = said.strip().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    desk.say("\n".join([*failed, *lines[-1:]]))
    return {"exit_code": code, "summary": lines[-1:], "failed": failed}


def survey(desk: Desk, data: Path | None) -> dict[str, Any]:
    """Train a step of each network of the table, several at a time."""
    names = list(MODELS)[:: 50 if desk.tiny else 1]
    lanes = 1 if desk.tiny else 7
    words = [
        [sys.executable, ROOT / "scripts" / "gpu" / "survey.py", *names[n::lanes]]
        for n in range(lanes)
    ]
    with ThreadPoolExecutor(lanes) as pool:
        answers = list(pool.map(lambda lane: desk.call(lane, limit=110), words))
    rows = [line for _, said in answers for line in said.splitlines() if line.startswith("{")]
    found = {row.pop("network"): row for row in map(json.loads, rows)}
    passed = sum(bool(row.get("passed")) for row in found.values())
    for name, row in found.items():
        if not row.get("passed"):
            desk.say(f"{name}: {row}")
    desk.say(f"{len(found)} networks, {passed} passed")
    return found


def throughput(desk: Desk, data: Path | None) -> dict[str, Any]:
    """Time DABNet's training step alone: data that lie on the device already."""
    found: dict[str, Any] = {"what": "dabnet, 11 classes, batch 16 of 360x480, Adam, step alone"}
    modes: tuple[tuple[str, torch.dtype | None, dict[str, Any] | None, bool], ...] = (
        ("fp32, TF32 in convolutions", None, None, False),
        ("fp32, TF32 everywhere", None, None, True),
        ("bf16", torch.bfloat16, None, True),
        ("bf16, compiled", torch.bfloat16, {}, True),
        ("bf16, compiled, graphs", torch.bfloat16, {"mode": "reduce-overhead"}, True),
        ("fp32, TF32 everywhere, compiled, graphs", None, {"mode": "reduce-overhead"}, True),
    )
    size = (2, 45, 60) if desk.tiny else (16, 360, 480)
    torch.backends.cudnn.benchmark = True
    for name, amp, compiled, tf32 in modes:
        if desk.left < 30:
            break
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        recipe = Recipe(source="", optimizer="adam").override([f"batch={size[0]}"])
        trainer = make_trainer("dabnet_camvid", recipe, desk.device, 10**6)
        trainer.update.amp = amp
        if compiled is not None:
            if desk.tiny:
                continue
            trainer.model.compile(**compiled)
        batch = fill_batch(*size, 11, desk.device)
        begun = time.perf_counter()
        steps = time_steps(desk, lambda: trainer._take_step([batch]))  # noqa: B023
        found[name] = {
            "images_per_s": size[0] / steps,
            "ms": 1e3 * steps,
            "first_s": time.perf_counter() - begun,
        }
        desk.say(f"{name}: {found[name]}")
        desk.keep("throughput", found)
    return found


def time_steps(desk: Desk, step: Callable[[], None], warm: int = 12, timed: int = 30) -> float:
    """Return the seconds a step, the median of three stretches that end with a synchronisation."""
    if desk.tiny:
        warm, timed = 1, 1
    for _ in repeat(None, warm):
        step()
    stretches = []
    for _ in range(3):
        _synchronise(desk)
        start = time.perf_counter()
        for _ in repeat(None, timed):
            step()
        _synchronise(desk)
        stretches.append((time.perf_counter() - start) / timed)
    return statistics.median(stretches)


def _synchronise(desk: Desk) -> None:
    if desk.device.type == "cuda":
        torch.cuda.synchronize()


def train_camvid(desk: Desk, data: Path | None) -> dict[str, Any]:
    """Train DABNet on CamVid by the command, from files and from the device's cache."""
    if data is None:
        return {"skipped": "no --data"}
    found: dict[str, Any] = {}
    cases: dict[str, tuple[object, ...]] = {
        "files, bf16": ("--cache", "none", "--amp", "bf16", "-j", 15),
        "device cache, bf16": ("--cache", "device", "--amp", "bf16"),
        "device cache, fp32": ("--cache", "device"),
    }
    for name, words in cases.items():
        run = Path(tempfile.mkdtemp()) / name.replace(", ", "-").replace(" ", "-")
        epochs = 1 if desk.tiny else 12
        start = time.perf_counter()
        more = ("--set", "batch=8", "--set", "crop=90x120") if desk.tiny else ()
        code, said = desk.dseg(
            *("train", "--model", "dabnet_camvid", "--dataset", "camvid", "--data-dir", data),
            *("--out", run, "--epochs", epochs, "--validate-every", 0, "--no-check", "--quiet"),
            *("--device", desk.device.type, *words, *more),
            limit=60 if not desk.tiny else 200,
        )
        found[name] = {"exit_code": code, "wall_s": time.perf_counter() - start}
        if code:
            found[name]["said"] = said[-1500:]
        rows = [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]
        train = [row for row in rows if row["kind"] == "train"]
        later = train[len(train) // 2 :]
        found[name]["loss"] = [train[0]["loss"], train[-1]["loss"]]
        found[name]["images_per_s"] = statistics.median(row["images_per_s"] for row in later)
        found[name]["val"] = [row.get("miou") for row in rows if row["kind"] == "val"]
        desk.say(f"{name}: {found[name]}")
        desk.keep("train", found)
    return found


def bench(desk: Desk, data: Path | None) -> dict[str, Any]:
    """Run ``dseg bench`` at 1024x2048, batch 1."""
    found: dict[str, Any] = {}
    for name, models, words, limit in (
        ("fp32", SPEED, (), 110),
        ("bf16", SPEED, ("--dtype", "bf16"), 110),
        ("bf16-compiled", COMPILED, ("--dtype", "bf16", "--compile"), 100),
    ):
        file = desk.out / f"bench-{name}.json"
        chosen = models[:1] if desk.tiny else models
        size = "64x128" if desk.tiny else "1024x2048"
        for model in [chosen] if name != "bf16-compiled" else [[one] for one in chosen]:
            target = file if len(model) > 1 else file.with_suffix(f".{model[0]}.json")
            code, said = desk.dseg(
                *("bench", *(word for one in model for word in ("--model", one))),
                *("--size", size, "--device", desk.device.type, "--seconds", 1, "--samples", 60),
                *("--json", target, "-q", *words),
                limit=limit if not desk.tiny else 200,
            )
            desk.say(f"bench {name}: exit code {code}\n{said[-300 if not code else -1500 :]}")
            if target.exists():
                found[f"{name} {model[0] if len(model) == 1 else ''}".strip()] = json.loads(
                    target.read_text()
                )
                target.unlink()
            desk.keep("bench", found)
    return found


def infer(desk: Desk, data: Path | None) -> dict[str, Any]:
    """Time ``dseg infer`` from files to files."""
    count, size = (2, (64, 128)) if desk.tiny else (240, (1024, 2048))
    folder = Path("/tmp") / f"photos-{time.time_ns()}"
    for kind in ("jpg", "png"):
        (folder / kind).mkdir(parents=True)
    lanes = 2 if desk.tiny else 15
    facts = [f"{number},{size[0]},{size[1]}" for number in range(count)]
    base = [sys.executable, HERE / "photos.py", folder]
    words = [[*base, *facts[n::lanes]] for n in range(lanes)]
    with ThreadPoolExecutor(lanes) as pool:
        codes = [code for code, _ in pool.map(lambda lane: desk.call(lane, limit=60), words)]
    assert not any(codes), codes
    desk.say("images drawn")
    found: dict[str, Any] = {"what": f"dabnet, {count} images of {size}, label_ids only"}
    for kind in ("jpg", "png"):
        for amp in ("off", "bf16"):
            code, said = desk.dseg(
                *("infer", folder / kind, "--model", "dabnet", "--save", "label_ids", "-o"),
                *(folder / f"{kind}-{amp}", "--device", desk.device.type, "--amp", amp),
                *("-w", ROOT / "weights" / "dabnet.safetensors", "-q"),
                *("--json", desk.out / "infer.json"),
                limit=60,
            )
            facts = json.loads((desk.out / "infer.json").read_text()) if not code else {}
            facts.pop("images", None)
            found[f"{kind}, amp {amp}"] = {"exit_code": code, "said": said[-600:], **facts}
            desk.say(f"{kind} {amp}: {found[f'{kind}, amp {amp}']}")
    (desk.out / "infer.json").unlink(missing_ok=True)
    return found


PARTS: dict[str, Callable[[Desk, Path | None], dict[str, Any]]] = {
    "tests": run_tests,
    "throughput": throughput,
    "train": train_camvid,
    "infer": infer,
    "survey": survey,
    "bench": bench,
}
