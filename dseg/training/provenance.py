"""Provenance of a run for run.json: command, date, versions and commit of the programs."""

from __future__ import annotations

import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision

import dseg

GIT_S = 10.0  # longest time that git may take


def describe_start(command: str | None) -> dict[str, Any]:
    """Return what is recorded each time that a run is started or resumed.

    Args:
        command: the command line; None for a run started from Python.

    Returns:
        ``command``; ``date``, in UTC and to the second; ``commit`` of dseg, see ``find_commit``;
        and ``versions``.
    """
    return {
        "command": command,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": find_commit(Path(dseg.__file__).parent),
        "versions": {
            "dseg": dseg.__version__,
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def find_commit(package: Path) -> str | None:
    """Return the commit of a package that runs from a git checkout, with ``-dirty`` if changed.

    Args:
        package: folder of the package, whose parent is the root of the checkout.

    Returns:
        40 hexadecimal digits; None for an installed package, or without git.
    """
    root = package.parent
    if not (root / ".git").exists():
        return None
    words = ("git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40")
    try:
        done = subprocess.run(
            [*words, "--exclude=*"],
            capture_output=True,
            encoding="utf-8",
            timeout=GIT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
