"""Start processes by torchrun, and the functions that they run for test_distributed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from dseg.distributed import Group, joined
from dseg.errors import DsegError
from dseg.nn.sync_norm import synchronise_norms


def torchrun(*words: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run ``python <words>`` in two joined processes, with one thread each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run"),
            *("--nproc-per-node", "2", "--master-port", str(port), *map(str, words)),
        ],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def own_words(result: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the stderr lines of the processes, without those of torchrun."""
    lines = result.stderr.splitlines()
    end = next((i for i, line in enumerate(lines) if line.startswith("Traceback")), len(lines))
    return [line for line in lines[:end] if "torch/distributed/elastic" not in line]


def exit_code(result: subprocess.CompletedProcess[str]) -> int:
    """Return the exit code of the process that failed first, as torchrun reports it."""
    if result.returncode == 0:
        return 0
    cause = result.stderr.split("Root Cause")[1]
    return int(cause.split("exitcode  :")[1].split()[0])


def exchange(group: Group) -> dict[str, object]:
    """Use every method of a group once."""
    counts = np.array([2**53 + 1, group.rank], np.int64)
    summed = group.sum_counts(counts)
    with mock.patch("dseg.distributed.count_cores", lambda: 5):
        threads = group.cores_per_process()
    return {
        "device sum": group.sum(torch.tensor([1.5, group.rank])).tolist(),
        "counts": summed.tolist(),
        "own counts": counts.tolist(),
        "gathered": group.gather(f"rank {group.rank}"),
        "broadcast": group.broadcast(["from", group.rank]),
        "from main": group.from_main(lambda: f"made by {group.rank}"),
        "shard": list(group.shard(range(5))),
        "again whole": group.gather_shards([f"item {i}" for i in group.shard(range(5))]),
        "none at all": group.gather_shards(list(group.shard([]))),
        "threads": threads,
    }


# Options, the images of each process, and the mean of their values.
NORMS: dict[str, tuple[dict[str, Any], tuple[int, int], float]] = {
    "even": ({}, (2, 2), 0.5),
    "uneven": ({"eps": 1e-3}, (3, 1), 0.5),
    "one without images": ({}, (4, 0), 0.5),
    "cumulative": ({"momentum": None}, (1, 3), 0.5),
    "no affine": ({"affine": False}, (1, 3), 0.5),
    "no running statistics": ({"track_running_stats": False}, (1, 3), 0.5),
    "far from zero": ({}, (1, 3), 1000.0),
    "of nodes": ({}, (1, 3), 0.5),  # (N, C, L)
}


def compare_norm(
    group: Group,
    options: dict[str, Any],
    counts: tuple[int, int],
    offset: float,
    *,
    nodes: bool = False,
) -> float:
    """Return the largest difference from a float64 BatchNorm2d, or 1d, on the whole batch.

    Outputs, gradients and running statistics are compared; differences are relative for values
    above 1.
    """
    torch.manual_seed(0)
    kind = nn.BatchNorm1d if nodes else nn.BatchNorm2d
    alone = nn.Sequential(kind(3, **options))
    if options.get("affine", True):
        nn.init.uniform_(alone[0].weight)
        nn.init.uniform_(alone[0].bias)
    shared = nn.Sequential(kind(3, **options))
    shared.load_state_dict(alone.state_dict())
    alone.double()
    synchronise_norms(shared, "cpu")
    start = group.rank * counts[0]
    own = slice(start, start + counts[group.rank])
    worst = 0.0
    for training in (True, True, False):  # the third uses the statistics of the first two
        images = torch.randn(4, 3, 5, 7) * torch.tensor([1.0, 0.5, 3.0]).view(3, 1, 1) + offset
        weights = torch.randn(4, 3, 5, 7)
        if nodes:
            images, weights = images.flatten(2), weights.flatten(2)
        wanted = _outcome(alone.train(training), images.double(), weights.double())
        found = _outcome(shared.train(training), images[own], weights[own])
        for name, value in wanted.items():
            other = found[name]
            if name in ("weight", "bias"):
                other = group.sum(other.clone())
            value = value[own] if name in ("output", "input gradient") else value
            if value.numel():
                worst = max(worst, float(((other - value) / value.abs().clamp(min=1)).abs().max()))
    return worst


def _outcome(model: nn.Module, images: Tensor, weights: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    images = images.clone().requires_grad_()
    output = model(images)
    (output * weights).sum().backward()
    return {
        "output": output.detach(),
        "input gradient": images.grad,
        **{name[2:]: parameter.grad for name, parameter in model.named_parameters()},
        **{name: buffer.double() for name, buffer in model.named_buffers()},
    }


def one_value_in_all(group: Group) -> str:
    """Return the error message of a norm for one value per channel over all processes."""
    norm = synchronise_norms(nn.BatchNorm2d(3), "cpu")
    try:
        norm(torch.zeros(1 - group.rank, 3, 1, 1))
    except ValueError as fault:
        return str(fault)
    return "nothing"


def fail(group: Group, how: str) -> None:
    """Let the second process fail, or both, before the first waits in a collective operation."""
    if how == "both" or (how == "second" and group.rank == 1):
        raise DsegError("It is broken.", hint="mend it.", exit_code=3)
    if how == "killed" and group.rank == 1:
        os.kill(os.getpid(), 9)
    if how == "bug" and group.rank == 1:
        raise ZeroDivisionError("a bug")
    group.gather(None)


def main(what: str) -> None:
    try:
        with joined("cpu") as group:
            if what != "work":
                fail(group, what)
            facts = exchange(group)
            facts["norms"] = {
                name: compare_norm(group, *case, nodes=name == "of nodes")
                for name, case in NORMS.items()
            }
            facts["one value"] = one_value_in_all(group)
            Path(f"rank{group.rank}.json").write_text(json.dumps(facts))
    except DsegError as fault:
        sys.stderr.write(f"Error: {fault}\n")
        sys.exit(fault.exit_code)


if __name__ == "__main__":
    main(sys.argv[1])
