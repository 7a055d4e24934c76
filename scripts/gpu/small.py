"""Job ``small``: what helps a training on few images, on CamVid with one drive held out.

Each variant trains the same network from scratch for the same time on the drives 0016E5 and 0001TP
(266 images), and is validated on 0006R0 (101 images), which looks different. The test split is not
used.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from context import FailedError, JobContext, OutOfTimeError
from figures import draw_curves, write_table
from hold_out_drive import hold_out
from training import (
    TINY_BATCH,
    TINY_CROP,
    Part,
    Training,
    count,
    draw_scenes,
    find_camvid,
    train_timed,
)

from dseg.training.metrics import MetricsFile

DRIVE = "0006R0"
NETWORK = "dabnet"
CROP = "360x480"
LAST_S = 8.0  # between the end of a schedule and the end of its time
SPARE_S = 30.0  # for starting and for the results
BASE = (
    *("--recipe", "dabnet_camvid", "--set", "scales=0.5,1.75", "--set", "continuous=true"),
    *("--set", "warmup=100", "--set", "jitter=0.3", "--set", "ema=0.99"),
)
STRONG = ("--set", "jitter=0.5", "--set", "blur=0.3", "--set", "scales=0.5,2.0")
FAST = ("--set", "lr=0.003")
VARIANTS: dict[str, tuple[str, ...]] = {
    "base": (),
    "lr": FAST,
    "strong": (*FAST, *STRONG),
    "mixed": FAST,  # with drawn scenes
    "all": (*FAST, *STRONG),  # with drawn scenes
}
WITH_SCENES = ("mixed", "all")
SCENES = 400


def split(context: JobContext) -> Path:
    """Return the folder with the drive held out; a tiny job's noise has no drives."""
    root = find_camvid(context)
    if context.data is None:
        return root
    target = context.work / "held"
    if not target.is_dir():
        hold_out(root, target, DRIVE)
    return target


def draw_to_train(context: JobContext) -> dict[str, Any]:
    """Draw the scenes to train on that are not there yet."""
    return draw_scenes(
        context, 4 if context.tiny else SCENES, 0, "96x128" if context.tiny else CROP
    )


def train_variant(context: JobContext, name: str) -> dict[str, Any]:
    """Train a variant for its fraction of the time that is left."""
    root, scenes = split(context), context.work / "scenes"
    if name in WITH_SCENES and not scenes.is_dir():
        raise FailedError("there are no scenes: run the part scenes first")
    to_do = [key for key in VARIANTS if not context.is_finished(key)]
    to_do = [key for key in to_do if not context.only or key in context.only]
    seconds = context.left if context.tiny else max(0.0, context.left - SPARE_S) / len(to_do)
    mixed = {"camvid": root, "scenes": scenes} if name in WITH_SCENES else {"camvid": root}
    more = ("--dataset", "scenes", "--data-dir", scenes) if name in WITH_SCENES else ()
    training = Training(
        part=name,
        words=(
            *("--model", NETWORK, "--dataset", "camvid", "--data-dir", root, *more),
            *("--label-space", "camvid", *BASE, *VARIANTS[name]),
        ),
        samples=count("train", **mixed),
        val_samples=count("val", camvid=root),
        batch=TINY_BATCH if context.tiny else 16,
        crop=TINY_CROP if context.tiny else CROP,
        validations=1 if context.tiny else 4,
        cache="none" if context.tiny or more else "device",
        store=lambda: write_results(context),
    )
    return train_timed(context, training, seconds - (0 if context.tiny else LAST_S), 1.1 * seconds)


def write_results(context: JobContext) -> None:
    """Write the table and the curves of the variants trained so far."""
    rows, curves = [], {}
    for name in VARIANTS:
        metrics = MetricsFile(context.work / name / "metrics.jsonl").read()
        scores = [
            (row["step"], 100 * (row["miou"] or 0)) for row in metrics if row["kind"] == "val"
        ]
        if scores:
            curves[name] = scores
            rows.append(
                {"variant": name, "steps": str(scores[-1][0]), "mIoU": f"{scores[-1][1]:.2f}"}
            )
    if rows:
        write_table(rows, context.out / "table.md")
        draw_curves(curves, context.out / "curves.png", "step", f"mIoU of {DRIVE} (%)")


def finish(context: JobContext) -> dict[str, Any]:
    """Write the table and the curves."""
    write_results(context)
    left = [name for name in VARIANTS if not context.is_finished(name)]
    if left:
        raise OutOfTimeError(f"not trained: {', '.join(left)}")
    return {"variants": list(VARIANTS)}


def find_parts(context: JobContext) -> dict[str, Part]:
    """Return a part for the scenes, one for each variant, and one for the table."""
    variants = {name: partial(train_variant, name=name) for name in VARIANTS}
    return {"scenes": draw_to_train, **variants, "table": finish}
