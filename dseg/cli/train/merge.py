"""The configuration of a resumed run: its own, with the changes that resuming allows."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

from dseg.cli.train.options import TrainRequest
from dseg.config import DistillConfig, RuntimeConfig, TrainConfig
from dseg.config.resumed import continue_config
from dseg.errors import DsegError


def complete_request(request: TrainRequest, before: TrainConfig) -> TrainRequest:
    """Return a request that names the run's network and data where it names none."""
    config = dict(request.config)
    config["model"] = config["model"] or before.model
    if request.dataset_names:
        return replace(request, config=config)
    return replace(
        request,
        config=config,
        dataset_names=tuple(name for name, _ in before.datasets),
        data_dirs=request.data_dirs or tuple(Path(folder) for _, folder in before.datasets),
    )


def merge_config(request: TrainRequest, before: TrainConfig, named: TrainConfig) -> TrainConfig:
    """Return the run's configuration, with the folders of its data and the epochs that are named.

    The contents of the data are compared later, by their fingerprint.

    Args:
        request: the command line.
        before: configuration of the run.
        named: configuration that the command line describes by itself.

    Raises:
        DsegError: the command line contradicts the run's configuration.
    """
    not_given = request.config.keys() - request.given - {"model"}
    kept = {name: getattr(before, name) for name in not_given}
    if "recipe_name" in not_given:
        kept["recipe"] = before.recipe.override(request.recipe_overrides())
    taught = _merge_distillation(request, before.distillation, named.distillation)
    return continue_config(request.run, before, replace(named, **kept, distillation=taught))


def _merge_distillation(
    request: TrainRequest, before: DistillConfig | None, named: DistillConfig | None
) -> DistillConfig | None:
    """Return the run's distillation, overridden by the options that are given.

    Raises:
        DsegError: ``dseg distill`` is to continue a run without a teacher.
    """
    if request.distillation is None:
        return before
    if before is None:
        raise DsegError(
            f"{request.run} was started without a teacher.",
            hint=f"continue it by dseg train --resume --out {request.run}, or start a new run with "
            "another --out.",
        )
    given = request.given & {own.name for own in fields(DistillConfig)} - {"teachers"}
    values = {name: request.distillation[name] for name in given}
    return replace(before, teachers=(named or before).teachers, **values)


def name_distillation(request: TrainRequest, *, resumed: bool) -> DistillConfig | None:
    """Return the distillation that the command line describes; None if it names no teacher.

    Raises:
        DsegError: no teacher is named for a new run, a file is missing, or options contradict each
            other.
    """
    if request.distillation is None:
        return None
    values = dict(request.distillation)
    teachers = values.pop("teachers")
    if not teachers and resumed:
        return None
    if not teachers:
        raise DsegError(
            "No teacher is named.", hint="name the checkpoint of a trained network: --teacher FILE"
        )
    unused = {
        "unlabelled_ratio": ("--unlabelled-ratio", "--unlabelled", not values["unlabelled"]),
        "logits_weight": ("--logits-weight", "--distill", values["distill"] == "channels"),
        "channels_weight": ("--channels-weight", "--distill", values["distill"] == "logits"),
    }
    for name, (option, other, is_unused) in unused.items():
        if is_unused and name in request.given and not resumed:
            raise DsegError(
                f"{option} has no effect without {other}."
                if other == "--unlabelled"
                else f"{option} has no effect with {other} {values['distill']}.",
                hint=f"leave out {option}, or give another {other}."
                if other == "--distill"
                else f"leave out {option}, or name a folder of images by {other}.",
            )
    from dseg.training.teacher import find_digest

    named = tuple((file, find_digest(file)) for file in teachers)
    config = DistillConfig(teachers=named, **values)
    config.refuse_useless()
    return config


def merge_runtime(request: TrainRequest, before: RuntimeConfig) -> RuntimeConfig:
    """Return the run's runtime options, overridden by those that are given."""
    named = {name: value for name, value in request.runtime.items() if name in request.given}
    return replace(before, **named)
