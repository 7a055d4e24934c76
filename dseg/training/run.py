"""One run: data, network and loop put together, begun or gone on with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from pathlib import Path

import torch

from dseg.checkpoints import find_backbone_weights, load_backbone, load_model
from dseg.config import RuntimeConfig, TrainConfig
from dseg.data.sampler import StepSampler
from dseg.datasets.base import Dataset
from dseg.device import find_amp, find_device
from dseg.distributed import Group, local_device
from dseg.errors import DsegError
from dseg.losses import AffinityFields, SegLoss, make_class_weights
from dseg.memory import is_out_of_memory, memory_error
from dseg.models import SegModel, build_model, find_class
from dseg.nn.backbones.densenet import checkpoint_activations
from dseg.nn.sync_norm import synchronise_norms
from dseg.parallel import Progress
from dseg.recipes import Recipe
from dseg.training.backends import (
    avoid_wrong_gradients,
    compile_model,
    deterministic_or_refused,
    set_backends,
)
from dseg.training.callbacks import Intervals, Outcome, Show
from dseg.training.data import check_splits, load_splits, make_batches
from dseg.training.fingerprint import take_fingerprint
from dseg.training.loop import Trainer
from dseg.training.resume import resume_run
from dseg.training.run_dir import RunDir
from dseg.training.state import has_state


def run_training(
    settings: TrainConfig,
    conditions: RuntimeConfig,
    run: Path,
    group: Group,
    *,
    resume: bool,
    accept_data: bool = False,
    show: Show,
    progress: Progress,
    stopping: Callable[[], bool],
) -> Outcome:
    """Train a network, from fresh weights or from the state that a folder holds.

    Args:
        settings: what is trained, on what, how.
        conditions: where and with what reports.
        run: the folder for weights, metrics and plots.
        group: the processes.
        resume: go on from the folder's state if there is one.
        accept_data: go on though the data are not those that the run was begun with.
        show, progress: how the run is shown.
        stopping: asked after each step whether to save and stop.

    Raises:
        DsegError: unusable data, checkpoint or settings; a loss that is not a number; a full disk;
            too little memory.
    """
    try:
        return _run(settings, conditions, run, group, resume, accept_data, show, progress, stopping)
    except Exception as fault:
        if not is_out_of_memory(fault):
            raise
        raise _memory_error(settings, conditions) from fault


def _memory_error(settings: TrainConfig, conditions: RuntimeConfig) -> DsegError:
    """Return the error of a training that does not fit, with what it was about and takes less."""
    recipe = settings.recipe
    height, width = recipe.crop
    parts = f" in {recipe.accumulate} parts" if recipe.accumulate > 1 else ""
    less = ["a smaller --batch-size", f"a smaller crop (--set crop={height // 2}x{width // 2})"]
    if recipe.batch > recipe.accumulate:
        less.append(f"a batch in more parts (--set accumulate={2 * recipe.accumulate})")
    if not conditions.checkpoint_activations:
        less.append("--checkpoint-activations (of dense blocks)")
    return memory_error(
        f"while {settings.model} was trained on batches of {recipe.batch} crops of "
        f"{height}x{width}{parts}, device {conditions.device}",
        f"use {', '.join(less[:-1])} or {less[-1]}.",
    )


def _run(
    settings: TrainConfig,
    conditions: RuntimeConfig,
    run: Path,
    group: Group,
    resume: bool,
    accept_data: bool,
    show: Show,
    progress: Progress,
    stopping: Callable[[], bool],
) -> Outcome:
    device = find_device(local_device(conditions.device, group))
    set_backends(device, deterministic=settings.deterministic, tf32=settings.tf32)
    amp = find_amp(settings.amp, device)
    recipe = settings.recipe
    StepSampler(
        batch=recipe.batch, accumulate=recipe.accumulate, world_size=group.world_size
    ).check()
    train_set, val_set = load_splits(settings)
    weights = check_splits(settings, conditions, group, train_set, val_set, progress)
    model, taken = make_model(settings, train_set, group, device, conditions)
    rhythm = make_intervals(settings.recipe, conditions, len(train_set))
    with RunDir(run, settings, conditions, model.card.label_space, rhythm, group) as folder:
        trainer = Trainer(
            model,
            settings.recipe,
            rhythm,
            make_loss(settings.recipe, weights, train_set.space.num_classes, device),
            train_set=train_set,
            val_set=val_set,
            group=group,
            run=run,
            device=device,
            amp=amp,
            seed=settings.seed,
            listener=folder,
            stopping=stopping,
        )
        folder.data = group.from_main(lambda: take_fingerprint(train_set, val_set))
        folder.trainer = trainer
        remarks = [taken]
        if resume and has_state(run):
            remarks += resume_run(trainer, folder, accept_data=accept_data)
        folder.begin(trainer.step, trainer.validated_at)
        batches = make_batches(settings, conditions, trainer, progress)
        with show(rhythm.steps, trainer.step) as display:
            folder.display = display
            for remark in filter(None, remarks):
                if group.main:
                    display.say(remark)
            with deterministic_or_refused(settings.model, device):
                outcome = trainer.train(folder.tell_faults(batches))
        folder.finish()
        return outcome


def make_model(
    settings: TrainConfig,
    dataset: Dataset,
    group: Group,
    device: torch.device,
    conditions: RuntimeConfig,
) -> tuple[SegModel, str]:
    """Build the network with its first weights, on its device; say what its files gave."""
    torch.manual_seed(settings.seed)
    outputs = dataset.space.num_classes
    remarks: list[str] = []
    if settings.weights:
        model = load_model(
            settings.model,
            Path(settings.weights),
            num_classes=outputs,
            reset_head=settings.reset_head,
            inplace_abn=settings.inplace_abn,
            raw_weights=settings.raw_weights,
            on_note=remarks.append,
        )
    else:
        takes_aux = "aux" in signature(find_class(settings.model)).parameters
        options = {"aux": True} if takes_aux and settings.recipe.aux_weight else {}
        model = build_model(settings.model, outputs, **options)
    if settings.weights and settings.recipe.aux_weight and _lacks_aux(model, settings.model):
        remarks.append(
            f"WARNING: {Path(settings.weights).name} has no auxiliary heads, so the recipe's "
            f"auxiliary loss (weight {settings.recipe.aux_weight:g}) is left out."
        )
    if settings.backbone_weights:
        source = settings.backbone_weights
        file = group.from_main(lambda: find_backbone_weights(model, source))  # one download
        remarks.append(f"backbone: {load_backbone(model, file)}")
    card = model.card.at_own_size()
    model.card = replace(card, label_space=dataset.space, outputs=(), scores={})
    if conditions.checkpoint_activations and not checkpoint_activations(model):
        raise DsegError(
            f"{settings.model} has no dense blocks whose activations could be computed twice.",
            hint="leave --checkpoint-activations out, or use a smaller batch or crop.",
        )
    model = model.to(device).to(memory_format=torch.channels_last)
    avoid_wrong_gradients(model, device, find_amp(settings.amp, device))
    if group.world_size > 1:
        synchronised = synchronise_norms(model, device.type)
        assert isinstance(synchronised, SegModel)
        model = synchronised
    if conditions.compile:
        compile_model(model, device, settings.recipe, group)
    return model, " ".join(remarks)


def _lacks_aux(model: SegModel, name: str) -> bool:
    """Return True if a network was built without the auxiliary heads that it can have."""
    if "aux" not in signature(find_class(name)).parameters:
        return False
    with torch.device("meta"):
        whole = build_model(name, aux=True)
    return len(whole.state_dict()) > len(model.state_dict())


def make_intervals(recipe: Recipe, conditions: RuntimeConfig, samples: int) -> Intervals:
    """Turn epochs into steps."""
    steps = recipe.steps or max(1, math.ceil(recipe.epochs * samples / recipe.batch))
    every = max(1, round(conditions.validate_every * samples / recipe.batch))
    return Intervals(
        steps=steps,
        validate_every=every if conditions.validate_every else 0,
        save_every=conditions.save_every,
        log_every=conditions.log_every,
        draw=conditions.draw,
    )


def make_loss(
    recipe: Recipe, weights: tuple[float, ...], num_classes: int, device: torch.device
) -> SegLoss:
    """Make the loss that a recipe names."""
    affinity: AffinityFields | None = None
    if recipe.affinity_weight:
        margin, stride = recipe.affinity_margin, recipe.affinity_stride
        affinity = AffinityFields(num_classes, margin=margin, stride=stride).to(device)
    return SegLoss(
        class_weights=make_class_weights(weights, device),
        main=recipe.loss,
        aux=recipe.aux_loss,
        aux_weight=recipe.aux_weight,
        aux_border=recipe.aux_border,
        threshold=recipe.ohem_threshold,
        keep=recipe.ohem_keep,
        edge_weight=recipe.edge_weight,
        affinity=affinity,
        affinity_weight=recipe.affinity_weight,
    )
