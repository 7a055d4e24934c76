"""Job ``bundled``: a network in Cityscapes' label space, from CamVid and drawn scenes.

As weights/README.md describes, but longer, in bf16, with crops of 360x480 and a batch of 16. The
files are read by worker processes: images of two sizes do not fit the device's cache.
"""

from __future__ import annotations

from typing import Any

from desk import Desk, FailedError, OutOfTimeError
from training import (
    TINY_BATCH,
    TINY_CROP,
    Part,
    Training,
    copy_results,
    count,
    find_camvid,
    store_half,
    train_timed,
)

from dseg.parallel import count_cores

SCENES = 1500
VAL_SCENES = 60
FIRST = 0.6  # of the time is the first network's
LAST_S = 15.0  # before the end of its time, when a schedule is to end
LEAST_S = 100.0  # that a network is begun with
RECIPE = (
    *("--recipe", "dabnet_camvid", "--set", "scales=0.5,1.75", "--set", "continuous=true"),
    *("--set", "warmup=100", "--set", "jitter=0.4", "--set", "blur=0.2", "--set", "ema=0.995"),
    *("--set", "class_weights=log"),
)


def draw_scenes(desk: Desk) -> dict[str, Any]:
    """Draw the scenes; those that are there already stay."""
    train, val, size = (4, 1, "96x128") if desk.tiny else (SCENES, VAL_SCENES, "512x1024")
    code, said = desk.dseg(
        *("scenes", "-o", desk.work / "scenes", "-n", train, "--val", val, "--size", size),
        limit=desk.left,
    )
    if code == 124:
        raise OutOfTimeError("the scenes are not all drawn")
    if code:
        raise FailedError(f"dseg scenes: exit code {code}\n{said[-1500:]}")
    return {"train": train, "val": val, "size": size}


def train_network(desk: Desk, model: str, seconds: float) -> dict[str, Any]:
    """Train a network on both data sets for so many seconds."""
    if not desk.tiny and seconds < LEAST_S:
        raise OutOfTimeError(f"{seconds:.0f} s are left for {model}, too few to begin")
    camvid, scenes = find_camvid(desk), desk.work / "scenes"
    if not scenes.is_dir():
        raise FailedError("there are no scenes: run the part scenes first")

    def store() -> None:
        run, target = desk.work / model, desk.out / model
        copy_results(run, target, "metrics.jsonl", "miou.png")
        if (run / "best.safetensors").exists():
            store_half(run / "best.safetensors", target / "best.safetensors")

    training = Training(
        part=model,
        words=(
            *("--model", model, "--dataset", "camvid", "--data-dir", camvid),
            *("--dataset", "scenes", "--data-dir", scenes, "--label-space", "cityscapes"),
            *(*RECIPE, "-j", 0 if desk.tiny else max(1, count_cores() - 1)),
        ),
        samples=count("train", camvid=camvid, scenes=scenes),
        val_samples=count("val", camvid=camvid, scenes=scenes),
        batch=TINY_BATCH if desk.tiny else 16,
        crop=TINY_CROP if desk.tiny else "360x480",
        validations=6,
        cache="none",
        store=store,
    )
    return train_timed(desk, training, seconds - (0 if desk.tiny else LAST_S), desk.left)


def train_dabnet(desk: Desk) -> dict[str, Any]:
    return train_network(desk, "dabnet", desk.left * FIRST)


def train_mobile(desk: Desk) -> dict[str, Any]:
    return train_network(desk, "mobilenetdenseaspp", desk.left)


PARTS: dict[str, Part] = {
    "scenes": draw_scenes,
    "dabnet": train_dabnet,
    "mobilenetdenseaspp": train_mobile,
}
