"""The state of a trainer: everything that its next steps depend on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dseg.training.state import (
    ADVERSARIAL_KEY,
    EMA_KEY,
    restore_adversarial,
    restore_optimizer,
    restore_weights,
)

if TYPE_CHECKING:
    from dseg.training.loop import Trainer


def take_snapshot(trainer: Trainer) -> dict[str, Any]:
    """Return everything that a resumed run needs; the tensors are not copied."""
    update = trainer.update
    return {
        "step": trainer.step,
        "validated_at": trainer.validated_at,
        "best": trainer.best,
        "stale": trainer.stale,
        "losses": trainer.losses,
        "skipped": trainer.skipped,
        "model": trainer.model.state_dict(),
        "optimizer": update.optimizer.state_dict(),
        "scaler": update.scaler.state_dict(),
        ADVERSARIAL_KEY: [parameter.data for parameter in update.adversarial],
        EMA_KEY: None if update.ema is None else update.ema.network.state_dict(),
    }


def restore_snapshot(trainer: Trainer, state: dict[str, Any]) -> None:
    """Restore what ``take_snapshot`` returned, after ``check_state``; all processes call this."""
    trainer.step, trainer.validated_at = state["step"], state["validated_at"]
    trainer.best, trainer.losses = state["best"], list(state["losses"])
    trainer.skipped, trainer.stale = state.get("skipped", 0), state.get("stale", 0)
    update = trainer.update
    restore_weights(trainer.model, state["model"])
    begun = trainer.step > 0 and not update.scaler.is_enabled()  # fp16 may have skipped all steps
    restore_optimizer(update.optimizer, state["optimizer"], begun=begun)
    update.scaler.load_state_dict(state["scaler"])
    restore_adversarial(update.adversarial, state.get(ADVERSARIAL_KEY, ()))
    if update.ema is not None:
        restore_weights(update.ema.network, state[EMA_KEY])
