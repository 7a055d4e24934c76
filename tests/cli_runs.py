"""Run dseg commands as a user does, and read their results."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from PIL import Image

from dseg.cli import main

NOT_UTF8 = os.fsdecode(b"\xff\xfe.png")


def save_noise(path, height: int, width: int, seed: int = 0) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).save(path)


def run(*words, **options):
    result = CliRunner().invoke(main, list(map(str, words)), **options)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def refused(result, code: int, problem: str, hint: str = "") -> None:
    """Check that an error is two lines on stderr, with its exit code and nothing on stdout."""
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    first, second = result.stderr.replace(os.sep, "/").splitlines()
    assert first.startswith("Error: ") and problem in first
    assert second.startswith("Hint: ") and hint in second


def misused(result, problem: str) -> None:
    """Check that the value of an option is refused before anything is written."""
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert problem in result.stderr.splitlines()[-1]
    assert not Path("dseg-out").exists()


def written(folder="dseg-out") -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in Path(folder).rglob("*") if p.is_file())


def contents(folder) -> dict[str, bytes]:
    return {name: (Path(folder) / name).read_bytes() for name in written(folder)}


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def table_rows(text: str) -> list[list[str]]:
    """Return the cells that are not empty of the rows below the line under a table's head."""
    lines = text.splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("\u2500")) + 1
    return [re.split(r"\s{2,}", line.strip()) for line in lines[first:]]
