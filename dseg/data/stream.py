"""Stream: an endless, reproducible sequence of augmented samples, and batches of it.

Position p of the stream is sample ``order(epoch)[p % n]`` of epoch ``p // n``, augmented by a
generator seeded by (seed, epoch, index). Step s of a run reads positions ``s * batch`` onwards,
sharded over micro-batches and processes (``StepSampler``). The samples of a step therefore depend
only on the seed, not on the number of processes or workers, nor on where a run was interrupted.
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
from dseg.images import read_image
from dseg.labels import IGNORE

Found = TypeVar("Found")
OnBadData = Literal["stop", "skip"]
VOID = 253  # train id of unlabelled pixels where they are told from padding, which is IGNORE
MAX_TRIES = 100  # bad samples in a row after which a run stops even with skip


class Batch(NamedTuple):
    """One micro-batch of a step, for one process.

    Attributes:
        images: (n, 3, h, w) uint8, RGB.
        train_ids: (n, h, w) uint8.
        names: names of the samples.
        faults: samples that could not be read and were left out, as ``(name, problem)``.
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
    """An endless sequence of the samples of a data set, in random order and augmented.

    Args:
        dataset: the samples.
        augmentation: the ranges of random augmentation.
        seed: seed of order and augmentation.
        fill: RGB, 0 to 255, of padding around images.
        on_bad_data: ``stop`` at a sample that cannot be read, or ``skip`` to the next one.
        read: function that returns the pair of an index; by default it is read from its files.
        marked: mark pixels without a label by ``VOID``, so that only padding is ``IGNORE``.
        unlabelled: further samples, at the positions -1, -2 and so on.
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
        marked: bool = False,
        unlabelled: Stream | None = None,
    ):
        self.dataset = dataset
        self.augmentation = augmentation
        self.seed = seed
        self.fill = tuple(fill)
        self.on_bad_data = on_bad_data
        self.read = read or dataset.read
        self.marked = marked
        self.unlabelled = unlabelled

    def place(self, position: int) -> tuple[int, int]:
        """Return the epoch and the sample's index at a position."""
        epoch, rest = divmod(position, len(self.dataset))
        return epoch, int(_order(self.seed, epoch, len(self.dataset))[rest])

    def __getitem__(self, position: int) -> Crop | DsegError:
        """Return the augmented sample at a position, or the error if it cannot be read.

        An error is returned, not raised, as a worker process would wrap it in another one.
        """
        try:
            return self.crop(position)
        except DsegError as fault:
            return fault

    def crop(self, position: int) -> Crop:
        """Return the augmented sample at a position; below 0 that of an unlabelled one.

        Raises:
            DsegError: as for ``find_good``.
        """
        if position < 0:
            assert self.unlabelled is not None
            return self.unlabelled.crop(-1 - position)
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
        """Read a sample; with ``skip``, read the next one that can be read.

        Args:
            index: index of the sample.
            read: function that reads the sample of an index, or raises a DsegError.

        Returns:
            The result of ``read``, and the samples that were left out, as ``(name, problem)``.

        Raises:
            DsegError: the sample cannot be read and ``on_bad_data`` is ``stop``; or 100 samples in
                a row cannot be read.
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
            hint="check the data set: dseg check-data --help",
            exit_code=EXIT_FAILED_INPUTS,
        )

    def _read(self, index: int) -> tuple[Pair, str]:
        pair, name = self.read(index), self.dataset.samples[index].name
        if self.marked:
            ids = np.where(pair.train_ids == IGNORE, np.uint8(VOID), pair.train_ids)
            pair = Pair(pair.image, ids)
        return pair, name


def read_unlabelled(dataset: Dataset, index: int) -> Pair:
    """Read the image of a sample without a mask; all its pixels are ``VOID``.

    Raises:
        DsegError: the image cannot be read.
    """
    image = read_image(dataset.samples[index].image)
    return Pair(image, np.full(image.shape[:2], VOID, np.uint8))


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.intp]:
    return np.random.default_rng([seed, epoch]).permutation(count)


def collate(crops: Sequence[Crop | DsegError]) -> Batch | DsegError:
    """Stack samples of one size into a batch, or return the first error among them."""
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
