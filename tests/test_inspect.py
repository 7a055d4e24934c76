"""dseg inspect and dseg models as a user runs them."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import torch
from checkpoint_files import (
    NAME,
    Evil,
    card_of,
    write,
)
from click.testing import CliRunner, Result
from torch import Tensor

import dseg
from dseg.checkpoints import (
    save_model,
    sha256,
)
from dseg.cli import main
from dseg.models import build_model


def strict(text: str) -> Any:
    def fail(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=fail)


def inspect(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["inspect", *arguments])


def test_inspect_describes_an_authors_file(state: dict[str, Tensor], tmp_path: Path) -> None:
    content = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}
    file = write(content, tmp_path / "a.pth", zipped=False)
    result = inspect(str(file))
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert f"file: {file}" in lines
    assert f"sha256: {sha256(file)}" in lines
    assert "format: torch legacy" in lines
    assert "container: state_dict" in lines
    assert "beside: epoch" in lines
    assert f"tensors: {len(state)}" in lines
    assert "types: float32, int64" in lines
    assert "fits: mobilenetdenseaspp, mobilenetdenseaspp_os16" in lines
    assert "keys:" not in lines


def test_inspect_lists_keys(tmp_path: Path) -> None:
    file = write({"b.weight": torch.ones(2, 3)}, tmp_path / "a.pth")
    lines = inspect(str(file), "--keys").output.splitlines()
    assert lines[-2:] == ["keys:", "  b.weight: [2, 3]"]
    assert "fits: none" in lines
    assert strict(inspect(str(file), "--keys", "--json", "-").stdout)["keys"] == {
        "b.weight": [2, 3]
    }


def test_inspect_of_our_own_file_is_strict_json(tmp_path: Path) -> None:
    file = tmp_path / "own.safetensors"
    save_model(build_model(NAME, 2), file, scores={"miou": 50.5, "empty": math.nan})
    facts = strict(inspect(str(file), "--json", "-").stdout)
    assert facts["format"] == "safetensors"
    assert facts["network"] == NAME
    assert facts["label_space"] == "unnamed-2"
    assert facts["classes"] == ["class 0", "class 1"]
    assert facts["colors"] == [[128, 0, 0], [0, 128, 0]]
    assert facts["mean"] == [0.290101, 0.328081, 0.286964]
    assert facts["scores"] == {"miou": 50.5, "empty": None}
    assert facts["bytes"] == file.stat().st_size
    assert "NaN" not in json.dumps(card_of(file))
    target = tmp_path / "facts.json"
    assert "network: mobilenetdenseaspp" in inspect(str(file), "--json", str(target)).stdout
    assert strict(target.read_text()) == facts


def test_inspect_refuses_in_two_lines_with_exit_code_3(tmp_path: Path) -> None:
    file = write(Evil(os.system, f"touch {tmp_path / 'ran'}"), tmp_path / "evil.pth")
    result = inspect(str(file))
    assert result.exit_code == 3
    error, hint = result.stderr.splitlines()
    assert error.startswith("Error: ") and "contains code" in error
    assert hint.startswith("Hint: ask its author")
    assert result.stdout == ""
    assert not (tmp_path / "ran").exists()
    assert inspect(str(tmp_path / "none.pth")).exit_code == 3


def test_models_lists_every_network_as_strict_json() -> None:
    rows = strict(CliRunner().invoke(main, ["models", "--json"]).stdout)
    assert [row["name"] for row in rows] == list(dseg.MODELS)
    (large,) = [row for row in rows if row["name"] == "denseaspp161"]
    assert (large["params"], large["gmacs"]) == (35_395_427, 1239.479222272)
    assert large["gflops"] == 2478.958444544
    assert large["weights"] == "denseASPP161.pkl"
    shown = CliRunner().invoke(main, ["models"], env={"COLUMNS": "200"}).output
    assert all(name in shown for name in dseg.MODELS)


def test_models_with_words_lists_those_with_all_of_them() -> None:
    def listed(*words: str) -> list[str]:
        rows = strict(CliRunner().invoke(main, ["models", *words, "--json"]).stdout)
        return [row["name"] for row in rows]

    assert listed("PSPNet", "r101", "cityscapes") == ["pspnet_r101", "pspnet_r101_gald"]
    assert listed("camvid") == ["dabnet_camvid", "espnet_camvid"]
    assert listed("ADE20K", "PSA") == ["psanet_r50_ade20k", "psanet_r101_ade20k"]
    fault = CliRunner().invoke(main, ["models", "pspnet", "zzz"])
    assert fault.exit_code == 2
    assert fault.stderr.startswith("Error: No network matches pspnet and zzz.")


def test_inspect_prints_no_line_that_a_file_wrote(tmp_path: Path) -> None:
    file = write({"net": {"a.w": torch.ones(1)}, "x\nError: forged\x1b[31m": 1}, tmp_path / "a.pth")
    output = inspect(str(file)).output
    assert "beside: x\\nError: forged\\x1b[31m" in output.splitlines()
    assert not any(line.startswith("Error") for line in output.splitlines())
