"""Decode a data set once, keep it on the device, and augment it there."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from dseg.data.cache.file import read_all
from dseg.data.sampler import StepSampler
from dseg.data.stream import VOID, Batch, Stream
from dseg.data.transforms import apply_views, draw_view, make_generator
from dseg.datasets.base import Dataset, Pair
from dseg.device import to_device
from dseg.errors import EXIT_FAILED_INPUTS, DsegError
from dseg.labels import IGNORE
from dseg.parallel import Advance


class DeviceCache:
    """All images and masks of a data set, uint8, on one device.

    The stream decides about samples that cannot be read: it stops, or takes the next one.

    Args:
        dataset: the data set, whose images have one size.
        device: device that keeps them.
        threads: number of threads that decode.
        advance: called for each sample.

    Attributes:
        images: (N, 3, H, W) uint8.
        train_ids: (N, H, W) uint8.
        faults: errors of the samples that could not be read, by index.

    Raises:
        DsegError: image sizes differ, or the device has too little memory.
    """

    def __init__(
        self,
        dataset: Dataset,
        device: torch.device,
        threads: int = 1,
        advance: Advance = lambda: None,
    ):
        self.faults: dict[int, DsegError] = {}
        self.images, self.train_ids = self._fill(dataset, device, threads, advance)

    def _fill(
        self, dataset: Dataset, device: torch.device, threads: int, advance: Advance
    ) -> tuple[Tensor, Tensor]:
        images = masks = torch.empty(0, dtype=torch.uint8)
        first = ""
        for index, found in enumerate(read_all(dataset, threads, _to_tensors)):
            advance()
            if isinstance(found, DsegError):
                self.faults[index] = found
                continue
            image, train_ids = found
            height, width = train_ids.shape
            if not first:
                first = dataset.samples[index].name
                images, masks = _reserve(len(dataset), height, width, device)
            if images.shape[-2:] != (height, width):
                raise DsegError(
                    f"{dataset.samples[index].name} has {width}x{height} pixels, {first} "
                    f"{images.shape[-1]}x{images.shape[-2]}: they must have one size.",
                    hint="use --cache ram, which accepts images of any size.",
                )
            images[index], masks[index] = image, train_ids
        return images, masks


def _to_tensors(pair: Pair) -> tuple[Tensor, Tensor]:
    planes = np.ascontiguousarray(pair.image.transpose(2, 0, 1))
    return torch.from_numpy(planes), torch.tensor(pair.train_ids)


def _reserve(count: int, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    try:
        images = torch.empty((count, 3, height, width), dtype=torch.uint8, device=device)
        return images, torch.empty((count, height, width), dtype=torch.uint8, device=device)
    except torch.OutOfMemoryError:
        raise DsegError(
            f"{count} images of {width}x{height} do not fit into {device}'s memory.",
            hint="use --cache ram.",
            exit_code=EXIT_FAILED_INPUTS,
        ) from None


def _check(faults: dict[int, DsegError], place: int) -> int:
    """Return an index whose sample could be read, or raise the sample's error."""
    if place in faults:
        raise faults[place]
    return place


def load_device_batches(stream: Stream, plan: StepSampler, cache: DeviceCache) -> Iterator[Batch]:
    """Yield the micro-batches of all steps of a plan, cropped on the device.

    The views are those of ``load_batches``; pixels differ by rounding at most.

    Raises:
        DsegError: a sample could not be read and is not skipped.
    """
    plan.check()
    if stream.marked:
        cache.train_ids.masked_fill_(cache.train_ids == IGNORE, VOID)
    for positions in plan:
        places, views, names, faults = [], [], [], []
        for position in positions:
            epoch, index = stream.place(position)
            place, found = stream.find_good(index, partial(_check, cache.faults))
            faults += found
            height, width = cache.train_ids.shape[-2:]
            generator = make_generator(stream.seed, epoch, index)
            views.append(draw_view(stream.augmentation, height, width, generator))
            places.append(place)
            names.append(stream.dataset.samples[place].name)
        chosen = to_device(torch.tensor(places), cache.images.device)
        crops, ids = apply_views(
            *(cache.images[chosen], cache.train_ids[chosen], views),
            *(stream.augmentation.crop, stream.fill),
        )
        yield Batch(crops, ids, names, faults)
