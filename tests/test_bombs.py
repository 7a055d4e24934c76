"""Small checkpoint files that demand much memory or time, or declare data that they lack."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from bomb_files import FILES, PICKLES, archive, legacy
from checkpoint_files import refused
from safetensors.torch import save_file

import dseg
from dseg.checkpoints import load_model, read_checkpoint
from dseg.models import build_model


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_that_asks_for_much_is_refused(name: str, zipped: bool, tmp_path: Path) -> None:
    body, reason = PICKLES[name]
    file = tmp_path / "bomb.pth"
    (archive if zipped else legacy)(file, body)
    assert reason in refused(lambda: read_checkpoint(file)).problem


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_asks_for_much_is_refused(name: str, tmp_path: Path) -> None:
    make, reason = FILES[name]
    make(tmp_path / "bomb.pth")
    assert reason in refused(lambda: read_checkpoint(tmp_path / "bomb.pth")).problem


CHILD = """
import resource, sys
from pathlib import Path
from dseg.checkpoints import read_checkpoint
from dseg.errors import CheckpointError
held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (1 << 30), held + (1 << 30)))
for file in sys.argv[1:]:
    try:
        read_checkpoint(Path(file))
    except CheckpointError as fault:
        assert "refused" in fault.problem or "not a complete checkpoint" in fault.problem, fault
    else:
        raise AssertionError(file)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc")
def test_no_such_file_takes_a_gigabyte(tmp_path: Path) -> None:
    for name, (body, _) in PICKLES.items():
        if not name.startswith("many"):  # which take time, not memory
            archive(tmp_path / f"{name} zip.pth", body)
            legacy(tmp_path / f"{name} legacy.pth", body)
    for name, (make, _) in FILES.items():
        if "many" not in name and "large" not in name:
            make(tmp_path / f"{name.replace(':', '')}.pth")
    files = [str(file) for file in sorted(tmp_path.iterdir())]
    env = {**os.environ, "PYTHONPATH": str(Path(dseg.__file__).parent.parent)}
    words = (sys.executable, "-c", CHILD, *files)
    done = subprocess.run(words, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_what_trainers_save_is_not_taken_for_a_bomb(zipped: bool, tmp_path: Path) -> None:
    shared = torch.arange(12.0)
    content = {
        "state_dict": OrderedDict(a=shared.view(3, 4), b=shared[:4], c=torch.ones(1).expand(1000)),
        "optimizer": {"state": {i: {"step": torch.tensor(1.0)} for i in range(3000)}},
        "rng": (2**127 + 1, (1.5, "x"), {(1, 2): 3, 0.5: b"bytes", 2**63: {1, 2}}),
        "size": torch.Size([1, 2]),
        "bytes": bytearray(5),
    }
    file = tmp_path / "whole.pth"
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    state = read_checkpoint(file).state
    assert {key: list(value.shape) for key, value in state.items()} == {
        "a": [3, 4],
        "b": [4],
        "c": [1000],
    }
    assert torch.equal(state["a"], shared.view(3, 4))


def test_shapes_of_a_file_build_no_network_out_of_proportion(tmp_path: Path) -> None:
    state = dict(build_model("fastscnn", aux=True).state_dict())
    state["aux.reduce.conv.weight"] = torch.zeros(1 << 20, 0, 1, 1)
    save_file(state, tmp_path / "wide.safetensors")
    fault = refused(lambda: load_model("fastscnn", tmp_path / "wide.safetensors"))
    assert "has damaged shapes: fastscnn with {'aux': True, 'aux_mid': 1048576}" in fault.problem
