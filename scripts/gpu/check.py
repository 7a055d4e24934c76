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
from desk import ROOT, Desk, OutOfTimeError
from survey import fill_batch
from timed_training import summarise
from training import TINY_BATCH, TINY_CROP, Part, find_camvid

from dseg.checkpoints import find_bundled
from dseg.recipes import Recipe
from dseg.registry import MODELS
from dseg.training.metrics import MetricsFile

HERE = Path(__file__).parent
SPEED = (
    *("dabnet", "bisenetv1", "bisenetv2", "fastscnn", "swiftnet_r18", "icnet", "dfanet"),
    *("mobilenetdenseaspp", "denseaspp121", "denseaspp161", "pspnet_r101", "gald_r101"),
)
COMPILED = ("dabnet",)
COMPILING_S = 130.0  # that a compiled measurement is begun with


def run_tests(desk: Desk) -> dict[str, Any]:
    """Run the tests that need a GPU."""
    words = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-rfE", "--tb=short"]
    words += ["--version"] if desk.tiny else ["-n", "6"]
    code, said = desk.call([*words, "-p", "no:cacheprovider"], limit=180)
    lines = said.strip().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    desk.say("\n".join([*failed, *lines[-1:]]))
    found = {**desk.facts(), "exit_code": code, "summary": lines[-1:], "failed_tests": failed}
    if code:
        (desk.out / "tests.txt").write_text(said[-100_000:])
    return _stop_if_cut(desk, "tests", code, found)


def _stop_if_cut(desk: Desk, part: str, code: int, found: dict[str, Any]) -> dict[str, Any]:
    """Return what a part found, unless its command was stopped because the job has to end."""
    if code == 124 and not desk.left:
        desk.keep(part, found)
        raise OutOfTimeError(f"{part} was stopped")
    return found


def survey(desk: Desk) -> dict[str, Any]:
    """Train a step of each network of the table, several at a time."""
    kept: dict[str, Any] = desk.results.get("survey", {}).get("networks", {})
    names = ["dabnet"] if desk.tiny else [name for name in MODELS if name not in kept]
    lanes = 1 if desk.tiny else 7
    words = [
        [sys.executable, ROOT / "scripts" / "gpu" / "survey.py", *names[n::lanes]]
        for n in range(lanes)
    ]
    with ThreadPoolExecutor(lanes) as pool:
        answers = list(pool.map(lambda lane: desk.call(lane, limit=110), words))
    rows = [line for _, said in answers for line in said.splitlines() if line.startswith("{")]
    found = kept | {row.pop("network"): row for row in map(json.loads, rows)}
    passed = sum(bool(row.get("passed")) for row in found.values())
    for name, row in found.items():
        if not row.get("passed"):
            desk.say(f"{name}: {row}")
    desk.say(f"{len(found)} networks, {passed} passed")
    dtype, batch, crop = ("fp32", 2, "64x96") if desk.tiny else ("bf16", 4, "128x192")
    facts = desk.facts(dtype=dtype, batch=batch, crop=crop, passed=passed, networks=found)
    return _stop_if_cut(desk, "survey", max(code for code, _ in answers), facts)


def throughput(desk: Desk) -> dict[str, Any]:
    """Time DABNet's training step alone: data that lie on the device already."""
    what = "dabnet_camvid, 11 classes, Adam, step alone, data on the device"
    found: dict[str, Any] = desk.results.get("throughput", {"what": what})
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
        if name in found or (desk.tiny and compiled is not None):
            continue
        if desk.left < (1 if desk.tiny else 30 if compiled is None else COMPILING_S):
            raise OutOfTimeError(f"{desk.left:.0f} s are too few for {name}")
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        recipe = Recipe(source="", optimizer="adam").override([f"batch={size[0]}"])
        trainer = make_trainer("dabnet_camvid", recipe, desk.device, 10**6)
        trainer.update.amp = amp
        if compiled is not None:
            trainer.model.compile(**compiled)
        batch = fill_batch(*size, 11, desk.device)
        begun = time.perf_counter()
        steps = time_steps(desk, lambda: trainer._take_step([batch]))  # noqa: B023
        found[name] = desk.facts(
            dtype="bf16" if amp else "fp32",
            batch=size[0],
            crop=f"{size[1]}x{size[2]}",
            images_per_s=size[0] / steps,
            ms=1e3 * steps,
            first_s=time.perf_counter() - begun,
        )
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


def train_camvid(desk: Desk) -> dict[str, Any]:
    """Train DABNet on CamVid by the command, from files and from the device's cache."""
    if desk.data is None and not desk.tiny:
        return {"skipped": "no --data"}
    data = find_camvid(desk)
    found: dict[str, Any] = desk.results.get("train", {})
    cases: dict[str, tuple[object, ...]] = {
        "device cache, bf16": ("--cache", "device", "--amp", "bf16"),
        "files, bf16": ("--cache", "none", "--amp", "bf16", "-j", 15),
        "device cache, fp32": ("--cache", "device"),
    }
    for name, words in list(cases.items())[: 1 if desk.tiny else None]:
        if name in found:
            continue
        run = Path(tempfile.mkdtemp(dir=desk.work))
        epochs, batch, crop = (1, TINY_BATCH, TINY_CROP) if desk.tiny else (12, 16, "360x480")
        start = time.perf_counter()
        code, said = desk.dseg(
            *("train", "--model", "dabnet_camvid", "--dataset", "camvid", "--data-dir", data),
            *("--out", run, "--epochs", epochs, "--validate-every", 0, "--no-check", "--quiet"),
            *("--batch-size", batch, "--set", f"crop={crop}"),
            *("--log-every", 1 if desk.tiny else 10, "--device", desk.device.type, *words),
            limit=90,
        )
        wall = time.perf_counter() - start
        rows = summarise(MetricsFile(run / "metrics.jsonl").read())
        facts = desk.facts(dtype=name.split(", ")[1], batch=batch, crop=crop, wall_s=wall)
        desk.say(f"{name}: {facts | rows}")
        if code == 124 and not desk.left:
            raise OutOfTimeError(f"{name} was stopped")
        found[name] = facts | rows | {"exit_code": code, "said": said[-1500:] if code else ""}
        desk.keep("train", found)
    return found


def bench(desk: Desk) -> dict[str, Any]:
    """Run ``dseg bench`` of all networks at 1024x2048, batch 1, in float32 and bf16."""
    models = SPEED[:1] if desk.tiny else SPEED
    return _bench(desk, "bench", {"fp32": (), "bf16": ("--dtype", "bf16")}, models, 150)


def bench_compiled(desk: Desk) -> dict[str, Any]:
    """Run ``dseg bench`` of a compiled network, which takes long to compile."""
    if desk.tiny:
        return {"skipped": "compiling takes minutes on the CPU"}
    if desk.left < COMPILING_S:
        raise OutOfTimeError(f"{desk.left:.0f} s are too few to compile")
    words: dict[str, tuple[str, ...]] = {"bf16, compiled": ("--dtype", "bf16", "--compile")}
    return _bench(desk, "bench_compiled", words, COMPILED, 200)


def _bench(
    desk: Desk, part: str, cases: dict[str, tuple[str, ...]], models: tuple[str, ...], limit: float
) -> dict[str, Any]:
    found: dict[str, Any] = desk.results.get(part, {})
    size = "64x128" if desk.tiny else "1024x2048"
    file = desk.work / "bench.json"
    for name, words in list(cases.items())[: 1 if desk.tiny else None]:
        if name in found:
            continue
        file.unlink(missing_ok=True)
        code, said = desk.dseg(
            *("bench", *(word for model in models for word in ("--model", model))),
            *("--size", size, "--device", desk.device.type),
            *("--seconds", 0.1 if desk.tiny else 1, "--samples", 5 if desk.tiny else 60),
            *("--json", file, "-q", *words),
            limit=limit,
        )
        desk.say(f"bench {name}: exit code {code}\n{said[-300 if not code else -1500 :]}")
        if code == 124 and not desk.left:
            raise OutOfTimeError(f"bench {name} was stopped")
        rows = json.loads(file.read_text()) if file.exists() else said[-1500:]
        found[name] = desk.facts(dtype=name, batch=1, size=size, exit_code=code, rows=rows)
        desk.keep(part, found)
    return found


def infer(desk: Desk) -> dict[str, Any]:
    """Time ``dseg infer`` from files to files."""
    count, size = (2, (64, 128)) if desk.tiny else (240, (1024, 2048))
    kinds, amps = (("jpg",), ("off",)) if desk.tiny else (("jpg", "png"), ("off", "bf16"))
    folder = desk.work / "photos"
    for kind in ("jpg", "png"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    lanes = 1 if desk.tiny else 15
    places = [f"{number},{size[0]},{size[1]}" for number in range(count)]
    base = [sys.executable, HERE / "photos.py", folder]
    words = [[*base, *places[n::lanes]] for n in range(lanes)]
    with ThreadPoolExecutor(lanes) as pool:
        codes = [code for code, _ in pool.map(lambda lane: desk.call(lane, limit=60), words)]
    if any(codes):
        raise OutOfTimeError(f"the images were not drawn: {codes}")
    desk.say("images drawn")
    what = f"dabnet, {count} images of {size}, label_ids only"
    found: dict[str, Any] = desk.results.get("infer", {"what": what})
    file = desk.work / "infer.json"
    for kind in kinds:
        for amp in amps:
            name = f"{kind}, amp {amp}"
            if name in found:
                continue
            code, said = desk.dseg(
                *("infer", folder / kind, "--model", "dabnet", "--save", "label_ids", "-o"),
                *(folder / f"{kind}-{amp}", "--device", desk.device.type, "--amp", amp),
                *("-w", find_bundled(), "-q", "--json", file),
                limit=60,
            )
            if code == 124 and not desk.left:
                raise OutOfTimeError(f"infer {name} was stopped")
            row = json.loads(file.read_text()) if not code else {"said": said[-600:]}
            for key in ("images", "settings", "out"):
                row.pop(key, None)
            facts = desk.facts(dtype="fp32" if amp == "off" else amp, batch=1)
            found[name] = row | facts | {"exit_code": code}
            desk.say(f"{name}: {found[name]}")
            desk.keep("infer", found)
    return found


PARTS: dict[str, Part] = {
    "tests": run_tests,
    "bench": bench,
    "throughput": throughput,
    "train": train_camvid,
    "infer": infer,
    "survey": survey,
    "bench_compiled": bench_compiled,
}
