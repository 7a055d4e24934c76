"""Resume a run: restore its state, and compare data, schedule and threads with those before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dseg.errors import EXIT_MISFIT, DsegError, counted
from dseg.training.fingerprint import find_changes, is_of_names
from dseg.training.loop import Trainer
from dseg.training.run_dir import RunDir
from dseg.training.run_json import read_steps
from dseg.training.state import STATE, check_state, load_state


def resume_run(
    trainer: Trainer, run_dir: RunDir, *, accept_data: bool
) -> tuple[list[dict[str, Any]], list[str]]:
    """Restore the newest state of a run.

    Args:
        trainer: trainer of the run.
        run_dir: folder of the run.
        accept_data: continue although the data have changed.

    Returns:
        Changes of data and schedule for run.json, and remarks for the user.

    Raises:
        DsegError: no state can be read, or it belongs to another network, to other data, or to more
            steps than the run now has.
    """
    run, steps = run_dir.run, trainer.intervals.steps
    before = read_steps(run) or steps
    state, file = load_state(run)
    try:
        saved = check_state(state, max(before, steps))
        _refuse_shorter(run, saved["step"], trainer)
        changes = _compare_data(state["data"], trainer, run_dir, accept_data)
        trainer.restore(saved)
    except (LookupError, ValueError, RuntimeError, TypeError, AttributeError) as fault:
        raise DsegError(
            f"{file} does not fit this network: {str(fault).splitlines()[0].rstrip('.:')}.",
            hint="start a new run with another --out.",
            exit_code=EXIT_MISFIT,
        ) from fault
    if steps != before:
        recipe = trainer.recipe
        epochs = counted(steps * recipe.batch / len(trainer.train_set), "epoch")
        changes.append(
            f"The schedule changes from step {trainer.step} on: {recipe.schedule} over {steps} "
            f"steps ({epochs}), {before} before."
        )
    recorded = [{"step": trainer.step, "what": change} for change in changes]
    if file.name != STATE:
        changes.append(
            f"WARNING: {run / STATE} is missing or damaged; continuing from {file.name}, which is "
            f"from step {trainer.step}."
        )
    return recorded, [*changes, *_compare_threads(state, run_dir)]


def _refuse_shorter(run: Path, done: int, trainer: Trainer) -> None:
    steps, recipe = trainer.intervals.steps, trainer.recipe
    if done > steps:
        epochs = recipe.batch / len(trainer.train_set)
        raise DsegError(
            f"{run} has done {_length(done, epochs)}, more than the {_length(steps, epochs)} that "
            "are requested.",
            hint="use more --epochs, or start a new run with another --out.",
        )


def _compare_data(then: Any, trainer: Trainer, run_dir: RunDir, accept_data: bool) -> list[str]:
    """Refuse data that have changed unless they are accepted; return remarks for the user."""
    if isinstance(then, list):
        if is_of_names(then, trainer.train_set):
            return [
                "The state is from an older dseg, which saved only the names of the images: "
                "changes of their contents cannot be detected."
            ]
        count = then[0] if then and isinstance(then[0], int) else "an unknown number"
        found = (
            "The data are not those that the run was started with: "
            f"{len(trainer.train_set)} images now, {count} then, or other names"
        )
    else:
        found = find_changes(then, run_dir.data)
    if not found:
        return []
    if accept_data:
        return [f"WARNING: {found}; they are accepted."]
    raise DsegError(
        f"{found}.",
        hint="restore the data set, continue with the changed data by --accept-data, or start a "
        "new run with another --out.",
        exit_code=EXIT_MISFIT,
    )


def _compare_threads(state: dict[str, Any], run_dir: RunDir) -> list[str]:
    """Return a warning if the run is deterministic and the number of threads has changed."""
    then = state.get("threads", run_dir.threads)
    if not run_dir.config.deterministic or then == run_dir.threads:
        return []
    return [
        f"WARNING: this run was computed with {then} threads per process, now {run_dir.threads}: "
        "its result will differ from that of an uninterrupted run (set "
        f"OMP_NUM_THREADS={then})."
    ]


def _length(steps: int, epochs: float) -> str:
    """Return a number of steps, each of which is that many epochs, in words."""
    return f"{counted(steps, 'step')} ({counted(steps * epochs, 'epoch')})"
