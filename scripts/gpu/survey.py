"""Run training steps of networks, and print a line of JSON for each.

Example:
    python scripts/gpu/survey.py dabnet bisenetv1
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_train import make_trainer

from dseg.data.stream import Batch
from dseg.recipes import Recipe


def one_step(name: str) -> dict[str, Any]:
    """Run two training steps and one prediction of a network.

    Returns:
        Losses, operations without a deterministic algorithm, code that synchronised the host with
        the device in the second step, and how far bf16 is from float32.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(2 if device.type == "cuda" else 1)  # other processes run at the same time
    found: dict[str, Any] = {"network": name}
    try:
        cuda = device.type == "cuda"
        count, height, width = (4, 128, 192) if cuda else (2, 64, 96)
        recipe = Recipe(source="").override([f"crop={height}x{width}", f"batch={count}"])
        trainer = make_trainer(name, recipe, device, 4)
        trainer.update.amp = torch.bfloat16 if cuda else None  # bf16 is slow on many CPUs
        classes = trainer.model.card.label_space.num_classes
        batch = fill_batch(count, height, width, classes, device)
        for step in range(2):
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                torch.use_deterministic_algorithms(step == 0, warn_only=True)
                if step and cuda:
                    torch.cuda.set_sync_debug_mode("warn")
                trainer._take_step([batch])
                if cuda:
                    torch.cuda.set_sync_debug_mode("default")
            texts = [f"{warning.message}" for warning in seen]
            if step == 0:
                kinds = re.findall(r"(\w+) does not have a deterministic", " ".join(texts))
                found["not_deterministic"] = sorted(set(kinds))
            else:
                where = [
                    f"{Path(warning.filename).name}:{warning.lineno}"
                    for warning in seen
                    if "synchroniz" in str(warning.message)
                ]
                found["waits"] = {place: where.count(place) for place in sorted(set(where))}
        losses = [float(done.loss) for done, _ in trainer._pending]
        found["losses"] = losses
        torch.use_deterministic_algorithms(False)
        trainer.model.eval()
        with torch.inference_mode():
            x = trainer.update._normalise(batch.images.to(device))
            exact = trainer.model(x.float()).main.float()
            with torch.autocast(device.type, torch.bfloat16):
                rough = trainer.model(x).main.float()
        found["bf16_agreement"] = float((exact.argmax(1) == rough.argmax(1)).float().mean())
        found["bf16_error"] = float((exact - rough).std() / exact.std())
        found["passed"] = all(np.isfinite(losses)) and bool(torch.isfinite(rough).all())
    except Exception as fault:
        found["failed"] = f"{type(fault).__name__}: {fault}"[:500]
    return found


def fill_batch(batch: int, height: int, width: int, classes: int, device: torch.device) -> Batch:
    """Return a batch of random images and masks on a device."""
    torch.manual_seed(0)
    images = torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8)
    ids = torch.randint(0, classes, (batch, height, width), dtype=torch.uint8)
    return Batch(images.to(device), ids.to(device), [""] * batch, [])


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(json.dumps(one_step(name)), flush=True)
