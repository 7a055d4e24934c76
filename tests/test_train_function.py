"""Training from Python: dseg.train, and the EMA weights in the loop."""

from __future__ import annotations

from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from train_loops import Rows, make_batch, make_trainer

import dseg
from dseg.config import RuntimeConfig, TrainConfig, make_config
from dseg.errors import DsegError
from dseg.models import SegModel

SAMPLES = Path(dseg.__file__).parent / "samples"


def config(*overrides: str) -> TrainConfig:
    values = ("batch=2", "crop=32x64", "steps=2", *overrides)
    return make_config(
        "DABNet", [("scenes", str(SAMPLES))], overrides=values, split="demo", val_split=""
    )


ON_CPU = RuntimeConfig(device="cpu", workers=0)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"split": None}, "split cannot be None.\nHint: its type is str."),
        ({"seed": "x"}, "seed cannot be 'x'.\nHint: its type is int."),
        ({"model": 3}, "model cannot be 3.\nHint: give a name or a path."),
        ({"out": 3}, "out cannot be 3.\nHint: give a name or a path."),
    ],
)
def test_values_of_other_types_are_refused(wrong, problem) -> None:
    with pytest.raises(DsegError) as caught:
        dseg.train(**{"data": "nowhere", **wrong})
    assert str(caught.value) == problem


def test_two_steps_are_trained_and_two_more_after_them(here: Path) -> None:
    outcome = dseg.train(config(), "run", runtime=ON_CPU)
    assert (outcome.step, outcome.stopped, outcome.idle) == (2, False, False)
    files = {path.name for path in Path("run").iterdir()}
    assert {"last.safetensors", "metrics.jsonl", "run.json"} <= files
    with pytest.warns(UserWarning, match="The schedule changes"):
        longer = dseg.train(config("steps=4"), Path("run"), runtime=ON_CPU, resume=True)
    assert longer.step == 4


def test_a_folder_with_a_run_is_not_overwritten(here: Path) -> None:
    dseg.train(config(), "run", runtime=ON_CPU)
    before = Path("run/last.safetensors").read_bytes()
    with pytest.raises(DsegError, match="run already contains a run"):
        dseg.train(config(), "run", runtime=ON_CPU)
    with pytest.raises(DsegError, match=r"run was started with other options: lr 0.045 -> 0.5"):
        dseg.train(config("lr=0.5"), "run", runtime=ON_CPU, resume=True)
    assert Path("run/last.safetensors").read_bytes() == before


def test_what_the_command_reports_is_a_warning(here: Path) -> None:
    dseg.train(config(), "run", runtime=ON_CPU)
    with pytest.warns(UserWarning, match="The schedule changes from step 2 on"):
        dseg.train(config("steps=3"), "run", resume=True)  # with the run's own runtime options


class Weights(Rows):
    """Callbacks that collect a weight of the network at each row."""

    def __init__(self, network: SegModel):
        super().__init__()
        self._weight, self.values = network.get_parameter("classifier.weight"), list[Tensor]()
        self.row({})

    def row(self, row: dict[str, Any]) -> None:
        self.values.append(self._weight.detach().clone())


def test_the_loop_updates_the_ema_weights_after_each_step() -> None:
    trainer = make_trainer("ema=0.999", steps=2, log_every=1)
    collected = Weights(trainer.model)
    trainer.train(repeat(make_batch()), collected)
    initial, first, second = collected.values
    assert not torch.equal(initial, first) and not torch.equal(first, second)
    after_first = 0.1 * initial + 0.9 * first  # the decay of step 0 is 1/10, of step 1 2/11
    expected = after_first * 2 / 11 + second * 9 / 11
    torch.testing.assert_close(trainer.scored.get_parameter("classifier.weight").detach(), expected)


def test_the_ema_weights_are_saved_and_differ_from_the_last_ones(here: Path) -> None:
    dseg.train(config("ema=0.5"), "averaged", runtime=ON_CPU)
    dseg.train(config(), "plain", runtime=ON_CPU)
    averaged, plain = (load_file(f"{run}/last.safetensors") for run in ("averaged", "plain"))
    assert averaged.keys() == plain.keys()
    assert not torch.equal(averaged["classifier.weight"], plain["classifier.weight"])
