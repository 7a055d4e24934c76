"""The number of cores that a process can use, and what is set before torch is imported."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

import pytest
import torch

from dseg import parallel as cores
from dseg.parallel import count_cores, prepare_threads, read_quota
from dseg.predict.readahead import find_threads, use_threads
from dseg.protocol import Protocol


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2.0),
        ("0::/\n", {"cpu.max": "max 100000\n"}, math.inf),
        ("0::/a/b\n", {"a/cpu.max": "150000 100000\n", "a/b/cpu.max": "max 100000\n"}, 1.5),
        ("0::/a/b\n", {"a/cpu.max": "400000 100000\n", "a/b/cpu.max": "50000 100000\n"}, 0.5),
        ("0::/../../x\n", {"cpu.max": "300000 100000\n"}, 3.0),
        (
            "4:cpu,cpuacct:/docker/x\n1:memory:/y\n",
            {
                "cpu,cpuacct/docker/x/cpu.cfs_quota_us": "250000\n",
                "cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000\n",
            },
            2.5,
        ),
        (
            "4:cpu,cpuacct:/docker/x\n",
            {"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            1.0,
        ),
        (
            "4:cpu:/\n",
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            math.inf,
        ),
        ("4:cpuset:/a\n", {"cpuset/a/cpu.max": "100000 100000\n"}, math.inf),
        ("0::/\n", {"cpu.max": "damaged\n"}, math.inf),
        ("0::/\n", {"cpu.max": "100000 0\n"}, math.inf),
        ("nothing\n", {}, math.inf),
        ("", {}, math.inf),
    ],
)
def test_the_cpu_quota(
    tmp_path: Path, membership: str, files: dict[str, str], expected: float
) -> None:
    write(tmp_path, {"self": membership} | {f"cgroup/{name}": t for name, t in files.items()})
    assert read_quota(tmp_path / "cgroup", tmp_path / "self") == expected


def use(monkeypatch: pytest.MonkeyPatch, root: Path, allowed: int, limit: str) -> None:
    write(root, {"self": "0::/\n", "cgroup/cpu.max": limit})
    monkeypatch.setattr(cores, "CGROUPS", root / "cgroup")
    monkeypatch.setattr(cores, "MEMBERSHIP", root / "self")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(allowed)), raising=False)


@pytest.mark.parametrize(
    ("allowed", "limit", "expected"),
    [
        (64, "200000 100000", 2),
        (64, "150000 100000", 2),
        (64, "max 100000", 64),
        (3, "800000 100000", 3),
        (4, "10000 100000", 1),
    ],
)
def test_cores_are_those_allowed_and_paid_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: int, limit: str, expected: int
) -> None:
    use(monkeypatch, tmp_path, allowed, limit)
    assert count_cores() == expected


NAMES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}


@pytest.mark.parametrize(
    ("given", "limit", "expected"),
    [
        ({}, "max 100000", PASSIVE),
        ({}, "200000 100000", PASSIVE | {"OMP_NUM_THREADS": "2"}),
        ({"OMP_NUM_THREADS": "7"}, "200000 100000", PASSIVE | {"OMP_NUM_THREADS": "7"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "max 100000", {"OMP_WAIT_POLICY": "ACTIVE"}),
        ({"GOMP_SPINCOUNT": "9"}, "max 100000", {"GOMP_SPINCOUNT": "9"}),
        ({"KMP_BLOCKTIME": "9"}, "max 100000", {"KMP_BLOCKTIME": "9"}),
    ],
)
def test_what_is_set_before_torch_is_loaded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, str],
    limit: str,
    expected: dict[str, str],
) -> None:
    use(monkeypatch, tmp_path, 64, limit)
    monkeypatch.setattr(cores, "_ours", False)
    monkeypatch.setattr(os, "environ", dict(given))
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    prepare_threads()
    assert {name: os.environ[name] for name in NAMES if name in os.environ} == expected


@pytest.mark.parametrize(
    ("size", "fields", "expected"),
    [
        ((64, 96), {}, 1),
        ((128, 256), {}, 1),
        ((128, 257), {}, 4),
        ((64, 96), {"scales": (1.0, 3.0)}, 4),
        ((1024, 2048), {"input_size": (64, 64)}, 1),
    ],
)
def test_a_small_view_is_computed_by_one_thread(size, fields, expected) -> None:
    assert find_threads(size, Protocol(**fields), 4) == expected


@pytest.mark.parametrize(("ours", "expected"), [(True, 1), (False, 2)])
def test_the_users_choice_of_threads_stays(monkeypatch, ours: bool, expected: int) -> None:
    torch.set_num_threads(2)
    monkeypatch.setattr(cores, "_ours", ours)
    use_threads(1)
    assert torch.get_num_threads() == expected


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_threads_named_in_the_environment_are_a_choice(monkeypatch, name: str) -> None:
    monkeypatch.setattr(cores, "_ours", False)
    monkeypatch.setattr(os, "environ", {name: "2"})
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    prepare_threads()
    assert not cores.is_choice_ours()
    monkeypatch.setattr(os, "environ", {})
    prepare_threads()
    assert cores.is_choice_ours()


def test_nothing_is_set_once_torch_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setitem(sys.modules, "torch", sys)
    prepare_threads()
    assert os.environ == {}
