"""The data of a run: its splits, their checks before training, and its batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from dseg.config import RuntimeConfig, TrainConfig
from dseg.data.cache.device import DeviceCache, load_device_batches
from dseg.data.cache.file import CacheFile
from dseg.data.cache.shared import Builder, open_cache
from dseg.data.loader import choose_workers, load_batches, prefetch
from dseg.data.sampler import StepSampler
from dseg.data.stream import Batch, OnBadData, Stream, read_unlabelled
from dseg.data.transforms import Augmentation
from dseg.datasets import find_splits, join_datasets, load_dataset
from dseg.datasets.base import Dataset, Pair
from dseg.datasets.checks import check_dataset, class_weights
from dseg.distributed import Group
from dseg.errors import DsegError
from dseg.labels import find_label_space
from dseg.parallel import Progress, count_cores
from dseg.recipes import Recipe
from dseg.training.loop import Trainer

LOG_CONSTANT = 1.10  # c of the class weights 1 / ln(c + p), as in DABNet


def load_splits(config: TrainConfig) -> tuple[Dataset, Dataset | None]:
    """Find the images of the training and the validation split.

    Of several data sets, those without the validation split are only trained on.
    """
    space = find_label_space(config.label_space) if config.label_space else None
    class_file = Path(config.class_file) if config.class_file else None

    def load(split: str, datasets: Sequence[tuple[str, str]]) -> Dataset:
        return join_datasets(
            [
                load_dataset(name, Path(root), split, space=space, class_file=class_file)
                for name, root in datasets
            ]
        )

    dataset, wanted = load(config.split, config.datasets), config.val_split
    if not wanted:
        return dataset, None
    if fraction := _read_fraction(wanted):
        return hold_back(dataset, fraction)
    having = config.datasets
    if len(having) > 1:
        having = tuple(
            (name, root)
            for name, root in config.datasets
            if wanted in find_splits(name, Path(root), class_file=class_file)
        )
    return dataset, load(wanted, having or config.datasets)


def _read_fraction(text: str) -> float:
    """Return the fraction that ``val_split`` is, 0 if it is the name of a split."""
    try:
        fraction = float(text)
    except ValueError:
        return 0.0
    if not 0 < fraction <= 0.5:
        raise DsegError(
            f"{text} of the training split cannot be held back.",
            hint="name a split, or a fraction above 0 and up to 0.5.",
        )
    return fraction


def hold_back(dataset: Dataset, fraction: float) -> tuple[Dataset, Dataset]:
    """Divide a split into samples to train on and an evenly spread fraction to validate on.

    Neighbouring frames of a video are much alike, so the score of held-back frames is too high;
    it can only compare one state of the weights with another.

    Raises:
        DsegError: the split has too few samples.
    """
    every = round(1 / fraction)
    held = set(range(every // 2, len(dataset), every))
    if not held:
        raise DsegError(
            f"A fraction of {fraction:g} of {len(dataset)} samples holds back none.",
            hint="hold back a larger fraction.",
        )
    train = [sample for index, sample in enumerate(dataset.samples) if index not in held]
    val = [sample for index, sample in enumerate(dataset.samples) if index in held]
    return replace(dataset, samples=tuple(train)), replace(dataset, samples=tuple(val))


def check_splits(
    config: TrainConfig,
    runtime: RuntimeConfig,
    group: Group,
    train_set: Dataset,
    val_set: Dataset | None,
    progress: Progress,
) -> tuple[float, ...]:
    """Refuse unusable training or validation data; return the class weights of the recipe."""
    _refuse_other_classes(config, train_set)

    def read() -> tuple[float, ...] | DsegError:
        try:
            return _read_masks(config, runtime, train_set, val_set, progress)
        except DsegError as fault:
            return fault

    found = group.from_main(read)
    if isinstance(found, DsegError):
        raise found
    return found


def _refuse_other_classes(config: TrainConfig, train_set: Dataset) -> None:
    """Refuse published class weights whose number is not that of the classes."""
    recipe, classes = config.recipe, train_set.space.num_classes
    if recipe.class_weights == "published" and len(recipe.published_weights) != classes:
        raise DsegError(
            f"The recipe has {len(recipe.published_weights)} class weights, but the data have "
            f"{classes} classes.",
            hint="compute them from the data: --set class_weights=log",
        )


def _read_masks(
    config: TrainConfig,
    runtime: RuntimeConfig,
    train_set: Dataset,
    val_set: Dataset | None,
    progress: Progress,
) -> tuple[float, ...]:
    """Read the masks if they are to be checked or counted; return the class weights."""
    recipe = config.recipe
    kind, checked = recipe.class_weights, runtime.check_data
    weights = recipe.published_weights if kind == "published" else ()
    if not checked and kind not in ("log", "median"):
        return weights
    others = val_set if checked else None
    with progress("masks checked", len(train_set) + len(others or ())) as advance:
        report = check_dataset(train_set, advance=advance)
        if checked and config.on_bad_data == "stop":
            report.refuse_faults()
        if others is not None:
            check_dataset(others, advance=advance).refuse_faults()
    if not report.labelled:
        raise DsegError(
            f"No pixel of {train_set.name}'s split {train_set.split} is labelled.",
            hint="look at the masks; dseg check-data reports their values.",
        )
    if kind == "log" or kind == "median":
        return class_weights(report, kind, LOG_CONSTANT)
    return weights


def make_augmentation(recipe: Recipe) -> Augmentation:
    """Return the augmentation that a recipe describes."""
    return Augmentation(
        crop=recipe.crop,
        short_side=recipe.short_side,
        scales=recipe.scales,
        continuous=recipe.continuous,
        flip=recipe.flip,
        jitter=recipe.jitter,
        rotate=recipe.rotate,
        blur=recipe.blur,
    )


def make_batches(
    config: TrainConfig, runtime: RuntimeConfig, trainer: Trainer, progress: Progress
) -> Iterator[Batch]:
    """Yield the micro-batches of all remaining steps; for CUDA, on the device.

    The time spent waiting for the loader is added to ``trainer.waits``.
    """
    read = None
    if runtime.cache in ("ram", "disk"):
        read = _open_cache(runtime, trainer, progress).read
    stream, plan = make_stream(config, trainer, read), make_plan(config, trainer)
    if runtime.cache == "device":
        if stream.unlabelled is not None:
            raise DsegError(
                "--cache device keeps labelled images only, but --unlabelled names others.",
                hint="use --cache ram, which reads the others from their files.",
            )
        with progress("images cached", len(trainer.train_set)) as advance:
            threads = trainer.group.cores_per_process()
            cache = DeviceCache(trainer.train_set, trainer.device, threads, advance)
        return trainer.waits.over(load_device_batches(stream, plan, cache))
    workers, cuda = find_workers(runtime, trainer, stream, plan), trainer.device.type == "cuda"
    loaded = load_batches(stream, plan, workers=workers, pin=cuda)
    return prefetch(trainer.waits.over(loaded), trainer.device)


def make_stream(
    config: TrainConfig, trainer: Trainer, read: Callable[[int], Pair] | None = None
) -> Stream:
    """Return the augmented training images; ``read`` is as of ``Stream``."""
    on_bad_data: OnBadData = "skip" if config.on_bad_data == "skip" else "stop"
    distillation = trainer.update.distillation
    make = partial(
        Stream,
        augmentation=make_augmentation(config.recipe),
        seed=config.seed,
        fill=[255 * channel for channel in trainer.model.card.mean],
        on_bad_data=on_bad_data,
    )
    unlabelled = None
    if distillation is not None and distillation.images is not None:
        images = distillation.images
        unlabelled = make(images, read=partial(read_unlabelled, images))
    return make(
        trainer.train_set, read=read, marked=distillation is not None, unlabelled=unlabelled
    )


def make_plan(config: TrainConfig, trainer: Trainer) -> StepSampler:
    """Return the positions of the stream that this process reads in the remaining steps."""
    recipe, group = config.recipe, trainer.group
    distillation = trainer.update.distillation
    return StepSampler(
        batch=recipe.batch,
        accumulate=recipe.accumulate,
        rank=group.rank,
        world_size=group.world_size,
        local_size=group.local_size,
        first=trainer.step,
        last=trainer.intervals.steps,
        unlabelled=0 if distillation is None else distillation.unlabelled,
    )


def find_workers(
    runtime: RuntimeConfig, trainer: Trainer, stream: Stream, plan: StepSampler
) -> int:
    """Return the number of worker processes of the loader."""
    if runtime.workers is not None:
        return runtime.workers
    cores, cuda = trainer.group.cores_per_process(), trainer.device.type == "cuda"
    return choose_workers(stream, plan, cores=cores, cuda=cuda)


def _open_cache(runtime: RuntimeConfig, trainer: Trainer, progress: Progress) -> CacheFile:
    """Open the machine's cache of the training images; write it first if there is none."""
    folder = None
    if runtime.cache == "disk":
        folder = Path(runtime.cache_dir) if runtime.cache_dir else trainer.run / "cache"

    def make() -> Builder:  # the other processes wait, so that all cores are free
        return Builder(
            trainer.train_set, threads=count_cores(), progress=progress, stopping=trainer.stopping
        )

    return open_cache(make, trainer.group, folder)
