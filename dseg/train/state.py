"""The state of a run: all that a killed run needs to go on to the same bits."""

from __future__ import annotations

import io
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch
from torch import Tensor

from dseg.errors import EXIT_MISFIT, DsegError
from dseg.files import written_whole
from dseg.memory import is_out_of_memory

STATE = "state.pt"
PREVIOUS = "state-previous.pt"


def save_state(run: Path, state: dict[str, Any]) -> None:
    """Write the state; the one before it stays as the previous generation.

    It is on the disk before it takes its name, so that a power cut leaves one generation at least.

    Args:
        run: the run's folder.
        state: tensors, numbers, texts, and dicts and lists of them.

    Raises:
        DsegError: the disk is full or cannot be written; the old generations are left as they are.
    """
    newest = run / STATE
    # in memory: torch's writer hides a full disk and Ctrl-C behind errors of its own, or aborts
    content = io.BytesIO()
    torch.save(state, content)
    with written_whole(newest) as part:
        with part.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        if newest.exists():
            newest.replace(run / PREVIOUS)
    _sync_folder(run)


class StateWriter:
    """Writes states in a thread, one after the other, while training goes on.

    Args:
        run: the run's folder.
    """

    def __init__(self, run: Path):
        self.run = run
        self._thread = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def save(self, state: dict[str, Any]) -> None:
        """Copy a state, then write the copy by ``save_state``.

        Raises:
            DsegError: the state before could not be written.
        """
        self.wait()
        self._writing = self._thread.submit(save_state, self.run, _copy_to_cpu(state))

    def wait(self) -> None:
        """Wait until the last state is on the disk; raise as ``save_state``."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()


def _copy_to_cpu(value: Any) -> Any:
    """Return a value with copies of its tensors, which may change from here on."""
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
    """Tell whether a folder holds a state to go on from."""
    return (run / STATE).is_file() or (run / PREVIOUS).is_file()


def load_state(run: Path) -> tuple[dict[str, Any], Path]:
    """Read the newest state that is whole, onto the CPU.

    There Adam's counts of steps stay unless it is fused: on a GPU, each would make the host wait in
    every step.

    Returns:
        The state and its file.

    Raises:
        DsegError: there is none, or none of them can be read.
    """
    problems = []
    for file in (run / STATE, run / PREVIOUS):
        if not file.is_file():
            continue
        try:
            return _read_state(file), file
        except Exception as fault:  # a damaged file makes readers fail in any way
            if is_out_of_memory(fault):  # the file may be whole
                raise
            problems.append(f"{file.name}: {(str(fault) or repr(fault)).splitlines()[0][:100]}")
    raise DsegError(
        f"{run} holds no state that can be read{': ' if problems else '.'}{'; '.join(problems)}",
        hint="start anew with another --out, from best.safetensors if you like (--weights).",
        exit_code=EXIT_MISFIT,
    )


def _read_state(file: Path) -> dict[str, Any]:
    with ZipFile(file) as archive:
        damaged = archive.testzip()  # torch does not compare the checksums that it writes
    if damaged is not None:
        raise ValueError(f"{damaged} is damaged")
    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return state
