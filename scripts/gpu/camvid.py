"""Job ``camvid``: DABNet on CamVid's train and val, the paper's protocol, as long as time allows.

The network trains on both splits, so that no score of the run says how good it is: the curve is
of frames that are trained on. The test split is scored afterwards, once: ``score.py``.
"""

from __future__ import annotations

from typing import Any

from desk import Desk
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
LAST_S = 45.0  # before the end of the job's time, when the schedule is to end


def train_dabnet(desk: Desk) -> dict[str, Any]:
    """Train with an epoch's count that ends a minute before the job does."""
    root = find_camvid(desk)
    words = ("--model", "dabnet_camvid", "--dataset", "camvid", "--data-dir", root)
    training = Training(
        part="dabnet",
        words=(*words, "--split", "trainval", "--val-split", "val"),
        samples=count("trainval", camvid=root),
        val_samples=count("val", camvid=root),
        batch=TINY_BATCH if desk.tiny else 16,
        crop=TINY_CROP if desk.tiny else "360x480",
        validations=10,
        compile=desk.options["compile"],
        store=lambda: copy_results(desk.work / "dabnet", desk.out, *FILES),
    )
    return train_timed(desk, training, desk.left - (0 if desk.tiny else LAST_S), desk.left)


PARTS: dict[str, Part] = {"dabnet": train_dabnet}
