"""Settings: all that decides what a training run computes, as written to the run's folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dseg import __version__
from dseg.config import RuntimeConfig, TrainConfig
from dseg.errors import DsegError
from dseg.files import write_json
from dseg.jsonio import is_count, read_object, show, take_fields

RUN_FILE = "run.json"


def read_config(run: Path) -> TrainConfig:
    """Read the config of a run's folder.

    Raises:
        DsegError: there is none, or it is damaged or of another version.
    """
    with _faults_told(run) as file:
        return TrainConfig.from_json(_read_part(file, "settings"))


def read_runtime(run: Path) -> RuntimeConfig:
    """Read what a run's folder was last computed under; raises as ``read_settings``."""
    with _faults_told(run) as file:
        return RuntimeConfig(
            **take_fields(RuntimeConfig, _read_part(file, "conditions"), "conditions")
        )


def read_steps(run: Path) -> int | None:
    """Read how many steps a run was last to have; None if that is not known."""
    steps = _read_fact(run, "steps")
    return steps if is_count(steps) else None


def read_changes(run: Path) -> list[Any]:
    """Read what has changed in the course of a run."""
    changes = _read_fact(run, "changes")
    return changes if isinstance(changes, list) else []


def _read_fact(run: Path, name: str) -> Any:
    try:
        return read_object(run / RUN_FILE).get(name)
    except (OSError, ValueError):
        return None


def _read_part(file: Path, name: str) -> dict[str, Any]:
    part = read_object(file).get(name)
    if not isinstance(part, dict):
        raise ValueError(f"{name} are {show(part)}")
    return part


@contextmanager
def _faults_told(run: Path) -> Iterator[Path]:
    file = run / RUN_FILE
    try:
        yield file
    except FileNotFoundError:
        raise DsegError(
            f"{run} holds no run to go on with.",
            hint="name the --out of an earlier dseg train, or start one: dseg train --help",
        ) from None
    except (OSError, ValueError, DsegError) as fault:
        reason = fault.problem if isinstance(fault, DsegError) else str(fault)
        raise DsegError(
            f"{file} cannot be read: {reason.rstrip('.')}.",
            hint="it is damaged or of another version of dseg; start anew with another --out.",
        ) from fault


def write_config(run: Path, config: TrainConfig, facts: dict[str, Any]) -> None:
    """Write the config, and what else there is to know of the run, to its folder."""
    versions = {"dseg": __version__, "torch": torch.__version__, "numpy": np.__version__}
    write_json(run / RUN_FILE, {"settings": config.as_json(), **facts, "versions": versions})
