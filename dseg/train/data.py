"""The data of a run: its splits, whether they can be trained on, and its batches."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dseg.datasets import check_dataset, class_weights, join_datasets, load_dataset
from dseg.datasets.base import Dataset
from dseg.datasets.cache import DeviceCache, RamCache, load_device_batches
from dseg.datasets.stream import Batch, OnBadData, Plan, Stream, load_batches
from dseg.distributed import Group
from dseg.errors import DsegError
from dseg.labels import find_label_space
from dseg.train.conditions import Conditions, Progress
from dseg.train.loop import Trainer
from dseg.train.settings import Settings
from dseg.transforms import Augmentation

LOG_CONSTANT = 1.10  # of class weights 1 / ln(c + p), as DABNet has it


def load_splits(settings: Settings) -> tuple[Dataset, Dataset | None]:
    """Find the images of the training and the validation split."""
    space = find_label_space(settings.label_space) if settings.label_space else None
    class_file = Path(settings.class_file) if settings.class_file else None

    def load(split: str) -> Dataset:
        return join_datasets(
            [
                load_dataset(name, Path(root), split, space=space, class_file=class_file)
                for name, root in settings.datasets
            ]
        )

    return load(settings.split), load(settings.val_split) if settings.val_split else None


def check_data(
    settings: Settings,
    conditions: Conditions,
    group: Group,
    train_set: Dataset,
    val_set: Dataset | None,
    progress: Progress,
) -> tuple[float, ...]:
    """Refuse data that cannot be trained on; return the class weights of the recipe."""
    recipe = settings.recipe
    if recipe.class_weights == "published":
        if len(recipe.published_weights) != train_set.space.num_classes:
            raise DsegError(
                f"The recipe has {len(recipe.published_weights)} class weights, the data "
                f"{train_set.space.num_classes} classes.",
                hint="count them from the data: --set class_weights=log",
            )
        return recipe.published_weights
    counted = recipe.class_weights in ("log", "median")
    if not conditions.check_data and not counted:
        return ()

    def count() -> tuple[float, ...] | DsegError:
        try:
            with progress("masks checked", len(train_set)) as advance:
                report = check_dataset(train_set, advance=advance)
            if settings.on_bad_data == "stop" and conditions.check_data:
                report.refuse_faults()
            if recipe.class_weights == "log" or recipe.class_weights == "median":
                return class_weights(report, recipe.class_weights, LOG_CONSTANT)
            return ()
        except DsegError as fault:
            return fault

    found = group.from_main(count)
    if isinstance(found, DsegError):
        raise found
    return found


def make_batches(
    settings: Settings, conditions: Conditions, trainer: Trainer, progress: Progress
) -> Iterator[Batch]:
    """Yield the parts of the batches of all steps that are left."""
    recipe, group, dataset = settings.recipe, trainer.group, trainer.train_set
    augmentation = Augmentation(
        crop=recipe.crop,
        short_side=recipe.short_side,
        scales=recipe.scales,
        continuous=recipe.continuous,
        mirror=recipe.mirror,
        jitter=recipe.jitter,
        blur=recipe.blur,
    )
    read = None
    if conditions.cache == "ram":
        with progress("images cached", len(dataset)) as advance:
            read = RamCache(dataset, advance).read
    on_bad_data: OnBadData = "skip" if settings.on_bad_data == "skip" else "stop"
    stream = Stream(
        dataset,
        augmentation,
        seed=settings.seed,
        fill=[255 * channel for channel in trainer.model.card.mean],
        on_bad_data=on_bad_data,
        read=read,
    )
    plan = Plan(
        batch=recipe.batch,
        accumulate=recipe.accumulate,
        rank=group.rank,
        world_size=group.world_size,
        first=trainer.step,
        last=trainer.rhythm.steps,
    )
    if conditions.cache == "device":
        with progress("images cached", len(dataset)) as advance:
            cache = DeviceCache(dataset, trainer.device, advance)
        return load_device_batches(stream, plan, cache)
    cuda = trainer.device.type == "cuda"
    cores = group.share_of(os.cpu_count() or 1)
    workers = conditions.workers
    if workers is None:
        workers = min(8, cores) if cuda else min(1, cores - 1)
    return load_batches(stream, plan, workers=workers, pin=cuda)


def fingerprint(dataset: Dataset) -> list[Any]:
    names = json.dumps([sample.name for sample in dataset.samples]).encode()
    return [len(dataset), hashlib.sha256(names).hexdigest()]
