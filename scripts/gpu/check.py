"""Job ``check``: run the tests on the GPU, and measure speed."""

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
from context import ROOT, JobContext, OutOfTimeError
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
COMPILING_S = 130.0  # least time for a compiled measurement


def run_tests(context: JobContext) -> dict[str, Any]:
    """Run the tests that need a GPU."""
    words = [sys.executable, "-m", "pytest", "tests/test_gpu.py", "-q", "-rfE", "--tb=short"]
    words += ["--version"] if context.tiny else ["-n", "6"]
    code, output = context.call([*words, "-p", "no:cacheprovider"], limit=180)
    lines = output.strip().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    context.log("\n".join([*failed, *lines[-1:]]))
    found = {**context.facts(), "exit_code": code, "summary": lines[-1:], "failed_tests": failed}
    if code:
        (context.out / "tests.txt").write_text(output[-100_000:], encoding="utf-8")
    return _check_time_limit(context, "tests", code, found)


def _check_time_limit(
    context: JobContext, part: str, code: int, found: dict[str, Any]
) -> dict[str, Any]:
    """Return the results of a part; raise OutOfTimeError if the end of the job stopped it."""
    if code == 124 and not context.left:
        context.keep(part, found)
        raise OutOfTimeError(f"{part} was stopped")
    return found


def survey(context: JobContext) -> dict[str, Any]:
    """Run training steps of every network, several networks at a time."""
    kept: dict[str, Any] = context.results.get("survey", {}).get("networks", {})
    names = ["dabnet"] if context.tiny else [name for name in MODELS if name not in kept]
    lanes = 1 if context.tiny else 7
    words = [
        [sys.executable, ROOT / "scripts" / "gpu" / "survey.py", *names[n::lanes]]
        for n in range(lanes)
    ]
    with ThreadPoolExecutor(lanes) as pool:
        answers = list(pool.map(lambda lane: context.call(lane, limit=110), words))
    rows = [line for _, output in answers for line in output.splitlines() if line.startswith("{")]
    found = kept | {row.pop("network"): row for row in map(json.loads, rows)}
    passed = sum(bool(row.get("passed")) for row in found.values())
    for name, row in found.items():
        if not row.get("passed"):
            context.log(f"{name}: {row}")
    context.log(f"{len(found)} networks, {passed} passed")
    dtype, batch, crop = ("fp32", 2, "64x96") if context.tiny else ("bf16", 4, "128x192")
    facts = context.facts(dtype=dtype, batch=batch, crop=crop, passed=passed, networks=found)
    return _check_time_limit(context, "survey", max(code for code, _ in answers), facts)


def throughput(context: JobContext) -> dict[str, Any]:
    """Time the training step of DABNet with data that are already on the device."""
    what = "dabnet_camvid, 11 classes, Adam, step alone, data on the device"
    found: dict[str, Any] = context.results.get("throughput", {"what": what})
    modes: tuple[tuple[str, torch.dtype | None, dict[str, Any] | None, bool], ...] = (
        ("fp32, TF32 in convolutions", None, None, False),
        ("fp32, TF32 everywhere", None, None, True),
        ("bf16", torch.bfloat16, None, True),
        ("bf16, compiled", torch.bfloat16, {}, True),
        ("bf16, compiled, graphs", torch.bfloat16, {"mode": "reduce-overhead"}, True),
        ("fp32, TF32 everywhere, compiled, graphs", None, {"mode": "reduce-overhead"}, True),
    )
    size = (2, 45, 60) if context.tiny else (16, 360, 480)
    torch.backends.cudnn.benchmark = True
    for name, amp, compiled, tf32 in modes:
        if name in found or (context.tiny and compiled is not None):
            continue
        if context.left < (1 if context.tiny else 30 if compiled is None else COMPILING_S):
            raise OutOfTimeError(f"{context.left:.0f} s are too few for {name}")
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        recipe = Recipe(source="", optimizer="adam").override([f"batch={size[0]}"])
        trainer = make_trainer("dabnet_camvid", recipe, context.device, 10**6)
        trainer.update.amp = amp
        if compiled is not None:
            trainer.model.compile(**compiled)
        batch = fill_batch(*size, 11, context.device)
        begun = time.perf_counter()
        steps = time_steps(context, lambda: trainer._take_step([batch]))  # noqa: B023
        found[name] = context.facts(
            dtype="bf16" if amp else "fp32",
            batch=size[0],
            crop=f"{size[1]}x{size[2]}",
            images_per_s=size[0] / steps,
            ms=1e3 * steps,
            first_s=time.perf_counter() - begun,
        )
        context.log(f"{name}: {found[name]}")
        context.keep("throughput", found)
    return found


def time_steps(
    context: JobContext, step: Callable[[], None], warm: int = 12, timed: int = 30
) -> float:
    """Return the seconds per step: median of three runs, each ending with a synchronisation."""
    if context.tiny:
        warm, timed = 1, 1
    for _ in repeat(None, warm):
        step()
    runs = []
    for _ in range(3):
        _synchronise(context)
        start = time.perf_counter()
        for _ in repeat(None, timed):
            step()
        _synchronise(context)
        runs.append((time.perf_counter() - start) / timed)
    return statistics.median(runs)


def _synchronise(context: JobContext) -> None:
    if context.device.type == "cuda":
        torch.cuda.synchronize()


def train_camvid(context: JobContext) -> dict[str, Any]:
    """Time ``dseg train`` of DABNet on CamVid, from files and from the cache on the device."""
    if context.data is None and not context.tiny:
        return {"skipped": "no --data"}
    data = find_camvid(context)
    found: dict[str, Any] = context.results.get("train", {})
    cases: dict[str, tuple[object, ...]] = {
        "device cache, bf16": ("--cache", "device", "--amp", "bf16"),
        "files, bf16": ("--cache", "none", "--amp", "bf16", "-j", 15),
        "device cache, fp32": ("--cache", "device"),
    }
    for name, words in list(cases.items())[: 1 if context.tiny else None]:
        if name in found:
            continue
        run = Path(tempfile.mkdtemp(dir=context.work))
        epochs, batch, crop = (1, TINY_BATCH, TINY_CROP) if context.tiny else (12, 16, "360x480")
        start = time.perf_counter()
        code, output = context.dseg(
            *("train", "--model", "dabnet_camvid", "--dataset", "camvid", "--data-dir", data),
            *("--out", run, "--epochs", epochs, "--validate-every", 0, "--no-check", "--quiet"),
            *("--batch-size", batch, "--set", f"crop={crop}"),
            *("--log-every", 1 if context.tiny else 10, "--device", context.device.type, *words),
            limit=90,
        )
        wall = time.perf_counter() - start
        rows = summarise(MetricsFile(run / "metrics.jsonl").read())
        facts = context.facts(dtype=name.split(", ")[1], batch=batch, crop=crop, wall_s=wall)
        context.log(f"{name}: {facts | rows}")
        if code == 124 and not context.left:
            raise OutOfTimeError(f"{name} was stopped")
        found[name] = facts | rows | {"exit_code": code, "said": output[-1500:] if code else ""}
        context.keep("train", found)
    return found


def bench(context: JobContext) -> dict[str, Any]:
    """Run ``dseg bench`` for 12 networks at 1024x2048, batch 1, in float32 and bf16."""
    models = SPEED[:1] if context.tiny else SPEED
    return _bench(context, "bench", {"fp32": (), "bf16": ("--dtype", "bf16")}, models, 150)


def bench_compiled(context: JobContext) -> dict[str, Any]:
    """Run ``dseg bench`` for a compiled network."""
    if context.tiny:
        return {"skipped": "compiling takes minutes on the CPU"}
    if context.left < COMPILING_S:
        raise OutOfTimeError(f"{context.left:.0f} s are too few to compile")
    words: dict[str, tuple[str, ...]] = {"bf16, compiled": ("--dtype", "bf16", "--compile")}
    return _bench(context, "bench_compiled", words, COMPILED, 200)


def _bench(
    context: JobContext,
    part: str,
    cases: dict[str, tuple[str, ...]],
    models: tuple[str, ...],
    limit: float,
) -> dict[str, Any]:
    found: dict[str, Any] = context.results.get(part, {})
    size = "64x128" if context.tiny else "1024x2048"
    file = context.work / "bench.json"
    for name, words in list(cases.items())[: 1 if context.tiny else None]:
        if name in found:
            continue
        file.unlink(missing_ok=True)
        code, output = context.dseg(
            *("bench", *(word for model in models for word in ("--model", model))),
            *("--size", size, "--device", context.device.type),
            *("--seconds", 0.1 if context.tiny else 1, "--samples", 5 if context.tiny else 60),
            *("--json", file, "-q", *words),
            limit=limit,
        )
        context.log(f"bench {name}: exit code {code}\n{output[-300 if not code else -1500 :]}")
        if code == 124 and not context.left:
            raise OutOfTimeError(f"bench {name} was stopped")
        rows = json.loads(file.read_text(encoding="utf-8")) if file.exists() else output[-1500:]
        found[name] = context.facts(dtype=name, batch=1, size=size, exit_code=code, rows=rows)
        context.keep(part, found)
    return found


def infer(context: JobContext) -> dict[str, Any]:
    """Time ``dseg infer`` from files to files."""
    count, size = (2, (64, 128)) if context.tiny else (240, (1024, 2048))
    kinds, amps = (("jpg",), ("off",)) if context.tiny else (("jpg", "png"), ("off", "bf16"))
    folder = context.work / "photos"
    for kind in ("jpg", "png"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    lanes = 1 if context.tiny else 15
    places = [f"{number},{size[0]},{size[1]}" for number in range(count)]
    base = [sys.executable, HERE / "photos.py", folder]
    words = [[*base, *places[n::lanes]] for n in range(lanes)]
    with ThreadPoolExecutor(lanes) as pool:
        codes = [code for code, _ in pool.map(lambda lane: context.call(lane, limit=60), words)]
    if any(codes):
        raise OutOfTimeError(f"the images were not drawn: {codes}")
    context.log("images drawn")
    what = f"dabnet, {count} images of {size}, label_ids only"
    found: dict[str, Any] = context.results.get("infer", {"what": what})
    file = context.work / "infer.json"
    for kind in kinds:
        for amp in amps:
            name = f"{kind}, amp {amp}"
            if name in found:
                continue
            code, output = context.dseg(
                *("infer", folder / kind, "--model", "dabnet", "--save", "label_ids", "-o"),
                *(folder / f"{kind}-{amp}", "--device", context.device.type, "--amp", amp),
                *("-w", find_bundled(), "-q", "--json", file),
                limit=60,
            )
            if code == 124 and not context.left:
                raise OutOfTimeError(f"infer {name} was stopped")
            row = (
                json.loads(file.read_text(encoding="utf-8"))
                if not code
                else {"said": output[-600:]}
            )
            for key in ("images", "settings", "out"):
                row.pop(key, None)
            facts = context.facts(dtype="fp32" if amp == "off" else amp, batch=1)
            found[name] = row | facts | {"exit_code": code}
            context.log(f"{name}: {found[name]}")
            context.keep("infer", found)
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
