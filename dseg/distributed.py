"""Several processes at one task, started by torchrun; a single process needs nothing of this."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from dseg.errors import EXIT_FAILED_INPUTS, EXIT_INTERRUPTED, DsegError
from dseg.parallel import count_cores

if TYPE_CHECKING:  # scoring in one process does without torch, whose import takes longer
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor
    from torch.distributed.distributed_c10d import Store

T = TypeVar("T")

JOINING = timedelta(minutes=10)  # until all are there; then, for one step of a training
WAITING = timedelta(days=7)  # for a slower process's share; one that ended is noticed at once
TELLING_S = 1.0  # torchrun ends all processes with the first, which might have a fault to tell
EXIT_BY_A_BUG = 1
BROKEN = ("Connection closed", "Connection reset", "Broken pipe")  # as gloo says it


@dataclass(frozen=True)
class Group:
    """The processes that work together, and which of them this one is; alone by default.

    What is exchanged lies in the CPU's memory, except that ``sum`` takes CUDA tensors too. All
    processes must call the same methods in the same order.

    Attributes:
        rank: 0 to world_size - 1.
        world_size: processes on all machines.
        local_rank: number of this process on its machine.
        local_size: processes on this machine.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_size: int = 1
    _on_cpu: Any = field(default=None, repr=False, compare=False)  # a ProcessGroup of gloo

    @property
    def main(self) -> bool:
        """Whether this process is the one that speaks to the user and writes common files."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Add up the tensors of all processes, in place."""
        if self.world_size > 1:
            import torch.distributed as dist

            dist.all_reduce(tensor, group=None if tensor.is_cuda else self._on_cpu)
        return tensor

    def sum_counts(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Add up integers of all processes exactly; returns a new array."""
        total: NDArray[np.int64] = counts.copy()
        if self.world_size > 1:
            import torch

            self.sum(torch.from_numpy(total))  # which shares the array's memory
        return total

    def gather(self, value: T) -> list[T]:
        """Return each process's value, in the order of ranks, to all of them."""
        if self.world_size == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value, group=self._on_cpu)
        return values

    def gather_shards(self, values: Sequence[T]) -> list[T]:
        """Return the values that all processes made of their ``shard``, in the items' order."""
        shards = self.gather(list(values))
        longest = max(map(len, shards))
        return [shard[place] for place in range(longest) for shard in shards if place < len(shard)]

    def broadcast(self, value: T) -> T:
        """Return rank 0's value to all."""
        if self.world_size == 1:
            return value
        import torch.distributed as dist

        values = [value if self.main else None]
        dist.broadcast_object_list(values, src=0, group=self._on_cpu)
        return values[0]  # type: ignore[return-value]  # rank 0's, by now

    def from_main(self, make: Callable[[], T]) -> T:
        """Return to all what ``make`` returns in rank 0; it runs nowhere else."""
        return self.broadcast(make() if self.main else None)  # type: ignore[return-value]

    def barrier(self) -> None:
        """Wait until all processes have come to this point."""
        self.gather(None)

    def shard(self, items: Sequence[T]) -> Sequence[T]:
        """Return this process's share: every ``world_size``-th item, from the ``rank``-th on."""
        return items if self.world_size == 1 else items[self.rank :: self.world_size]

    def cores_per_process(self) -> int:
        """Return the number of this machine's cores for each process, at least 1."""
        return max(1, count_cores() // self.local_size)


def find_group() -> Group:
    """Return who this process is, as torchrun's environment says; nothing is connected.

    Raises:
        DsegError: the environment contradicts itself.
    """
    if ("RANK" in os.environ) != ("WORLD_SIZE" in os.environ):
        there, missing = sorted(("RANK", "WORLD_SIZE"), key=lambda name: name not in os.environ)
        raise _nonsense(f"{there} is set, but {missing} is not")
    rank, size = _read_number("RANK", 0), _read_number("WORLD_SIZE", 1)
    local_rank = _read_number("LOCAL_RANK", 0) if size > 1 else 0
    local_size = _read_number("LOCAL_WORLD_SIZE", size) if size > 1 else 1
    if not 0 <= rank < size:
        raise _nonsense(f"RANK is {rank}, but WORLD_SIZE is {size}")
    if not 0 <= local_rank < local_size <= size:
        raise _nonsense(
            f"LOCAL_RANK is {local_rank}, with {local_size} of {size} processes on this machine"
        )
    return Group(rank, size, local_rank, local_size)


def _read_number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise _nonsense(f"{name} is {text!r}, no number")
    return int(text)


def _nonsense(what: str) -> DsegError:
    return DsegError(
        f"The environment is not one of torchrun: {what}.",
        hint="start several processes with torchrun, or unset RANK and WORLD_SIZE for one.",
    )


def local_device(name: str, group: Group) -> str:
    """Return the device of that name for this process: of several, each has a GPU of its own.

    Raises:
        DsegError: there are more processes on this machine than GPUs.
    """
    if group.world_size == 1 or name not in ("auto", "cuda"):
        return name
    import torch

    gpus = torch.cuda.device_count()
    if gpus == 0:
        return name
    if group.local_size > gpus:
        raise DsegError(
            f"There are {group.local_size} processes on this machine, but GPUs: {gpus}.",
            hint=f"start torchrun with --nproc-per-node {gpus}, or use --device cpu.",
        )
    return f"cuda:{group.local_rank}"


@contextmanager
def joined(device: torch.device | str) -> Iterator[Group]:
    """Connect the processes that torchrun started, and part from them at the end.

    If one fails, its error is the only one that leaves this context: the others end quietly with
    its exit code, wherever they are.

    Args:
        device: where tensors are that the processes exchange while training; ``cpu`` is enough
            to share out images.

    Raises:
        DsegError: the environment contradicts itself, the processes do not find each other, one
            of them was killed, or there are more of them than GPUs.
    """
    group = find_group()
    if group.world_size == 1:
        yield group
        return
    import torch
    import torch.distributed as dist

    store = _connect(torch.device(device), group)
    try:
        with _noticing_an_end():
            if torch.device(device).type == "cuda":
                torch.cuda.set_device(local_device(str(device), group))
            yield replace(group, _on_cpu=dist.new_group(backend="gloo", timeout=WAITING))
    except SystemExit:
        raise
    except BaseException as fault:
        first, code = _enter_failure(store, fault, group.rank)
        if not first:
            time.sleep(TELLING_S)
            raise SystemExit(code) from None
        raise
    finally:
        dist.destroy_process_group()
        gc.collect()  # threads of gloo that outlive Python's own end would abort it


def _name_attempt(group: Group) -> str:
    """Return what tells the keys of this start from those of an earlier one.

    torchrun's store outlives the processes that it starts again (--max-restarts): addresses that
    nobody listens at any more, and the failure. On several machines each counts for itself.
    """
    alone = group.local_size == group.world_size
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if alone else "0"


def _connect(device: torch.device, group: Group) -> Store:
    """Start the default process group: NCCL for CUDA, otherwise gloo."""
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    try:
        found = rendezvous("env://", group.rank, group.world_size, timeout=JOINING)
        store: Store = PrefixStore(_name_attempt(group), next(iter(found))[0])
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=PrefixStore("torch", store),
            rank=group.rank,
            world_size=group.world_size,
            timeout=JOINING,
        )
    except (ValueError, RuntimeError) as fault:
        raise DsegError(
            f"The {group.world_size} processes cannot be connected: {str(fault).splitlines()[0]}",
            hint="start them with torchrun; on several machines all need its --rdzv-endpoint.",
        ) from fault
    return PrefixStore("dseg", store)


class _OtherEndedError(DsegError):
    """Another process is gone: what it says, if it could say anything, matters more."""

    def __init__(self) -> None:
        super().__init__(
            "Another of the processes has ended before its work was done.",
            hint="see what it says, if anything; often the memory is too small for all of them.",
            exit_code=EXIT_FAILED_INPUTS,
        )


@contextmanager
def _noticing_an_end() -> Iterator[None]:
    """Turn the loss of a connection, ours or one within a training step, into a DsegError."""
    try:
        yield
    except RuntimeError as fault:
        if any(sign in str(fault) for sign in BROKEN):
            raise _OtherEndedError from fault
        raise


def _enter_failure(store: Store, fault: BaseException, rank: int) -> tuple[bool, int]:
    """Enter a failure where all processes see it; return whether it is the first, and its code."""
    code = getattr(fault, "exit_code", EXIT_BY_A_BUG)
    if isinstance(fault, KeyboardInterrupt):
        code = EXIT_INTERRUPTED
    try:
        first = store.compare_set("failure", "", f"{rank} {code}").decode().split()
    except RuntimeError:  # without torchrun rank 0 keeps the store, and it is gone
        return True, code
    return int(first[0]) == rank, int(first[1])
