"""What a plan depends on: the training images and masks, and the machine."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from math import prod

import torch

from dseg.datasets import Dataset
from dseg.datasets.checks import check_dataset
from dseg.errors import DsegError
from dseg.memory import find_free_memory
from dseg.parallel import Progress, count_cores

READ_AT_MOST = 400  # masks; of more, evenly spread ones


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """Facts of the data.

    Attributes:
        train, val: number of images; ``val`` is 0 without validation.
        height, width: pixels; three of four images are at least as high, and as wide.
        sizes: number of different sizes.
        names: names of the classes.
        fractions: fraction of the labelled pixels of each class.
        cityscapes: the classes are Cityscapes' 19, in its order.
        smallest, largest: (height, width) of the images with the fewest and the most pixels; (0, 0)
            if they are not known.
    """

    train: int
    val: int
    height: int
    width: int
    sizes: int
    names: tuple[str, ...]
    fractions: tuple[float, ...]
    cityscapes: bool
    smallest: tuple[int, int] = (0, 0)
    largest: tuple[int, int] = (0, 0)

    @property
    def area(self) -> int:
        return self.height * self.width

    @property
    def differ(self) -> bool:
        """Return True if some images have more than twice the pixels of others."""
        return prod(self.largest) > 2 * prod(self.smallest)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Facts of the machine.

    Attributes:
        device: kind of the device, such as ``cpu`` or ``cuda``.
        name: the device in words.
        memory: bytes that are free for the training.
        processes: number of processes.
    """

    device: str
    name: str
    memory: int
    processes: int = 1


def take_facts(dataset: Dataset, val_set: Dataset | None, progress: Progress) -> DataFacts:
    """Read the masks of a training split, at most 400 of them.

    Raises:
        DsegError: the masks have faults, or no pixel is labelled.
    """
    step = -(-len(dataset) // READ_AT_MOST)
    read = replace(dataset, samples=dataset.samples[::step])
    with progress("masks read", len(read)) as advance:
        report = check_dataset(read, advance=advance)
    report.refuse_faults()
    if not report.labelled:
        raise DsegError(
            f"No pixel of {dataset.name}'s split {dataset.split} is labelled.",
            hint="look at the masks; dseg check-data reports their values.",
        )
    names = dataset.space.names
    if len(names) == 1:
        raise DsegError(
            f"{dataset.name} has one class, {names[0]}, and nothing to tell it from.",
            hint="give the other pixels a class, too: a value that is ignored now can be one, such "
            "as id = 255 (dseg init shows all values).",
        )
    return DataFacts(
        train=len(dataset),
        val=len(val_set or ()),
        height=_lower_quartile(report.sizes, 0),
        width=_lower_quartile(report.sizes, 1),
        sizes=len(report.sizes),
        names=names,
        fractions=tuple(pixels / report.labelled for pixels in report.class_pixels),
        cityscapes=_is_cityscapes(names),
        smallest=min(filter(all, report.sizes), key=prod, default=(0, 0)),
        largest=max(report.sizes, key=prod, default=(0, 0)),
    )


def _is_cityscapes(names: tuple[str, ...]) -> bool:
    from dseg.labels import LABEL_SPACES

    return tuple(name.lower() for name in names) == LABEL_SPACES["cityscapes"].names


def _lower_quartile(sizes: Counter[tuple[int, int]], axis: int) -> int:
    """Return the side that three of four images reach."""
    sides = sorted(size[axis] for size, count in sizes.items() for _ in range(count) if size[axis])
    return sides[len(sides) // 4]


def find_machine(device: torch.device, processes: int = 1) -> Machine:
    """Return the facts of the machine and one of its devices."""
    if device.type == "cuda":
        memory = torch.cuda.mem_get_info(device)[0]
        return Machine(
            device="cuda",
            name=f"{torch.cuda.get_device_name(device)}, {memory / 2**30:.0f} GiB free",
            memory=memory,
            processes=processes,
        )
    memory = find_free_memory()
    cores = count_cores()
    name = f"{cores} CPU cores" if device.type == "cpu" else device.type
    known = f", {memory / 2**30:.0f} GiB of memory free" if memory else ""
    return Machine(device=device.type, name=f"{name}{known}", memory=memory, processes=processes)
