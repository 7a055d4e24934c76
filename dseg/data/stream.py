"""Stream: an endless, reproducible sequence of augmented samples, and batches of it.

Position p of the stream is sample ``order(epoch)[p % n]`` of epoch ``p // n``, augmented by a
generator of (seed, epoch, index). Step s of a run reads positions ``s * batch`` onwards, dealt out
to processes and parts in turn. So what a step sees depends on nothing but the seed: not on the
number of processes, not on workers, not on where a run was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from dseg.data.transforms import Augmentation, crop_view, draw_view, make_generator
from dseg.datasets.base import Dataset, Pair
from dseg.errors import EXIT_FAILED_INPUTS, DsegError

Found = TypeVar("Found")
OnBadData = Literal["stop", "skip"]
MAX_TRIES = 100  # samples in a row that may be bad before a run stops in any case


class Batch(NamedTuple):
    """One part of a step's batch, for one process.

    Attributes:
        images: (n, 3, h, w) uint8, RGB.
        train_ids: (n, h, w) uint8.
        names: of the samples.
        faults: what was wrong with samples that were left out, as ``(name, problem)``.
    """

    images: Tensor
    train_ids: Tensor
    names: list[str]
    faults: list[tuple[str, str]]


class Crop(NamedTuple):
    """One augmented sample: (3, h, w) and (h, w) uint8; see ``Batch``."""

    image: Tensor
    train_ids: Tensor
    name: str
    faults: list[tuple[str, str]]


class Stream(TorchDataset[Crop | DsegError]):
    """The samples of a data set in random order, augmented, for ever.

    Args:
        dataset: where samples come from.
        augmentation: what may happen to them.
        seed: of order and augmentation.
        fill: RGB around images, 0 to 255.
        on_bad_data: ``stop`` at a sample that cannot be read, or ``skip`` it and take the next.
        read: gives the pair of an index; by default it is read from its files.
    """

    def __init__(
        self,
        dataset: Dataset,
        augmentation: Augmentation,
        *,
        seed: int,
        fill: Sequence[float],
        on_bad_data: OnBadData = "stop",
        read: Callable[[int], Pair] | None = None,
    ):
        self.dataset = dataset
        self.augmentation = augmentation
        self.seed = seed
        self.fill = tuple(fill)
        self.on_bad_data = on_bad_data
        self.read = read or dataset.read

    def place(self, position: int) -> tuple[int, int]:
        """Return the epoch and the sample's index at a position."""
        epoch, rest = divmod(position, len(self.dataset))
        return epoch, int(_order(self.seed, epoch, len(self.dataset))[rest])

    def __getitem__(self, position: int) -> Crop | DsegError:
        """Return the augmented sample at a position, or what is wrong with it.

        An error is returned, not raised: a worker process would wrap it into another.
        """
        try:
            return self.crop(position)
        except DsegError as fault:
            return fault

    def crop(self, position: int) -> Crop:
        """Return the augmented sample at a position, 0 or more.

        Raises:
            DsegError: it cannot be read and is not to be skipped, or 100 in a row cannot.
        """
        epoch, index = self.place(position)
        generator = make_generator(self.seed, epoch, index)
        (pair, name), faults = self.find_good(index, self._read)
        height, width = pair.train_ids.shape
        view = draw_view(self.augmentation, height, width, generator)
        crop, ids = crop_view(*pair, view, self.augmentation.crop, self.fill)
        return Crop(crop, ids, name, faults)

    def find_good(
        self, index: int, read: Callable[[int], Found]
    ) -> tuple[Found, list[tuple[str, str]]]:
        """Read a sample; with ``skip``, the next one that can be read.

        Args:
            index: of the sample.
            read: reads one, or raises a DsegError.

        Returns:
            What ``read`` gave, and what was left out, as ``(name, problem)``.

        Raises:
            DsegError: it cannot be read and is not to be skipped, or 100 in a row cannot.
        """
        faults: list[tuple[str, str]] = []
        for place in range(index, index + min(MAX_TRIES, len(self.dataset))):
            try:
                return read(place % len(self.dataset)), faults
            except DsegError as fault:
                if self.on_bad_data == "stop":
                    hint = fault.hint.rstrip(".")
                    raise DsegError(
                        fault.problem,
                        hint=f"{hint}. Or leave such samples out: --on-bad-data skip.",
                        exit_code=EXIT_FAILED_INPUTS,
                    ) from None
                name = self.dataset.samples[place % len(self.dataset)].name
                faults.append((name, fault.problem))
        raise DsegError(
            f"{len(faults)} samples in a row cannot be read, the last: {faults[-1][1]}",
            hint="look at the data set: dseg check-data --help",
            exit_code=EXIT_FAILED_INPUTS,
        )

    def _read(self, index: int) -> tuple[Pair, str]:
        return self.read(index), self.dataset.samples[index].name


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.intp]:
    return np.random.default_rng([seed, epoch]).permutation(count)


def collate(crops: Sequence[Crop | DsegError]) -> Batch | DsegError:
    """Stack samples of one size; the first error stands for all."""
    whole: list[Crop] = []
    for crop in crops:
        if isinstance(crop, DsegError):
            return crop
        whole.append(crop)
    return Batch(
        torch.stack([crop.image for crop in whole]),
        torch.stack([crop.train_ids for crop in whole]),
        [crop.name for crop in whole],
        [fault for crop in whole for fault in crop.faults],
    )
