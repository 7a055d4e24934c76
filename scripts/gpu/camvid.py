"""Job ``camvid``: DABNet on CamVid's train and val, the paper's protocol, as long as time allows.

The network trains on both splits, so the curve, on val, is not a measure of generalisation. The
test split is scored afterwards, once, by ``score.py``.
"""

from __future__ import annotations

from typing import Any

from context import JobContext
from training import (
    TINY_BATCH,
    TINY_CROP,
    Part,
    Training,
    copy_results,
    count,
    find_camvid,
    train_timed,
)

FILES = ("best.safetensors", "last.safetensors", "metrics.jsonl", "loss.png", "miou.png")
LAST_S = 45.0  # between the end of the schedule and the end of the job


def train_dabnet(context: JobContext) -> dict[str, Any]:
    """Train for as many epochs as fit before the last minute of the job."""
    root = find_camvid(context)
    words = ("--model", "dabnet_camvid", "--dataset", "camvid", "--data-dir", root)
    training = Training(
        part="dabnet",
        words=(*words, "--split", "trainval", "--val-split", "val"),
        samples=count("trainval", camvid=root),
        val_samples=count("val", camvid=root),
        batch=TINY_BATCH if context.tiny else 16,
        crop=TINY_CROP if context.tiny else "360x480",
        validations=10,
        compile=context.options["compile"],
        store=lambda: copy_results(context.work / "dabnet", context.out, *FILES),
    )
    return train_timed(
        context, training, context.left - (0 if context.tiny else LAST_S), context.left
    )


PARTS: dict[str, Part] = {"dabnet": train_dabnet}
