"""The state of a run: everything that a killed run needs to continue to the same bits."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dseg.errors import EXIT_MISFIT, DsegError
from dseg.files import rename_over, written_whole
from dseg.jsonio import is_count, is_number, show
from dseg.memory import is_out_of_memory

STATE = "state.pt"
PREVIOUS = "state-previous.pt"
SET_EACH_STEP = ("lr", "params")  # keys of an optimizer's groups that are not compared
OF_THE_DEVICE = ("foreach", "fused", "capturable")  # keys that do not change the result
EMA_KEY, ADVERSARIAL_KEY = "mean", "opponents"  # keys in the file
REQUIRED = ("step", "validated_at", "best", "losses", "model", "optimizer", "scaler", EMA_KEY)


def save_state(run: Path, state: dict[str, Any]) -> None:
    """Write the state; the one before is kept as the previous generation.

    The file is on the disk before it gets its name, so that a power cut leaves at least one
    generation.

    Args:
        run: folder of the run.
        state: tensors, numbers, strings, and dicts and lists of them.

    Raises:
        DsegError: the disk is full or cannot be written; the old generations are unchanged.
    """
    newest = run / STATE
    # in memory, as torch's file writer hides a full disk and Ctrl-C behind other errors, or aborts
    content = io.BytesIO()
    torch.save(state, content)
    with written_whole(newest) as part:
        with part.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        if newest.exists():
            rename_over(newest, run / PREVIOUS)
    _sync_folder(run)


class StateWriter:
    """Writes states in a thread, one after the other, while training continues.

    Args:
        run: folder of the run.
    """

    def __init__(self, run: Path):
        self.run = run
        self._thread = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def save(self, state: dict[str, Any]) -> None:
        """Copy a state, then write the copy in the thread by ``save_state``.

        Raises:
            DsegError: the previous state could not be written.
        """
        self.wait()
        self._writing = self._thread.submit(save_state, self.run, _copy_to_cpu(state))

    def wait(self) -> None:
        """Wait until the last state is on the disk; raises like ``save_state``."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()


def _copy_to_cpu(value: Any) -> Any:
    """Return a value with copies of its tensors on the CPU, which training does not change."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copy_to_cpu(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_copy_to_cpu, value))
    return value


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def has_state(run: Path) -> bool:
    """Return True if a folder contains a state to resume from."""
    return (run / STATE).is_file() or (run / PREVIOUS).is_file()


def load_state(run: Path) -> tuple[dict[str, Any], Path]:
    """Read the newest undamaged state onto the CPU.

    Step counts of an Adam that is not fused stay there: on a GPU, each would make the host wait in
    every step.

    Returns:
        The state and its file.

    Raises:
        DsegError: there is no state file, or it cannot be read.
    """
    problems = []
    for file in (run / STATE, run / PREVIOUS):
        if not file.is_file():
            continue
        try:
            return _read_state(file), file
        except Exception as fault:  # a damaged file can raise any exception
            if is_out_of_memory(fault):  # the file can be undamaged
                raise
            problems.append(f"{file.name}: {(str(fault) or repr(fault)).splitlines()[0][:100]}")
    raise DsegError(
        f"{run} contains no readable state{': ' if problems else '.'}{'; '.join(problems)}",
        hint="start a new run with another --out, for example from --weights best.safetensors.",
        exit_code=EXIT_MISFIT,
    )


def _read_state(file: Path) -> dict[str, Any]:
    with ZipFile(file) as archive:
        damaged = archive.testzip()  # torch does not check the checksums that it writes
    if damaged is not None:
        raise ValueError(f"{damaged} is damaged")
    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return state


def check_state(state: Any, steps: int) -> dict[str, Any]:
    """Check a saved state of a run of ``steps`` steps, and return the trainer's state in it.

    Raises:
        ValueError: a value is missing or is not possible; the message names it.
    """
    if not isinstance(state, dict) or not isinstance(state.get("trainer"), dict):
        raise ValueError("it contains no state of a trainer")
    if not isinstance(state.get("data"), (list, dict)):
        raise ValueError("it has no fingerprint of its data")
    found: dict[str, Any] = state["trainer"]
    for name in REQUIRED:
        if name not in found:
            raise ValueError(f"it has no {name}")
    step, validated_at, best = found["step"], found["validated_at"], found["best"]
    if not is_count(step):
        raise ValueError(f"its step is {show(step)}")
    if step > steps:
        raise ValueError(f"its step is {step}, the run has {steps}")
    if not is_count(validated_at) or validated_at > step:
        raise ValueError(f"it was validated at step {show(validated_at)}, of {step}")
    if best != -math.inf and not (is_number(best) and 0 <= best <= 1):
        raise ValueError(f"its best mean IoU is {show(best)}")
    losses = found["losses"]
    if not isinstance(losses, list) or not all(map(is_number, losses)) or len(losses) > step:
        raise ValueError(f"its losses are {show(losses)}, not numbers of {step} steps")
    for name, what in {"skipped": "skipped steps", "stale": "validations since the best"}.items():
        if not is_count(found.get(name, 0)):
            raise ValueError(f"its {what} are {show(found[name])}")
    _check_scaler(found["scaler"])
    for name in ("model", EMA_KEY):
        if found[name] is not None:
            _check_tensors(found[name], name)
    return found


def _check_scaler(scaler: Any) -> None:
    if not isinstance(scaler, dict) or not all(is_number(value) for value in scaler.values()):
        raise ValueError("the scale of its loss is not a number")
    if scaler and not scaler.get("scale", 0) > 0:
        raise ValueError(f"the scale of its loss is {show(scaler.get('scale'))}")


def _check_tensors(tensors: Any, what: str) -> None:
    if not isinstance(tensors, dict):
        raise ValueError(f"its {what} is {show(tensors)}")
    for key, value in tensors.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"its {what} has {show(value)} as {show(key)}")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(f"its {what} has NaN or infinity in {show(key)}")


def restore_weights(model: nn.Module, saved: Any) -> None:
    """Restore weights and statistics; other data types, which torch would convert, are an error.

    Raises:
        ValueError: a tensor has another data type.
        RuntimeError: a tensor is missing, unknown or has another shape.
    """
    if not isinstance(saved, dict):
        raise ValueError("it lacks weights")
    for key, value in model.state_dict().items():
        if key in saved and saved[key].dtype != value.dtype:
            raise ValueError(f"its {key} is {saved[key].dtype}, the network's {value.dtype}")
    model.load_state_dict(saved)


def restore_optimizer(optimizer: Optimizer, saved: Any, *, begun: bool) -> None:
    """Restore an optimizer's state if it fits the recipe and the parameters.

    Args:
        optimizer: new optimizer, made from the run's recipe.
        saved: ``state_dict`` of the saved optimizer.
        begun: True if steps were done before the state was saved.

    Raises:
        ValueError: its options or parameters differ, or it contains NaN or infinity.
    """
    if not isinstance(saved, dict) or not isinstance(saved.get("state"), dict):
        raise ValueError("its optimizer has no state")
    own = [_options_of(group) for group in optimizer.param_groups]
    has_moments = optimizer.param_groups[0].get("momentum") != 0  # SGD without momentum has none
    if begun and has_moments and not saved["state"]:
        raise ValueError("its optimizer has no moments, although steps were done")
    optimizer.load_state_dict(_for_this_device(saved, own))
    for mine, group in zip(own, optimizer.param_groups, strict=True):
        for name in mine.keys() & group.keys():
            if type(group[name]) is not type(mine[name]) or group[name] != mine[name]:
                raise ValueError(
                    f"its optimizer has {name} {show(group[name])}, the recipe {show(mine[name])}"
                )
        group.update(mine)
        for parameter in group["params"]:
            _check_moments(optimizer.state.get(parameter, {}), parameter)


def _options_of(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name not in SET_EACH_STEP}


def _for_this_device(saved: dict[str, Any], own: list[dict[str, Any]]) -> dict[str, Any]:
    """Return an optimizer's state with the device-dependent options of the new optimizer."""
    groups = saved.get("param_groups")
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        raise ValueError("its optimizer has no groups of parameters")
    options = {name: own[0][name] for name in OF_THE_DEVICE if name in own[0]}
    return {**saved, "param_groups": [{**group, **options} for group in groups]}


def _check_moments(moments: dict[str, Any], parameter: Tensor) -> None:
    for name, value in moments.items():
        if value is None:
            continue
        if not isinstance(value, Tensor) or value.shape not in (parameter.shape, torch.Size()):
            raise ValueError(f"its optimizer's {name} does not fit the network's parameters")
        if not bool(torch.isfinite(value).all()) or (name == "step" and not bool(value >= 0)):
            raise ValueError(f"its optimizer's {name} has NaN, infinite or negative values")


def restore_adversarial(parameters: Sequence[Tensor], saved: Any) -> None:
    """Restore the parameters of the loss, if it has any."""
    if not isinstance(saved, (list, tuple)) or len(saved) != len(parameters):
        raise ValueError("its number of parameters of the loss is not that of this loss")
    for parameter, value in zip(parameters, saved, strict=True):
        if not isinstance(value, Tensor) or value.shape != parameter.shape:
            raise ValueError("its parameters of the loss belong to another loss")
        if not bool(torch.isfinite(value).all()):
            raise ValueError("its parameters of the loss contain NaN or infinity")
        parameter.data.copy_(value)
