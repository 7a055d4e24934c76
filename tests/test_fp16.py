"""Training in fp16: steps whose gradients overflow are skipped, and nothing else is changed."""

from __future__ import annotations

import copy
import math
from itertools import repeat
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD
from train_loops import Rows, make_batch, make_trainer

from dseg.errors import DsegError
from dseg.models import SegOutput
from dseg.training.loop import Trainer


def fp16_trainer(*overrides: str, steps: int, run: Path = Path()) -> Trainer:
    return make_trainer("ema=0.9", *overrides, amp=torch.float16, steps=steps, log_every=1, run=run)


def set_scale(trainer: Trainer, scale: float) -> None:
    state = trainer.update.scaler.state_dict()
    trainer.update.scaler.load_state_dict({**state, "scale": scale})


def state_of(trainer: Trainer) -> dict[str, Tensor]:
    assert trainer.update.ema is not None
    means = {f"mean.{k}": v for k, v in trainer.update.ema.network.state_dict().items()}
    both = {**trainer.model.state_dict(), **means}
    return copy.deepcopy({k: v for k, v in both.items() if v.is_floating_point()})


def differing(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {key for key in before if not torch.equal(before[key], after[key])}


@pytest.mark.parametrize("clip", [(), ("clip=1",)])
def test_a_step_without_overflow_changes_weights_statistics_and_ema(
    clip: tuple[str, ...],
) -> None:
    rows = Rows()
    trainer = fp16_trainer(*clip, steps=1)
    before = state_of(trainer)
    trainer.train(repeat(make_batch()), rows)
    assert differing(before, state_of(trainer)) == set(before)
    assert "skipped_steps" not in rows.rows[0]


@pytest.mark.parametrize("clip", [(), ("clip=1",)])
def test_a_step_whose_gradients_overflow_changes_nothing(clip: tuple[str, ...]) -> None:
    rows = Rows()
    trainer = fp16_trainer(*clip, steps=1)
    set_scale(trainer, 2.0**60)
    before = state_of(trainer)
    trainer.train(repeat(make_batch()), rows)
    assert differing(before, state_of(trainer)) == set()
    assert rows.rows[0]["skipped_steps"] == 1
    assert trainer.update.scaler.get_scale() == 2.0**59


class Overflowing:
    """A network with infinite inputs, and so infinite scores and statistics, in the first calls."""

    def __init__(self, trainer: Trainer, times: int):
        self.network, self.left = trainer.update.network, times

    def train(self) -> None:
        self.network.train()

    def __call__(self, x: Tensor) -> SegOutput:
        self.left -= 1
        output: SegOutput = self.network(x * (math.inf if self.left >= 0 else 1))
        return output


def test_a_nan_loss_is_left_out_and_its_step_skipped(tmp_path: Path) -> None:
    rows = Rows()
    trainer = fp16_trainer(steps=3, run=tmp_path)
    trainer.update.network = Overflowing(trainer, 1)  # type: ignore[assignment]
    before = state_of(trainer)
    trainer.train(repeat(make_batch()), rows)
    assert math.isnan(rows.rows[0]["loss"])
    assert [row.get("skipped_steps", 0) for row in rows.rows] == [1, 0, 0]
    assert all(math.isfinite(row["loss"]) for row in rows.rows[1:])
    after = state_of(trainer)
    assert all(bool(torch.isfinite(value).all()) for value in after.values())
    assert differing(before, after) == set(before)
    assert list(tmp_path.iterdir()) == []


def test_losses_that_stay_nan_end_the_run(tmp_path: Path) -> None:
    trainer = fp16_trainer(steps=99, run=tmp_path)
    set_scale(trainer, 4.0)
    trainer.update.network = Overflowing(trainer, 99)  # type: ignore[assignment]
    with pytest.raises(DsegError, match=r"The loss of step 3 is nan"):  # at a scale of 1/2
        trainer.train(repeat(make_batch()), Rows())
    assert [file.name for file in tmp_path.iterdir()] == ["not-a-number.json"]


def test_momentum_is_zero_until_a_step_is_not_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    def fused(model: nn.Module, *_: object, **__: object) -> SGD:  # as on CUDA
        groups = [{"params": list(model.parameters()), "factor": 1.0}]
        return SGD(groups, lr=0.1, momentum=0.9, fused=True)

    monkeypatch.setattr("dseg.training.step.make_optimizer", fused)
    trainer = fp16_trainer(steps=2)
    set_scale(trainer, 2.0**60)
    trainer.update(0, [make_batch()])

    def buffers() -> list[Tensor]:
        return [state["momentum_buffer"] for state in trainer.update.optimizer.state.values()]

    assert len(buffers()) == len(list(trainer.model.parameters()))
    assert all(buffer.count_nonzero() == 0 for buffer in buffers())
    set_scale(trainer, 1.0)
    trainer.update(1, [make_batch()])
    assert any(buffer.count_nonzero() > 0 for buffer in buffers())


def test_skipped_steps_are_counted_over_a_stop() -> None:
    first, second = Rows(), Rows()
    trainer = make_trainer(amp=torch.float16, steps=2)
    set_scale(trainer, 2.0**60)
    trainer.stopping = lambda: True
    trainer.train(repeat(make_batch()), first)
    assert (trainer.step, first.rows) == (1, [])
    resumed = make_trainer(amp=torch.float16, steps=2)
    resumed.restore(copy.deepcopy(trainer.state()))
    resumed.train(repeat(make_batch()), second)
    assert [row["skipped_steps"] for row in second.rows] == [2]
