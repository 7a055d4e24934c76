"""Groups of processes that torchrun started; a single process is a group of one."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from dseg.errors import EXIT_FAILED_INPUTS, EXIT_INTERRUPTED, DsegError, counted
from dseg.parallel import count_cores

if TYPE_CHECKING:  # scoring in one process does not import torch, which takes longer
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor
    from torch.distributed.distributed_c10d import Store

T = TypeVar("T")

STEP_TIMEOUT = timedelta(minutes=10)  # for connecting, and for one training step
SHARD_TIMEOUT = timedelta(days=7)  # for a slower process; one that ended is noticed at once
REPORT_S = 1.0  # time for the first failed process to report; torchrun ends all with the first
EXIT_BY_A_BUG = 1
CONNECTION_LOST = ("Connection closed", "Connection reset", "Broken pipe")  # gloo's messages


@dataclass(frozen=True)
class Group:
    """A group of processes; by default this one alone.

    Values are exchanged in the CPU's memory, except that ``sum`` also accepts CUDA tensors. All
    processes must call the same methods in the same order.

    Attributes:
        rank: number of this process, 0 to world_size - 1.
        world_size: number of processes on all machines.
        local_rank: number of this process on its machine, from 0.
        local_size: number of processes on this machine.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_size: int = 1
    _on_cpu: Any = field(default=None, repr=False, compare=False)  # gloo's ProcessGroup

    @property
    def main(self) -> bool:
        """True for the process that shows messages and writes common files."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Add up the tensors of all processes, in place."""
        if self.world_size > 1:
            import torch.distributed as dist

            dist.all_reduce(tensor, group=None if tensor.is_cuda else self._on_cpu)
        return tensor

    def sum_counts(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the exact sum of the integers of all processes, as a new array."""
        total: NDArray[np.int64] = counts.copy()
        if self.world_size > 1:
            import torch

            self.sum(torch.from_numpy(total))  # which shares the array's memory
        return total

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, in the order of ranks."""
        if self.world_size == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value, group=self._on_cpu)
        return values

    def gather_shards(self, values: Sequence[T]) -> list[T]:
        """Return the values that all processes made from their ``shard``, in the items' order."""
        shards = self.gather(list(values))
        longest = max(map(len, shards))
        return [shard[index] for index in range(longest) for shard in shards if index < len(shard)]

    def broadcast(self, value: T) -> T:
        """Return rank 0's value in all processes."""
        if self.world_size == 1:
            return value
        import torch.distributed as dist

        values = [value if self.main else None]
        dist.broadcast_object_list(values, src=0, group=self._on_cpu)
        return values[0]  # type: ignore[return-value]  # received from rank 0

    def from_main(self, make: Callable[[], T]) -> T:
        """Return in all processes what ``make`` returns in rank 0, which alone calls it."""
        return self.broadcast(make() if self.main else None)  # type: ignore[return-value]

    def barrier(self) -> None:
        """Wait until all processes have called this."""
        self.gather(None)

    def shard(self, items: Sequence[T]) -> Sequence[T]:
        """Return this process's shard: every ``world_size``-th item, from index ``rank`` on."""
        return items if self.world_size == 1 else items[self.rank :: self.world_size]

    def cores_per_process(self) -> int:
        """Return the number of this machine's cores for each process, at least 1."""
        return max(1, count_cores() // self.local_size)


def find_group() -> Group:
    """Return the group that torchrun's environment describes, without connecting its processes.

    Raises:
        DsegError: the environment contradicts itself.
    """
    if ("RANK" in os.environ) != ("WORLD_SIZE" in os.environ):
        found, missing = sorted(("RANK", "WORLD_SIZE"), key=lambda name: name not in os.environ)
        raise _environment_error(f"{found} is set, but {missing} is not")
    rank, size = _read_number("RANK", 0), _read_number("WORLD_SIZE", 1)
    local_rank = _read_number("LOCAL_RANK", 0) if size > 1 else 0
    local_size = _read_number("LOCAL_WORLD_SIZE", size) if size > 1 else 1
    if not 0 <= rank < size:
        raise _environment_error(f"RANK is {rank}, but WORLD_SIZE is {size}")
    if not 0 <= local_rank < local_size <= size:
        raise _environment_error(
            f"LOCAL_RANK is {local_rank}, with {local_size} of {size} processes on this machine"
        )
    return Group(rank, size, local_rank, local_size)


def _read_number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise _environment_error(f"{name} is {text!r}, not a number")
    return int(text)


def _environment_error(what: str) -> DsegError:
    return DsegError(
        f"The environment is not that of torchrun: {what}.",
        hint="start several processes with torchrun, or unset RANK and WORLD_SIZE.",
    )


def local_device(name: str, group: Group) -> str:
    """Return the device for this process: each of several processes has another GPU.

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
        count = counted(gpus, "GPU")
        raise DsegError(
            f"There are {group.local_size} processes on this machine, but only {count}.",
            hint=f"start torchrun with --nproc-per-node {gpus}, or use --device cpu.",
        )
    return f"cuda:{group.local_rank}"


@contextmanager
def joined(device: torch.device | str) -> Iterator[Group]:
    """Connect the processes that torchrun started, and disconnect them at the end.

    If one fails, only its error is raised from this context: the others exit without a message and
    with its exit code.

    Args:
        device: device of the tensors that the processes exchange while training; ``cpu`` if they
            only shard images.

    Raises:
        DsegError: the environment contradicts itself, the processes cannot be connected, one of
            them was killed, or there are more of them than GPUs.
    """
    group = find_group()
    if group.world_size == 1:
        yield group
        return
    import torch
    import torch.distributed as dist

    store = _connect(torch.device(device), group)
    try:
        with _lost_connections_reported():
            if torch.device(device).type == "cuda":
                torch.cuda.set_device(local_device(str(device), group))
            yield replace(group, _on_cpu=dist.new_group(backend="gloo", timeout=SHARD_TIMEOUT))
    except SystemExit:
        raise
    except BaseException as fault:
        first, code = _record_failure(store, fault, group.rank)
        if not first:
            time.sleep(REPORT_S)
            raise SystemExit(code) from None
        raise
    finally:
        dist.destroy_process_group()
        gc.collect()  # gloo's threads would abort Python's exit if they were still running


def _name_attempt(group: Group) -> str:
    """Return a prefix that separates the store's keys of this start from those of earlier ones.

    torchrun's store outlives the processes that it restarts (--max-restarts), with their addresses
    and their failure. On several machines the counts of restarts can differ.
    """
    one_machine = group.local_size == group.world_size
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if one_machine else "0"


def _connect(device: torch.device, group: Group) -> Store:
    """Start the default process group, by NCCL for CUDA and otherwise by gloo."""
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    try:
        found = rendezvous("env://", group.rank, group.world_size, timeout=STEP_TIMEOUT)
        store: Store = PrefixStore(_name_attempt(group), next(iter(found))[0])
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=PrefixStore("torch", store),
            rank=group.rank,
            world_size=group.world_size,
            timeout=STEP_TIMEOUT,
        )
    except (ValueError, RuntimeError) as fault:
        raise DsegError(
            f"The {group.world_size} processes cannot be connected: {str(fault).splitlines()[0]}",
            hint="start them with torchrun; on several machines, use the same --rdzv-endpoint.",
        ) from fault
    return PrefixStore("dseg", store)


class _OtherEndedError(DsegError):
    """Another process has ended; its own message, if there is one, is more important."""

    def __init__(self) -> None:
        super().__init__(
            "Another of the processes has ended before its work was done.",
            hint="see its message, if there is one; often there is too little memory for all.",
            exit_code=EXIT_FAILED_INPUTS,
        )


@contextmanager
def _lost_connections_reported() -> Iterator[None]:
    """Turn the loss of a connection to another process into a DsegError."""
    try:
        yield
    except RuntimeError as fault:
        if any(message in str(fault) for message in CONNECTION_LOST):
            raise _OtherEndedError from fault
        raise


def _record_failure(store: Store, fault: BaseException, rank: int) -> tuple[bool, int]:
    """Record a failure for all processes; return whether it was the first, and the first's code."""
    code = getattr(fault, "exit_code", EXIT_BY_A_BUG)
    if isinstance(fault, KeyboardInterrupt):
        code = EXIT_INTERRUPTED
    try:
        first = store.compare_set("failure", "", f"{rank} {code}").decode().split()
    except RuntimeError:  # without torchrun the store is in rank 0, which has ended
        return True, code
    return int(first[0]) == rank, int(first[1])
