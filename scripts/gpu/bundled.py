"""Job ``bundled``: a network in Cityscapes' label space, from CamVid and drawn scenes.

The protocol is that of weights/README.md, but longer, in bf16, with crops of 360x480 and a batch of
16. Worker processes read the files, since the cache on the device needs images of one size.
"""

from __future__ import annotations

from typing import Any

from context import FailedError, JobContext, OutOfTimeError
from training import (
    TINY_BATCH,
    TINY_CROP,
    Part,
    Training,
    copy_results,
    count,
    draw_scenes,
    find_camvid,
    store_half,
    train_timed,
)

from dseg.parallel import count_cores

SCENES = 1500
VAL_SCENES = 60
FIRST = 0.6  # fraction of the time for the first network, if the second one is to run too
LAST_S = 15.0  # between the end of a schedule and the end of its time
LEAST_S = 100.0  # least time for a network
RECIPE = (
    *("--recipe", "dabnet_camvid", "--set", "scales=0.5,1.75", "--set", "continuous=true"),
    *("--set", "warmup=100", "--set", "jitter=0.4", "--set", "blur=0.2", "--set", "ema=0.995"),
    *("--set", "class_weights=log"),
)


def draw_both_splits(context: JobContext) -> dict[str, Any]:
    """Draw the scenes that are not there yet."""
    if context.tiny:
        return draw_scenes(context, 4, 1, "96x128")
    return draw_scenes(context, SCENES, VAL_SCENES, "512x1024")


def train_network(context: JobContext, model: str, seconds: float) -> dict[str, Any]:
    """Train a network on both data sets within a time limit."""
    if not context.tiny and seconds < LEAST_S:
        raise OutOfTimeError(f"{seconds:.0f} s are left for {model}, too few")
    camvid, scenes = find_camvid(context), context.work / "scenes"
    if not scenes.is_dir():
        raise FailedError("there are no scenes: run the part scenes first")

    def store() -> None:
        run, target = context.work / model, context.out / model
        copy_results(run, target, "metrics.jsonl", "miou.png")
        if (run / "best.safetensors").exists():
            store_half(run / "best.safetensors", target / "best.safetensors")

    training = Training(
        part=model,
        words=(
            *("--model", model, "--dataset", "camvid", "--data-dir", camvid),
            *("--dataset", "scenes", "--data-dir", scenes, "--label-space", "cityscapes"),
            *(*RECIPE, "-j", 0 if context.tiny else max(1, count_cores() - 1)),
        ),
        samples=count("train", camvid=camvid, scenes=scenes),
        val_samples=count("val", camvid=camvid, scenes=scenes),
        batch=TINY_BATCH if context.tiny else 16,
        crop=TINY_CROP if context.tiny else "360x480",
        validations=6,
        cache="none",
        store=store,
    )
    return train_timed(context, training, seconds - (0 if context.tiny else LAST_S), context.left)


def train_dabnet(context: JobContext) -> dict[str, Any]:
    alone = context.only and "mobilenetdenseaspp" not in context.only
    return train_network(context, "dabnet", context.left * (1.0 if alone else FIRST))


def train_mobile(context: JobContext) -> dict[str, Any]:
    return train_network(context, "mobilenetdenseaspp", context.left)


PARTS: dict[str, Part] = {
    "scenes": draw_both_splits,
    "dabnet": train_dabnet,
    "mobilenetdenseaspp": train_mobile,
}
