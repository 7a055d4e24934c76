"""From the options of a training to its plan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch

from dseg.config import TrainConfig
from dseg.parallel import Progress
from dseg.planning.choose import NETWORK, Plan, choose_crop, make_plan
from dseg.planning.facts import find_machine, take_facts
from dseg.planning.timing import choose_by_latency, time_steps
from dseg.recipes import find_recipe
from dseg.registry import MODELS
from dseg.training.data import load_splits

RECIPE_NAME = "planned"  # in run.json
FEW = 1000  # training images; of fewer, the default is a plan


def needs_plan(config: TrainConfig) -> bool:
    """Return True if the recipe of a network is published for much other data.

    That is for own data, and for fewer than 1000 images, unless they are the data set that the
    network was published for.
    """
    names = {name for name, _ in config.datasets}
    if "folder" in names:
        return True
    own = MODELS[config.model].label_space
    return names != {own} and len(load_splits(replace(config, val_split=""))[0]) < FEW


def plan_training(
    config: TrainConfig,
    device: torch.device,
    progress: Progress,
    *,
    named: bool,
    measure: bool = False,
    minutes: float = 0.0,
    latency_ms: float = 0.0,
) -> Plan:
    """Plan a training for the data of a configuration.

    Args:
        config: its data, network and initial weights are used.
        device: device to train on.
        progress: shows the progress of reading masks.
        named: the user named the network.
        measure: measure training steps, to say how long the training takes.
        minutes: time that the training can take; 0 for enough for the data.
        latency_ms: time within which the network labels an image of these data; 0 for any.

    Raises:
        DsegError: unusable data, or no network is fast enough.
    """
    train_set, val_set = load_splits(config)
    data = take_facts(train_set, val_set, progress)
    machine = find_machine(device, config.world_size)
    model, reason = (config.model if named else NETWORK), ""
    if latency_ms:
        size, classes = (data.height, data.width), len(data.names)
        model, measured = choose_by_latency(latency_ms, size, classes, device)
        reason = f"the most accurate of those below {latency_ms:g} ms: {measured:.0f} ms here"
    times = None
    if measure or minutes or device.type == "cuda":
        base = find_recipe(MODELS[model].recipe)
        crop = replace(base, crop=choose_crop(data, machine))
        times = time_steps(model, crop, len(data.names), device)
    return make_plan(
        data,
        machine,
        model=model if named or latency_ms else "",
        weights=config.backbone_weights or config.weights,
        times=times,
        minutes=minutes,
        network_reason=reason,
    )


def apply_plan(config: TrainConfig, plan: Plan, overrides: Iterable[str]) -> TrainConfig:
    """Return a configuration with the network, recipe and initial weights of its plan.

    Args:
        config: whose data were planned for; initial weights that it names stay.
        plan: the plan.
        overrides: values to replace in the planned recipe, as ``field=value``.

    Raises:
        DsegError: unknown field, or invalid value.
    """
    given = bool(config.weights or config.backbone_weights)
    return replace(
        config,
        model=plan.model,
        recipe_name=RECIPE_NAME,
        recipe=plan.recipe.override(overrides),
        weights=config.weights if given else plan.weights,
        reset_head=config.reset_head if given else plan.reset_head,
    )
