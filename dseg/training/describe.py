"""Describe a run before its first step, in a few lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from dseg.config import DistillConfig, RuntimeConfig, TrainConfig
from dseg.device import describe_precision
from dseg.errors import counted
from dseg.models import SegModel
from dseg.recipes import RECIPES, Recipe, find_recipe
from dseg.recipes.effects import find_idle
from dseg.recipes.file import BUNDLED, names_weights
from dseg.training.callbacks import Intervals, Start
from dseg.training.loop import Trainer
from dseg.training.padding import Size, describe_sizes

CLASSES_AT_MOST = 6  # names of classes that are listed
LOSSES = {
    "ce": "cross-entropy",
    "ohem": "OHEM cross-entropy",
    "boundary": "focal loss, more at borders",
}


def make_start(
    config: TrainConfig, runtime: RuntimeConfig, trainer: Trainer, sizes: Sequence[Size]
) -> Start:
    """Return what a display shows of a run before its first step.

    Args:
        config, runtime: configuration of the run.
        trainer: its trainer, after its state was restored.
        sizes: (height, width) of some of the images.
    """
    intervals, recipe = trainer.intervals, config.recipe
    every = intervals.validate_every or intervals.summarise_every
    facts = {
        "Network": describe_network(config, trainer.model),
        "Device": _describe_device(trainer, runtime),
        "Data": _describe_data(config, trainer),
        **({"Teacher": _describe_teacher(config.distillation)} if config.distillation else {}),
        "Images": f"{describe_sizes(sizes)} pixels (height x width)",
        "Classes": _describe_classes(trainer),
        "Recipe": _describe_recipe(config.recipe_name, recipe),
        "Crops": _describe_crops(recipe, trainer.group.world_size),
        "Length": _describe_length(config, trainer),
        "Results": f"{trainer.run}/",
    }
    return Start(
        facts=() if trainer.finished else tuple(facts.items()),
        steps=intervals.steps,
        first=trainer.step,
        every=every,
        epochs=intervals.steps * recipe.batch / len(trainer.train_set),
        in_steps=recipe.steps > 0,
        validated=trainer.val_set is not None,
    )


def describe_network(config: TrainConfig, model: SegModel) -> str:
    """Describe a network, its size and its initial weights."""
    count = sum(parameter.numel() for parameter in model.parameters())
    start = "random weights"
    if names_weights(config.weights):
        head = ", new classifier" if config.reset_head else ""
        bundled = config.weights == BUNDLED
        named = "bundled weights" if bundled else f"weights of {Path(config.weights).name}"
        start = f"{named}{head}"
    elif config.backbone_weights:
        start = f"backbone weights of {Path(config.backbone_weights).name}"
    return f"{config.model}, {count / 1e6:.2f} M parameters, {start}"


def _describe_device(trainer: Trainer, runtime: RuntimeConfig) -> str:
    device, group = trainer.device, trainer.group
    name = device.type if device.type != "cuda" else torch.cuda.get_device_name(device)
    words = [str(device) if name == device.type else f"{device} ({name})"]
    if device.type == "cpu":
        words.append(counted(torch.get_num_threads(), "thread"))
    precision = str(trainer.amp or torch.float32).removeprefix("torch.")
    words.append(describe_precision(precision, device))
    if group.world_size > 1:
        words.append(f"{group.world_size} processes")
    words += ["compiled"] if runtime.compile else []
    words += ["deterministic"] if torch.are_deterministic_algorithms_enabled() else []
    return ", ".join(words)


def _describe_data(config: TrainConfig, trainer: Trainer) -> str:
    train_set, val_set = trainer.train_set, trainer.val_set
    named = f"{train_set.name}: {counted(len(train_set), 'image')} to train on ({config.split})"
    distillation = trainer.update.distillation
    if distillation is not None and distillation.images is not None:
        named += f", {counted(len(distillation.images), 'image')} without masks"
    if val_set is None:
        return f"{named}, no validation"
    split = config.val_split
    held = f"{split} of {config.split}, held back" if split.replace(".", "").isdigit() else split
    of = "" if val_set.name == train_set.name else f" of {val_set.name}"
    return f"{named}, {len(val_set):,} to validate on ({held}{of})"


def _describe_teacher(config: DistillConfig) -> str:
    files = ", ".join(Path(file).name for file, _ in config.teachers)
    kind = {"both": "logits and channels"}.get(config.distill, config.distill)
    return f"{files}; {kind}, temperature {config.temperature:g}"


def _describe_classes(trainer: Trainer) -> str:
    space = trainer.train_set.space
    names = list(space.names[:CLASSES_AT_MOST])
    more = len(space.names) - len(names)
    return f"{len(space.names)}: {', '.join(names)}{f' and {more} more' if more else ''}"


def _describe_recipe(name: str, recipe: Recipe) -> str:
    words = [f"{name or 'own'}: {recipe.optimizer}", f"learning rate {recipe.lr:g}"]
    if recipe.schedule != "constant":
        words[-1] += f" ({recipe.schedule})"
    words.append(LOSSES[recipe.loss])
    if recipe.class_weights != "none":
        words.append(f"class weights: {recipe.class_weights}")
    words += [f"EMA weights ({recipe.ema:g})"] if recipe.ema else []
    return ", ".join(words)


def _describe_crops(recipe: Recipe, processes: int) -> str:
    """Describe crops, batch and augmentation."""
    height, width = recipe.crop
    words = [f"{height}x{width}, {recipe.batch} per step"]
    if recipe.accumulate > 1 or processes > 1:
        size = recipe.batch // (recipe.accumulate * processes)
        words[0] += f" in micro-batches of {size}"
    low, high = min(recipe.scales), max(recipe.scales)
    if low != high or low != 1:
        words.append(f"scaled by {low:g}" + (f" to {high:g}" if low != high else ""))
    named = {
        "flipped": recipe.flip,
        "colours changed": recipe.jitter,
        f"rotated up to {recipe.rotate:g} degrees": recipe.rotate,
        "blurred": recipe.blur,
    }
    return ", ".join([*words, *(name for name, value in named.items() if value)])


def _describe_length(config: TrainConfig, trainer: Trainer) -> str:
    intervals, recipe = trainer.intervals, config.recipe
    epochs = intervals.steps * recipe.batch / len(trainer.train_set)
    words = [f"{_round(epochs)} epoch{'s' * (epochs != 1)} = {counted(intervals.steps, 'step')}"]
    if trainer.step:
        words.append(f"{trainer.step:,} of them done")
    if trainer.val_set is not None:
        words.append(f"validated {_describe_every(intervals)}")
    if config.patience:
        words.append(f"ended after {counted(config.patience, 'validation')} without a better mIoU")
    return ", ".join(words)


def _describe_every(intervals: Intervals) -> str:
    every = intervals.validate_every
    if not every or every >= intervals.steps:
        return "at the end"
    return f"every {every:,} steps" if every > 1 else "after every step"


def _round(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def describe_idle(config: TrainConfig, *, borders: bool) -> str:
    """Return a warning of values of the recipe that were set without effect, or ""."""
    if config.recipe_name not in RECIPES:  # planned, or from a file
        return ""
    idle = find_idle(config.recipe, find_recipe(config.recipe_name), borders=borders)
    return f"WARNING: without effect in this run: {'; '.join(idle)}." if idle else ""
