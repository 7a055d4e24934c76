"""Job ``zoo``: three networks with equal time and one protocol, from scratch on CamVid.

The networks train on the training split; the validation split selects the best weights. If the
folder of CamVid has the test split, the best weights are scored on it once.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from context import JobContext, OutOfTimeError
from figures import draw_curves, write_table
from training import (
    TINY_BATCH,
    TINY_CROP,
    Part,
    Training,
    count,
    find_camvid,
    store_half,
    train_timed,
)

from dseg.datasets.load import find_splits
from dseg.errors import DsegError
from dseg.registry import MODELS
from dseg.training.metrics import MetricsFile

GROUPS = {
    1: ("fastscnn", "bisenetv2", "swiftnet_r18"),
    2: ("icnet", "dfanet", "espnet"),
    3: ("pidnet_s", "ddrnet_23_slim", "gcnet_s"),
    4: ("efficientvit_b0", "msfnet", "denseaspp121"),
}
LAST_S = 10.0  # between the end of a schedule and the end of its time
SPARE_S = 20.0  # for starting and for the results
MOST_BYTES = 9 << 20  # of all checkpoints together, without --keep
RECIPE = (
    *("--recipe", "dabnet_camvid", "--set", "scales=0.5,1.75", "--set", "continuous=true"),
    *("--set", "warmup=100", "--set", "jitter=0.3", "--set", "ema=0.99"),
)


def find_networks(context: JobContext) -> tuple[str, ...]:
    """Return the networks of the group that are in the registry, by their names there."""
    plain = {name.replace("_", ""): name for name in MODELS}
    wanted = [name.replace("_", "") for name in GROUPS[context.options["group"]]]
    return tuple(plain[name] for name in wanted if name in plain)


def find_skipped(context: JobContext) -> list[str]:
    """Return the networks of the group that are not in the registry."""
    plain = {name.replace("_", "") for name in MODELS}
    return [name for name in GROUPS[context.options["group"]] if name.replace("_", "") not in plain]


def find_parts(context: JobContext) -> dict[str, Part]:
    """Return a part for each network, and one for the table and the checkpoints.

    Raises:
        DsegError: the registry has no network of the group, or --keep names another network.
    """
    names = find_networks(context)
    if not names:
        raise DsegError(
            f"dseg has none of {', '.join(GROUPS[context.options['group']])}.",
            hint="name another --group, 1 to 4.",
        )
    if others := set(context.options["keep"]) - set(names):
        raise DsegError(
            f"--keep names {', '.join(sorted(others))}, which this group does not train.",
            hint=f"choose from {', '.join(names)}.",
        )
    return {**{name: partial(train_network, name=name) for name in names}, "table": finish}


def train_network(context: JobContext, name: str) -> dict[str, Any]:
    """Train a network for its fraction of the time."""
    root = find_camvid(context)
    seconds = max(0.0, context.seconds - SPARE_S) / len(find_networks(context))
    training = Training(
        part=name,
        words=("--model", name, "--dataset", "camvid", "--data-dir", root, *RECIPE),
        samples=count("train", camvid=root),
        val_samples=count("val", camvid=root),
        batch=TINY_BATCH if context.tiny else 16,
        crop=TINY_CROP if context.tiny else "352x480",  # multiples of 32
        store=lambda: write_results(context, find_networks(context)),
    )
    seconds = context.left if context.tiny else min(seconds, context.left)
    late = 0.0 if context.tiny else LAST_S
    found = train_timed(context, training, seconds - late, 1.1 * seconds)
    return found | score_test(context, name, root)


def score_test(context: JobContext, name: str, root: Path) -> dict[str, Any]:
    """Score a network on the test split, if there is one."""
    if "test" not in find_splits("camvid", root):
        return {"test": "there is no test split in the folder; scripts/gpu/score.py scores later"}
    file = context.work / f"{name}-test.json"
    code, output = context.dseg(
        *("eval", "--weights", context.work / name / "best.safetensors", "--dataset", "camvid"),
        *("--data-dir", root, "--split", "test", "--device", context.device.type, "--json", file),
        limit=120,
    )
    if code == 124:
        raise OutOfTimeError(f"{name} was not scored")
    return {"test": json.loads(file.read_text(encoding="utf-8")) if not code else output[-600:]}


def finish(context: JobContext) -> dict[str, Any]:
    """Write the table, the curves and the checkpoints that fit."""
    names = find_networks(context)
    write_results(context, names)
    done = [name for name in names if context.is_finished(name)]
    found = {**store_checkpoints(context, done), "not_in_dseg": find_skipped(context)}
    if found["left_in_work"]:
        context.log(f"not copied to the results: {', '.join(found['left_in_work'])}")
    if found["not_in_dseg"]:
        context.log(f"dseg has no {', '.join(found['not_in_dseg'])}: left out")
    if len(done) < len(names):
        context.keep("table", found)
        raise OutOfTimeError("not all networks are trained")
    return found


def store_checkpoints(context: JobContext, names: list[str]) -> dict[str, Any]:
    """Store the best weights of --keep's networks, or as many as fit, smallest first."""
    wanted = context.options["keep"]
    kept, left, size = [], [], 0
    for name in sorted(names, key=lambda name: MODELS[name].params):
        best = context.work / name / "best.safetensors"
        fits = size + best.stat().st_size / 2 <= MOST_BYTES
        if name in wanted or (fits and not wanted):
            store_half(best, context.out / f"{name}.safetensors")
            size += (context.out / f"{name}.safetensors").stat().st_size
            kept.append(name)
        else:
            left.append(str(best))
    return {"checkpoints": kept, "left_in_work": left}


def write_results(context: JobContext, names: tuple[str, ...]) -> None:
    """Write the table and the curves of the networks trained so far."""
    rows, curves = [], {}
    for name in names:
        found = context.results.get(name, {})
        scores = [score for score in found.get("validations", []) if score["miou"] is not None]
        test = found.get("test")
        score = f"{100 * test['averageScoreClasses']:.2f}" if isinstance(test, dict) else ""
        rows.append(
            {
                "network": f"`{name}`",
                "epochs": f"{found.get('epoch', 0):.0f}",
                "images/s": f"{found.get('images_per_s') or 0:.0f}",
                "best val mIoU (%)": f"{100 * max((s['miou'] for s in scores), default=0):.2f}",
                "test mIoU (%)": score,
                "dtype": found.get("dtype", ""),
                "batch": str(found.get("batch", "")),
                "device": found.get("device", ""),
            }
        )
        metrics = MetricsFile(context.work / name / "metrics.jsonl").read()
        curve = [
            (row["epoch"], 100 * (row["miou"] or 0)) for row in metrics if row["kind"] == "val"
        ]
        curves[name] = curve
    write_table(rows, context.out / "table.md")
    draw_curves(curves, context.out / "curves.png", "epoch", "CamVid val mIoU (%)")
