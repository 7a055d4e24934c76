"""Job ``zoo``: three networks of equal minutes, one protocol for all, from scratch on CamVid.

Trained on the training split, the best weights chosen on the validation split. Where CamVid's
folder has the test split too, the best weights are scored on it once.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from desk import Desk, OutOfTimeError
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
LAST_S = 10.0  # before the end of a network's time, when its schedule is to end
SPARE_S = 20.0  # of the job's time, for starting and for the results
MOST_BYTES = 9 << 20  # of all checkpoints, unless --keep names some
RECIPE = (
    *("--recipe", "dabnet_camvid", "--set", "scales=0.5,1.75", "--set", "continuous=true"),
    *("--set", "warmup=100", "--set", "jitter=0.3", "--set", "ema=0.99"),
)


def find_networks(desk: Desk) -> tuple[str, ...]:
    """Return those networks of the group that dseg has, as it spells them."""
    plain = {name.replace("_", ""): name for name in MODELS}
    wanted = [name.replace("_", "") for name in GROUPS[desk.options["group"]]]
    return tuple(plain[name] for name in wanted if name in plain)


def find_skipped(desk: Desk) -> list[str]:
    """Return the networks of the group that dseg does not have."""
    plain = {name.replace("_", "") for name in MODELS}
    return [name for name in GROUPS[desk.options["group"]] if name.replace("_", "") not in plain]


def find_parts(desk: Desk) -> dict[str, Part]:
    """Return a part for each network, and one for the table and the checkpoints.

    Raises:
        DsegError: dseg has none of the group's networks, or --keep names others.
    """
    names = find_networks(desk)
    if not names:
        raise DsegError(
            f"dseg has none of {', '.join(GROUPS[desk.options['group']])}.",
            hint="name another --group, 1 to 4.",
        )
    if others := set(desk.options["keep"]) - set(names):
        raise DsegError(
            f"--keep names {', '.join(sorted(others))}, which this group does not train.",
            hint=f"choose from {', '.join(names)}.",
        )
    return {**{name: partial(train_network, name=name) for name in names}, "table": finish}


def train_network(desk: Desk, name: str) -> dict[str, Any]:
    """Train a network for its share of the job's time."""
    root = find_camvid(desk)
    seconds = max(0.0, desk.seconds - SPARE_S) / len(find_networks(desk))
    training = Training(
        part=name,
        words=("--model", name, "--dataset", "camvid", "--data-dir", root, *RECIPE),
        samples=count("train", camvid=root),
        val_samples=count("val", camvid=root),
        batch=TINY_BATCH if desk.tiny else 16,
        crop=TINY_CROP if desk.tiny else "352x480",  # sides that 32 divides
        store=lambda: write_results(desk, find_networks(desk)),
    )
    seconds = desk.left if desk.tiny else min(seconds, desk.left)
    late = 0.0 if desk.tiny else LAST_S
    found = train_timed(desk, training, seconds - late, 1.1 * seconds)
    return found | score_test(desk, name, root)


def score_test(desk: Desk, name: str, root: Path) -> dict[str, Any]:
    """Score a network on the test split, where there is one."""
    if "test" not in find_splits("camvid", root):
        return {"test": "there is no test split in the folder; scripts/gpu/score.py scores later"}
    file = desk.work / f"{name}-test.json"
    code, said = desk.dseg(
        *("eval", "--weights", desk.work / name / "best.safetensors", "--dataset", "camvid"),
        *("--data-dir", root, "--split", "test", "--device", desk.device.type, "--json", file),
        limit=120,
    )
    if code == 124:
        raise OutOfTimeError(f"{name} was not scored")
    return {"test": json.loads(file.read_text()) if not code else said[-600:]}


def finish(desk: Desk) -> dict[str, Any]:
    """Write the table, the curves and those checkpoints that fit."""
    names = find_networks(desk)
    write_results(desk, names)
    done = [name for name in names if desk.is_finished(name)]
    found = {**store_checkpoints(desk, done), "not_in_dseg": find_skipped(desk)}
    if found["left_in_work"]:
        desk.say(f"left where they are: {', '.join(found['left_in_work'])}")
    if found["not_in_dseg"]:
        desk.say(f"dseg has no {', '.join(found['not_in_dseg'])}: left out")
    if len(done) < len(names):
        desk.keep("table", found)
        raise OutOfTimeError("not all networks are trained")
    return found


def store_checkpoints(desk: Desk, names: list[str]) -> dict[str, Any]:
    """Store the best weights of the networks of --keep, or as many as fit, smallest first."""
    wanted = desk.options["keep"]
    kept, left, size = [], [], 0
    for name in sorted(names, key=lambda name: MODELS[name].params):
        best = desk.work / name / "best.safetensors"
        fits = size + best.stat().st_size / 2 <= MOST_BYTES
        if name in wanted or (fits and not wanted):
            store_half(best, desk.out / f"{name}.safetensors")
            size += (desk.out / f"{name}.safetensors").stat().st_size
            kept.append(name)
        else:
            left.append(str(best))
    return {"checkpoints": kept, "left_in_work": left}


def write_results(desk: Desk, names: tuple[str, ...]) -> None:
    """Write the table and the curves of what is trained so far."""
    rows, curves = [], {}
    for name in names:
        found = desk.results.get(name, {})
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
        metrics = MetricsFile(desk.work / name / "metrics.jsonl").read()
        curve = [
            (row["epoch"], 100 * (row["miou"] or 0)) for row in metrics if row["kind"] == "val"
        ]
        curves[name] = curve
    write_table(rows, desk.out / "table.md")
    draw_curves(curves, desk.out / "curves.png", "epoch", "CamVid val mIoU (%)")
