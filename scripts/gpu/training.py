"""Functions of the jobs that train: CamVid, a timed training run, checkpoints in 16 bits."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from context import GRACE_S, ROOT, FailedError, JobContext, OutOfTimeError, last_line
from PIL import Image
from safetensors import safe_open
from timed_training import Order, summarise

import dseg
from dseg.checkpoints import save_model
from dseg.datasets import load_dataset
from dseg.training.metrics import MetricsFile
from dseg.training.state import has_state

SCRIPT = ROOT / "scripts" / "gpu" / "timed_training.py"
TINY_SPLITS = {"train": 6, "val": 2}
TINY_CROP, TINY_BATCH = "64x96", 2


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training run of a job.

    Attributes:
        part: name in the results, and of the folder in ``JobContext.work``.
        words: arguments of ``dseg train``, without device, folder, batch and epochs.
        samples, val_samples: number of training and validation images.
        batch: images per step.
        crop: size of training crops, HxW.
        validations: number of validations.
        compile: ``auto``, ``on`` or ``off``.
        cache: value of ``--cache``.
        store: called every minute and at the end, to copy files of the run.
    """

    part: str
    words: tuple[object, ...]
    samples: int
    val_samples: int
    batch: int
    crop: str
    validations: int = 8
    compile: str = "off"
    cache: str = "device"
    store: Callable[[], None]


def find_camvid(context: JobContext) -> Path:
    """Return the folder of CamVid; for a tiny job without --data, noise in the same layout.

    Raises:
        DsegError: the folder is missing or has another layout.
    """
    root = context.data or make_noise(context.work / "camvid")
    for split in TINY_SPLITS:
        load_dataset("camvid", root, split)
    return root


def count(split: str, **roots: Path) -> int:
    """Return the number of images of a split in one or more data sets."""
    return sum(len(load_dataset(name, root, split)) for name, root in roots.items())


def make_noise(root: Path) -> Path:
    """Write 96x128 bands of noise in CamVid's layout, as bright as their classes' ids."""
    for split, images in TINY_SPLITS.items():
        for kind in ("", "annot"):
            (root / f"{split}{kind}").mkdir(parents=True, exist_ok=True)
        for number in range(images):
            generator = np.random.default_rng([images, number])
            mask = generator.integers(0, 12, 8, dtype=np.uint8)[:, None]
            mask = mask.repeat(12, 0).repeat(128, 1)
            noise = generator.integers(0, 40, (96, 128, 3), dtype=np.uint8)
            name = f"{split}-{number}.png"
            Image.fromarray(mask[..., None] * 18 + noise).save(root / split / name)
            Image.fromarray(mask).save(root / f"{split}annot" / name)
    return root


def draw_scenes(context: JobContext, train: int, val: int, size: str) -> dict[str, Any]:
    """Draw the scenes that are not there yet, in the folder ``scenes`` of the job's work.

    Raises:
        OutOfTimeError: time ran out; the next start of the job goes on.
        FailedError: the command failed.
    """
    code, output = context.dseg(
        *("scenes", "-o", context.work / "scenes", "-n", train, "--val", val, "--size", size),
        limit=context.left,
    )
    if code == 124:
        raise OutOfTimeError("some scenes are not drawn yet")
    if code:
        raise FailedError(f"dseg scenes: exit code {code}\n{output[-1500:]}")
    return {"train": train, "val": val, "size": size}


def train_timed(
    context: JobContext, training: Training, seconds: float, limit: float
) -> dict[str, Any]:
    """Train for a given time; resume where an earlier start of the job stopped.

    Args:
        context: context of the job.
        training: training run.
        seconds: time within which the schedule has to end.
        limit: seconds after which the run is stopped.

    Returns:
        The plan, its measurements and a summary of the run.

    Raises:
        OutOfTimeError: the time limit or a signal stopped the run; its state is saved.
        FailedError: the command failed; the results have its output.
    """
    run = context.work / training.part
    plan = context.results.get(training.part, {}).get("plan") if has_state(run) else None
    order = _make_order(context, training, run, seconds, plan)
    file = context.work / f"{training.part}.json"
    file.with_suffix(".plan").unlink(missing_ok=True)
    file.write_text(json.dumps(asdict(order)), encoding="utf-8")
    metrics = MetricsFile(run / "metrics.jsonl")
    found: dict[str, Any] = {
        **context.facts(dtype=_dtype(context), batch=training.batch, crop=training.crop),
        "command": " ".join(map(str, ("dseg", "train", *order.words))),
        "plan": plan,
    }

    def update() -> str:
        rows = metrics.read()
        if file.with_suffix(".plan").exists():
            found["plan"] = json.loads(file.with_suffix(".plan").read_text(encoding="utf-8"))
        context.results[training.part] = found | summarise(rows)
        return f"{training.part}: {describe_rows(rows)}"

    words = [sys.executable, SCRIPT, file]
    context.on_save = training.store
    try:
        code, output = context.call(words, limit, grace=GRACE_S, watch=update)
    finally:
        context.on_save = None
    update()
    training.store()
    found = context.results[training.part]
    if code in (124, 143):
        context.log(last_line(output))
        raise OutOfTimeError(f"{training.part} was stopped at step {found['step']}")
    if code:
        context.keep(training.part, found | {"failed": output[-1500:]})
        raise FailedError(f"{training.part}: exit code {code}\n{output[-1500:]}")
    context.log(f"{training.part}: {describe_rows(metrics.read())}")
    return dict(found)


def _make_order(
    context: JobContext, training: Training, run: Path, seconds: float, plan: dict[str, Any] | None
) -> Order:
    tiny = context.tiny
    words = (
        *(*training.words, "--batch-size", training.batch, "--set", f"crop={training.crop}"),
        *("--device", context.device.type, "--amp", "off" if tiny else "bf16"),
        *("--cache", training.cache, "--save-every", 60, "--no-check", "--quiet"),
    )
    until = time.monotonic() + seconds
    order = Order(
        words=tuple(map(str, words)),
        run=str(run),
        samples=training.samples,
        val_samples=training.val_samples,
        batch=training.batch,
        validations=1 if tiny else training.validations,
        until=until,
        measure_s=10.0 if training.compile == "off" else 20.0,
        measure_steps=150 if training.compile == "off" else 300,
        compile="off" if tiny else training.compile,
        plan=plan,
    )
    if not tiny:
        return order
    return replace(order, measure_steps=3, log_every=1, epochs=1.0)


def _dtype(context: JobContext) -> str:
    return "fp32" if context.tiny else "bf16"


def describe_rows(rows: list[dict[str, Any]]) -> str:
    """Describe the last rows of metrics."""
    train = next((row for row in reversed(rows) if row["kind"] == "train"), None)
    score = next((row for row in reversed(rows) if row["kind"] == "val"), None)
    if train is None:
        return "starting or measuring"
    text = (
        f"step {train['step']}, epoch {train['epoch']:.1f}, loss {train['loss'] or 0:.3f}, "
        f"{train['images_per_s']:.0f} images/s"
    )
    return text if score is None else f"{text}, mIoU {100 * (score['miou'] or 0):.2f} %"


def copy_results(run: Path, target: Path, *names: str) -> None:
    """Copy the files of a run that exist."""
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (run / name).exists():
            shutil.copyfile(run / name, target / name)


def store_half(source: Path, target: Path) -> None:
    """Write a checkpoint of a run in half precision, without the paths of its data sets."""
    with safe_open(source, framework="pt") as file:
        training = json.loads(file.metadata()["dseg"])["training"]
    training.pop("datasets", None)
    target.parent.mkdir(parents=True, exist_ok=True)
    save_model(dseg.load_model(weights=source), target, training=training, half=True)


Part = Callable[[JobContext], dict[str, Any]]
