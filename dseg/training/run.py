"""Start or resume a run: make its data, network and loop, and train."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from dseg.config import RuntimeConfig, TrainConfig
from dseg.data.sampler import StepSampler
from dseg.data.stream import Batch
from dseg.datasets.base import Dataset
from dseg.device import find_amp, find_device, lacks_reported
from dseg.distributed import Group, local_device
from dseg.errors import DsegError
from dseg.losses import AffinityFields, SegLoss, make_class_weights
from dseg.memory import is_out_of_memory, memory_error
from dseg.parallel import Progress
from dseg.recipes import Recipe
from dseg.training.backends import deterministic_or_refused, set_backends
from dseg.training.callbacks import Display, Intervals, Outcome, Show, Start
from dseg.training.data import check_splits, load_splits, make_augmentation, make_batches
from dseg.training.describe import describe_idle, make_start
from dseg.training.distill import Distillation, make_distillation
from dseg.training.fingerprint import Fingerprint, take_fingerprint
from dseg.training.loggers import PACKAGES, check_loggers
from dseg.training.loop import Trainer
from dseg.training.network import make_model
from dseg.training.overlap import describe_overlap
from dseg.training.padding import find_remark, sample_sizes
from dseg.training.resume import resume_run
from dseg.training.run_dir import RunCallbacks, RunDir
from dseg.training.state import has_state
from dseg.training.teacher import load_teacher


def run_training(
    config: TrainConfig,
    runtime: RuntimeConfig,
    run: Path,
    group: Group,
    *,
    resume: bool,
    accept_data: bool = False,
    command: str | None = None,
    show: Show,
    progress: Progress,
    stopping: Callable[[], bool],
) -> Outcome:
    """Train a network, from its initial weights or from the state in the folder of the run.

    Args:
        config: the network, its data and how it is trained.
        runtime: runtime options.
        run: folder for weights, metrics and plots.
        group: the processes.
        resume: continue from the state in the folder if there is one.
        accept_data: continue although the data have changed.
        command: the command line, for run.json.
        show, progress: display of the run, and of work before it.
        stopping: asked after each step whether to save and stop.

    Raises:
        DsegError: unusable data, checkpoint or configuration; a loss that is NaN or infinite; a
            full disk; too little memory.
    """
    with memory_errors_reported(config, runtime):
        trainer, remarks = prepare(config, runtime, run, group, progress, stopping)
        space, steps = trainer.model.card.label_space, trainer.intervals.steps
        data = group.from_main(lambda: _take_fingerprint(trainer))
        changes: list[dict[str, Any]] = []
        with (
            RunDir(
                run, config, runtime, space=space, steps=steps, group=group, data=data
            ) as run_dir,
            _config_removed_without_steps(run_dir, trainer),
        ):
            if resume and has_state(run):
                changes, more = resume_run(trainer, run_dir, accept_data=accept_data)
                remarks += more
            start, more = begin(config, runtime, trainer)
            says: list[Display] = []
            run_dir.begin(
                *(trainer.step, trainer.validated_at, changes),
                finished=trainer.finished,
                command=command,
                say=lambda text: says[0].say(text) if says else remarks.append(text),
            )
            batches = make_batches(config, runtime, trainer, progress)
            with show(start) as display:
                says.append(display)
                for remark in (*remarks, *more) if group.main else ():
                    display.say(remark)
                with (
                    lacks_reported(config.model, trainer.device),
                    deterministic_or_refused(config.model, trainer.device),
                ):
                    outcome = trainer.train(
                        report_faults(batches, display), RunCallbacks(run_dir, display)
                    )
                run_dir.finish(trainer.scored if trainer.val_set is None else None, outcome)
            return outcome


def prepare(
    config: TrainConfig,
    runtime: RuntimeConfig,
    run: Path,
    group: Group,
    progress: Progress,
    stopping: Callable[[], bool],
) -> tuple[Trainer, list[str]]:
    """Check options and data, and build the network; return the trainer and remarks."""
    check_loggers([name for name in PACKAGES if getattr(runtime, name) and group.main])
    _check_patience(config, runtime)
    device = find_device(local_device(runtime.device, group))
    set_backends(device, deterministic=config.deterministic, tf32=config.tf32)
    return _make_trainer(config, runtime, run, group, device, progress, stopping)


def begin(config: TrainConfig, runtime: RuntimeConfig, trainer: Trainer) -> tuple[Start, list[str]]:
    """Return what is displayed before the first step, and warnings about the crops."""
    shown = trainer.group.main and not trainer.finished
    sizes = sample_sizes(trainer.train_set) if shown else []
    remark = find_remark(make_augmentation(config.recipe), sizes)
    return make_start(config, runtime, trainer, sizes), [remark] if remark else []


def _check_patience(config: TrainConfig, runtime: RuntimeConfig) -> None:
    if config.patience and not (config.val_split and runtime.validate_every):
        raise DsegError(
            f"--patience {config.patience} counts validations, but there are none before the end.",
            hint="leave out --patience, or validate regularly (--val-split, --validate-every).",
        )


def _make_trainer(
    config: TrainConfig,
    runtime: RuntimeConfig,
    run: Path,
    group: Group,
    device: torch.device,
    progress: Progress,
    stopping: Callable[[], bool],
) -> tuple[Trainer, list[str]]:
    """Check the data and build the network; return the trainer and remarks on its weights."""
    recipe, amp = config.recipe, find_amp(config.amp, device)
    StepSampler(
        batch=recipe.batch, accumulate=recipe.accumulate, world_size=group.world_size
    ).check()
    train_set, val_set = load_splits(config)
    weights = check_splits(config, runtime, group, train_set, val_set, progress)
    model, remark = make_model(config, train_set, group, device, runtime)
    distillation, remarks = _make_distillation(config, train_set, group, device)
    trainer = Trainer(
        model,
        recipe,
        make_intervals(recipe, runtime, len(train_set), validated=val_set is not None),
        make_loss(recipe, weights, train_set.space.num_classes, device),
        train_set=train_set,
        val_set=val_set,
        group=group,
        run=run,
        device=device,
        amp=amp,
        seed=config.seed,
        stopping=stopping,
        patience=config.patience,
        distillation=distillation,
    )
    shared = group.from_main(lambda: describe_overlap(train_set, val_set))
    idle = describe_idle(config, borders=model.num_edges > 0)
    return trainer, [text for text in (train_set.note, shared, remark, idle, *remarks) if text]


def _make_distillation(
    config: TrainConfig, train_set: Dataset, group: Group, device: torch.device
) -> tuple[Distillation | None, list[str]]:
    """Load the teachers of a run if it has any; also return remarks on them."""
    if config.distillation is None:
        return None, []
    recipe, space = config.recipe, train_set.space
    teacher, remarks = load_teacher(config.distillation, space, device)
    labelled = recipe.batch // (recipe.accumulate * group.world_size)
    return (
        make_distillation(config.distillation, teacher, space, device, labelled=labelled),
        remarks,
    )


def _take_fingerprint(trainer: Trainer) -> Fingerprint:
    distillation = trainer.update.distillation
    images = None if distillation is None else distillation.images
    return take_fingerprint(trainer.train_set, trainer.val_set, images)


def report_faults(batches: Iterator[Batch], display: Display) -> Iterator[Batch]:
    """Yield the batches; report each bad record that was left out once."""
    reported: set[str] = set()
    for batch in batches:
        for name, problem in batch.faults:
            if name not in reported:
                reported.add(name)
                display.say(f"WARNING: left out: {problem}")
        yield batch


@contextmanager
def _config_removed_without_steps(run_dir: RunDir, trainer: Trainer) -> Iterator[None]:
    """Remove the configuration of a run that fails before its first step."""
    try:
        yield
    except (DsegError, KeyboardInterrupt):
        if not trainer.step:
            run_dir.forget()
        raise


@contextmanager
def memory_errors_reported(config: TrainConfig, runtime: RuntimeConfig) -> Iterator[None]:
    """Turn a shortage of memory into an error that names options which need less."""
    try:
        yield
    except Exception as fault:
        if not is_out_of_memory(fault):
            raise
        raise _memory_error(config, runtime) from fault


def _memory_error(config: TrainConfig, runtime: RuntimeConfig) -> DsegError:
    recipe = config.recipe
    height, width = recipe.crop
    micro = f" in {recipe.accumulate} micro-batches" if recipe.accumulate > 1 else ""
    less = ["a smaller --batch-size", f"a smaller crop (--set crop={height // 2}x{width // 2})"]
    if recipe.batch > recipe.accumulate:
        less.append(f"more micro-batches (--set accumulate={2 * recipe.accumulate})")
    if not runtime.checkpoint_activations:
        less.append("--checkpoint-activations (of dense blocks)")
    return memory_error(
        f"while {config.model} was trained on batches of {recipe.batch} crops of "
        f"{height}x{width}{micro}, device {runtime.device}",
        f"use {', '.join(less[:-1])} or {less[-1]}.",
    )


def make_intervals(
    recipe: Recipe, runtime: RuntimeConfig, samples: int, *, validated: bool = True
) -> Intervals:
    """Return the intervals of a run in steps; without validations, an epoch is summarised."""
    steps = recipe.steps or max(1, math.ceil(recipe.epochs * samples / recipe.batch))
    every = max(1, round(runtime.validate_every * samples / recipe.batch))
    regular = validated and runtime.validate_every > 0
    return Intervals(
        steps=steps,
        validate_every=every if runtime.validate_every else 0,
        save_every=runtime.save_every,
        log_every=runtime.log_every,
        draw=runtime.draw,
        summarise_every=0 if regular else max(1, round(samples / recipe.batch)),
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
        strict=recipe.ohem_strict,
        mean_over=recipe.loss_mean,
        edge_weight=recipe.edge_weight,
        edge_loss=recipe.edge_loss,
        edge_reach=recipe.edge_reach,
        edge_aware_weight=recipe.edge_aware_weight,
        edge_aware_threshold=recipe.edge_aware_threshold,
        affinity=affinity,
        affinity_weight=recipe.affinity_weight,
    )
