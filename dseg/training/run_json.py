"""run.json: the configuration of a run, as written to its folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dseg.config import RuntimeConfig, TrainConfig
from dseg.errors import DsegError
from dseg.files import write_json
from dseg.jsonio import is_count, read_object, show, strict, take_fields

RUN_FILE = "run.json"


def read_config(run: Path) -> TrainConfig:
    """Read the configuration from a run's folder.

    Raises:
        DsegError: there is none, or it is damaged or from another version.
    """
    with _read_errors_reported(run) as file:
        return TrainConfig.from_json(_read_object(file, "settings"))


def read_runtime(run: Path) -> RuntimeConfig:
    """Read the runtime options that a run last had; raises like ``read_config``."""
    with _read_errors_reported(run) as file:
        return RuntimeConfig(
            **take_fields(RuntimeConfig, _read_object(file, "conditions"), "conditions")
        )


def read_steps(run: Path) -> int | None:
    """Read the total number of steps that a run last had; None if it cannot be read."""
    steps = _read_value(run, "steps")
    return steps if is_count(steps) else None


def read_changes(run: Path) -> list[Any]:
    """Read the changes of data and schedule during a run."""
    changes = _read_value(run, "changes")
    return changes if isinstance(changes, list) else []


def _read_value(run: Path, name: str) -> Any:
    try:
        return read_object(run / RUN_FILE).get(name)
    except (OSError, ValueError):
        return None


def _read_object(file: Path, name: str) -> dict[str, Any]:
    value = read_object(file).get(name)
    if not isinstance(value, dict):
        raise ValueError(f"{name} are {show(value)}")
    return value


@contextmanager
def _read_errors_reported(run: Path) -> Iterator[Path]:
    file = run / RUN_FILE
    try:
        yield file
    except FileNotFoundError:
        raise DsegError(
            f"{run} contains no run to continue.",
            hint="name the --out of an earlier dseg train, or start one: dseg train --help",
        ) from None
    except (OSError, ValueError, DsegError) as fault:
        reason = fault.problem if isinstance(fault, DsegError) else str(fault)
        raise DsegError(
            f"{file} cannot be read: {reason.rstrip('.')}.",
            hint="it is damaged or from another version of dseg; start a new run with another "
            "--out.",
        ) from fault


def read_facts(run: Path, *names: str) -> dict[str, Any]:
    """Read further facts of a run, those that it has and that can be read."""
    found = {name: _read_value(run, name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def write_config(run: Path, config: TrainConfig, facts: dict[str, Any]) -> None:
    """Write the configuration and further facts of a run to its folder."""
    write_json(run / RUN_FILE, strict({"settings": config.as_json(), **facts}))


def find_score(rows: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the best and the last validation in rows of metrics; None without any.

    Returns:
        ``best`` and ``last``, each with ``step``, ``epoch``, ``miou``, ``pixel_accuracy`` and
        ``loss``. Without a finite mean IoU, the first validation is the best.
    """
    validations = [row for row in rows if row.get("kind") == "val"]
    if not validations:
        return None
    best = max(validations, key=lambda row: row.get("miou") or 0.0)
    names = ("step", "epoch", "miou", "pixel_accuracy", "loss")
    return {
        kind: {name: row.get(name) for name in names}
        for kind, row in {"best": best, "last": validations[-1]}.items()
    }
