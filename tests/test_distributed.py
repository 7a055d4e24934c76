"""Two processes started by torchrun: communication, failures and batch norm."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ranks import NORMS, exchange, exit_code, own_words, torchrun
from torch import nn

from dseg.distributed import Group, find_group, joined, local_device
from dseg.errors import DsegError
from dseg.nn.sync_norm import AllReduceBatchNorm2d, synchronise_norms

RANKS = Path(__file__).with_name("ranks.py")
OF_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OF_TORCHRUN:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The results of each of two processes."""
    folder = tmp_path_factory.mktemp("ranks")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = torchrun(RANKS, "work")
    assert result.returncode == 0, result.stderr
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


def test_two_processes_exchange_numbers_and_objects(facts: list[dict[str, Any]]) -> None:
    shards = [facts[0].pop("shard"), facts[1].pop("shard")]
    assert shards == [[0, 2, 4], [1, 3]]
    assert [facts[0].pop("own counts"), facts[1].pop("own counts")] == [
        [9007199254740993, 0],
        [9007199254740993, 1],
    ]
    for found in facts:
        assert {
            name: value for name, value in found.items() if name not in ("norms", "one value")
        } == {
            "device sum": [3.0, 1.0],
            "counts": [18014398509481986, 1],  # a float64 would end in 984
            "gathered": ["rank 0", "rank 1"],
            "broadcast": ["from", 0],
            "from main": "made by 0",
            "again whole": ["item 0", "item 1", "item 2", "item 3", "item 4"],
            "none at all": [],
            "threads": 2,
        }


@pytest.mark.parametrize("case", NORMS)
def test_a_synchronised_norm_equals_batch_norm_of_the_whole_batch(
    facts: list[dict[str, Any]], case: str
) -> None:
    for found in facts:
        # a float32 near 1000 has steps of 6e-5
        assert found["norms"][case] < (3e-4 if case == "far from zero" else 3e-6)


def test_a_synchronised_norm_refuses_one_value_in_all_processes(
    facts: list[dict[str, Any]],
) -> None:
    for found in facts:
        assert found["one value"].startswith("Expected more than 1 value per channel")


@pytest.mark.parametrize("how", ["second", pytest.param("both", marks=pytest.mark.slow)])
def test_a_failure_is_reported_once_and_ends_all(how: str) -> None:
    start = time.perf_counter()
    result = torchrun(RANKS, how)
    assert own_words(result) == ["Error: It is broken.", "Hint: mend it."]
    assert exit_code(result) == 3
    assert time.perf_counter() - start < 60


@pytest.mark.slow
def test_a_killed_process_leaves_no_other_waiting() -> None:
    result = torchrun(RANKS, "killed")
    assert exit_code(result) == -9
    assert own_words(result) in (
        [],  # killed by torchrun before it failed
        [
            "Error: Another of the processes has ended before its work was done.",
            "Hint: see its message, if there is one; often there is too little memory for all.",
        ],
    )


@pytest.mark.slow
def test_a_bug_is_reported_only_by_the_process_that_has_it() -> None:
    result = torchrun(RANKS, "bug")
    assert exit_code(result) == 1
    assert result.stderr.count("ZeroDivisionError: a bug") == 1
    assert "Error:" not in result.stderr.replace("ZeroDivisionError:", "").replace(
        "ChildFailedError:", ""
    )


def test_one_process_is_a_group_of_one() -> None:
    with joined("cpu") as group:
        assert (group, group.main) == (Group(0, 1, 0, 1), True)
        assert exchange(group) == {
            "device sum": [1.5, 0.0],
            "counts": [9007199254740993, 0],
            "own counts": [9007199254740993, 0],
            "gathered": ["rank 0"],
            "broadcast": ["from", 0],
            "from main": "made by 0",
            "shard": [0, 1, 2, 3, 4],
            "again whole": ["item 0", "item 1", "item 2", "item 3", "item 4"],
            "none at all": [],
            "threads": 5,
        }
        group.barrier()


def test_the_sum_of_one_process_is_a_new_array() -> None:
    counts = np.array([1, 2], np.int64)
    Group().sum_counts(counts)[0] = 7
    assert counts.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("environment", "group"),
    [
        ({}, Group(0, 1, 0, 1)),
        ({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}, Group(0, 1, 0, 1)),
        ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "3"}, Group(3, 4, 3, 4)),
        (
            {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"},
            Group(3, 4, 1, 2),
        ),
        ({"RANK": "3", "WORLD_SIZE": "4"}, Group(3, 4, 0, 4)),
    ],
)
def test_a_process_reads_its_rank_and_group_size(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], group: Group
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert find_group() == group


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"RANK": "0"}, "RANK is set, but WORLD_SIZE is not."),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE is set, but RANK is not."),
        ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK is 'one', not a number."),
        ({"RANK": "0", "WORLD_SIZE": ""}, "WORLD_SIZE is '', not a number."),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, "RANK is '-1', not a number."),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK is 2, but WORLD_SIZE is 2."),
        ({"RANK": "0", "WORLD_SIZE": "0"}, "RANK is 0, but WORLD_SIZE is 0."),
        (
            {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "5"},
            "LOCAL_RANK is 5, with 2 of 2 processes on this machine.",
        ),
    ],
)
def test_an_environment_that_contradicts_itself_is_refused(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], problem: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DsegError) as caught, joined("cpu"):
        pass
    assert caught.value.problem == f"The environment is not that of torchrun: {problem}"
    assert caught.value.exit_code == 2


def test_processes_without_a_master_address_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with (
        pytest.raises(DsegError, match=r"2 processes cannot be connected: .*MASTER_ADDR"),
        joined("cpu"),
    ):
        pass


def test_each_process_uses_another_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    third = Group(3, 4, 1, 2)
    assert [local_device(name, third) for name in ("auto", "cuda", "cuda:0", "cpu")] == [
        "cuda:1",
        "cuda:1",
        "cuda:0",
        "cpu",
    ]
    assert local_device("auto", Group()) == "auto"
    with pytest.raises(DsegError, match="4 processes on this machine, but only 2 GPUs") as caught:
        local_device("auto", Group(0, 4, 0, 4))
    assert "--nproc-per-node 2" in caught.value.hint


def test_without_a_gpu_the_device_is_as_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert [local_device(name, Group(1, 2, 1, 2)) for name in ("auto", "cuda")] == ["auto", "cuda"]


def make_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, eps=1e-3), nn.Sequential(nn.BatchNorm2d(4))
    )


def test_synchronising_keeps_parameters_keys_and_options() -> None:
    net = make_net()
    keys, parameters = list(net.state_dict()), list(net.parameters())
    assert synchronise_norms(net, "cpu") is net
    assert [type(module) for module in net.modules() if isinstance(module, nn.BatchNorm2d)] == [
        AllReduceBatchNorm2d,
        AllReduceBatchNorm2d,
    ]
    assert list(net.state_dict()) == keys
    assert all(a is b for a, b in zip(net.parameters(), parameters, strict=True))
    assert net[1].eps == 1e-3
    make_net().load_state_dict(net.state_dict())


def test_on_cuda_the_norm_is_that_of_torch() -> None:
    net = synchronise_norms(make_net(), "cuda")
    assert sum(isinstance(module, nn.SyncBatchNorm) for module in net.modules()) == 2


def test_alone_a_synchronised_norm_is_a_batch_norm() -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 4, 5, 6)
    plain, synchronised = nn.BatchNorm2d(4), synchronise_norms(nn.BatchNorm2d(4), "cpu")
    assert torch.equal(plain(images), synchronised(images))
    assert torch.equal(plain.running_var, synchronised.running_var)
