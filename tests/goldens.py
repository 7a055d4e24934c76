"""Goldens: logits that the authors' code computes, and their comparison with our networks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden.fill import fill_state_dict, make_input
from numpy.typing import NDArray
from torch import Tensor

from dseg.checkpoints import load_model
from dseg.models import SegModel
from dseg.registry import MODELS

OF_GOLDEN = {golden: name for name, spec in MODELS.items() for golden in spec.goldens}
FOLDER = Path(__file__).parent / "golden"
LOG_PROBABILITIES = ("dfn_r50_torchseg",)  # goldens that are log-probabilities, not logits
WITH_AUXILIARY = ("aux", "aug")  # in the names of goldens of networks with auxiliary heads
TOLERANCE = 1e-4  # relative to the standard deviation of the golden's logits


@dataclass(frozen=True)
class Difference:
    """Largest difference from the logits of a golden, in standard deviations of the golden."""

    case: str
    worst: float

    @property
    def passed(self) -> bool:
        return self.worst <= TOLERANCE


def read_contract(folder: Path, golden: str) -> dict[str, Any]:
    """Return ``<golden>.json`` of a folder."""
    contract: dict[str, Any] = json.loads((folder / f"{golden}.json").read_text())
    return contract


def load_recorded(folder: Path, golden: str) -> Any:
    """Return the arrays of a golden, kept once with those of the network with auxiliary heads.

    Its main logits are the same, bit for bit.
    """
    name, _, release = golden.rpartition("_")
    named = (golden, *(f"{name}_{mark}_{release}" for mark in WITH_AUXILIARY))
    files = [file for file in (folder / f"{name}.npz" for name in named) if file.is_file()]
    return np.load(files[0] if files else folder / f"{golden}.npz")


def list_goldens(folder: Path) -> list[str]:
    """Return the goldens of networks that the registry names or the folder has."""
    files = (file for suffix in ("json", "npz") for file in folder.glob(f"*.{suffix}"))
    found = {file.stem for file in files if not file.stem.startswith("block_")}
    return sorted(found | OF_GOLDEN.keys())


def save_as_the_authors_do(contract: dict[str, Any], path: Path) -> None:
    """Fill the state dict of a contract and save it in the file format of its authors."""
    filled = fill_state_dict(contract["state_dict"], contract["gain"])
    state = {key: torch.from_numpy(value) for key, value in filled.items()}
    if contract["name"].endswith("_deepmotion"):  # torch 0.3, DataParallel
        state = {f"module.{key}": value for key, value in state.items()}
        torch.save(state, path, _use_new_zipfile_serialization=False)
    elif contract["name"].startswith("dabnet_"):
        torch.save({"epoch": 1000, "model": state}, path)
    elif contract["name"].endswith(("_semseg", "_decouple", "_nvidia", "_lxtgh")):  # DataParallel
        state = {f"module.{key}": value for key, value in state.items()}
        torch.save({"epoch": 200, "state_dict": state, "optimizer": {}}, path)
    elif contract["name"].endswith("_danet"):
        torch.save({"epoch": 240, "state_dict": state, "best_pred": 0.0}, path)
    elif contract["name"].endswith("_emanet"):
        torch.save({"net": state, "step": 30_000}, path)
    elif contract["name"].endswith(("_xujiacong", "_ydhonghit")):  # with the losses' buffers
        state = {f"model.{key}": value for key, value in state.items()}
        torch.save({**state, "sem_loss.criterion.weight": torch.ones(19)}, path)
    elif contract["name"].endswith("_torchseg"):
        torch.save({"model": state, "epoch": 80, "iteration": 0}, path)
    elif contract["name"].endswith("_gyyang"):  # mmengine
        hub = {"log_scalars": {}, "runtime_info": {"iter": 120_000}, "resumed_keys": {}}
        torch.save({"meta": {"seed": 304}, "state_dict": state, "message_hub": hub}, path)
    else:
        torch.save(state, path)


def load_golden(golden: str, file: Path) -> SegModel:
    """Load the checkpoint of a golden with plain norms, as the golden was recorded."""
    return load_model(OF_GOLDEN[golden], weights=file, inplace_abn=False)


def compare_cases(model: SegModel, folder: Path, golden: str) -> Iterator[Difference]:
    """Compare a network in evaluation mode with every recorded case of a folder.

    If the network's logits have another size than the recorded ones, the authors' code upsamples
    to the size of the image, and so does the comparison.
    """
    outputs = read_contract(folder, golden).get("outputs", {})
    if not outputs:  # a contract with keys and shapes only
        return
    recorded = load_recorded(folder, golden)
    device = next(model.parameters()).device
    model.training = True  # not of its submodules: auxiliary logits, but norms in evaluation
    for case, facts in outputs.items():
        image = make_input(facts["seed"], facts["height"], facts["width"], facts.get("batch", 1))
        with torch.inference_mode():
            maps = model.logits(model.pad(torch.from_numpy(image).to(device)))
        expected = [(case, facts), *_list_aux(case, facts, recorded)]
        for scores, (key, stats) in zip(maps, expected, strict=len(expected) > 1):
            size = tuple(stats["full_shape"][-2:])
            scores = model.resize(scores, *size) if scores.shape[-2:] != size else scores
            if golden in LOG_PROBABILITIES:
                scores = scores.log_softmax(1)
            yield Difference(
                key, _worst(scores, recorded[key], stats.get("stride", 1), stats["std"])
            )
    model.training = False


def _list_aux(case: str, facts: dict[str, Any], recorded: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the key and facts of each recorded auxiliary output of a case, in order."""
    if "aux" in facts:
        return [(facts["aux"]["key"], {"stride": facts.get("stride", 1), **facts["aux"]})]
    found = []
    for index, shape in enumerate(facts.get("aux_shapes", ())):
        key = f"{case}_aux{index + 1}"
        if key in recorded.files:
            stride, std = facts["aux_stride"][index], facts["aux_stats"][index]["std"]
            found.append((key, {"full_shape": shape, "stride": stride, "std": std}))
    return found


def _worst(scores: Tensor, expected: NDArray[Any], stride: int, std: float) -> float:
    ours = scores.cpu().numpy()[..., ::stride, ::stride]
    if ours.shape != expected.shape:
        return float("inf")
    return float(np.abs(ours - expected).max() / std)
