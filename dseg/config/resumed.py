"""The configuration of a resumed run: how two configurations differ, and what may change."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path

from dseg.config.distill import DistillConfig
from dseg.config.train import TrainConfig
from dseg.errors import DsegError
from dseg.recipes import Recipe

DIGITS = 12  # of a SHA-256 in messages


def find_differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """Return in words in which fields two configurations differ."""
    found = []
    for own in fields(TrainConfig):
        before, after = getattr(old, own.name), getattr(new, own.name)
        if before == after:
            continue
        if isinstance(before, Recipe | DistillConfig):
            pairs = zip(asdict(before).items(), asdict(after).values(), strict=True)
            found += [
                f"{name} {was} -> {now}"
                for (name, was), now in pairs
                if was != now and name != "source"  # a description
            ]
        else:
            found.append(f"{own.name} {before} -> {after}")
    return found


def continue_config(run: Path, before: TrainConfig, wanted: TrainConfig) -> TrainConfig:
    """Return the configuration of a resumed run: its own, with the changes that are allowed.

    These are the folders of its data, the class file, the number of epochs or steps, the patience,
    and the paths of the same teachers.

    Args:
        run: folder of the run, for the message.
        before: configuration of the run.
        wanted: configuration with which it is to continue.

    Raises:
        DsegError: they differ in other values.
    """
    recipe = replace(before.recipe, epochs=wanted.recipe.epochs, steps=wanted.recipe.steps)
    after = replace(before, recipe=recipe, class_file=wanted.class_file, patience=wanted.patience)
    if [name for name, _ in wanted.datasets] == [name for name, _ in before.datasets]:
        after = replace(after, datasets=wanted.datasets)
    taught = _continue_distillation(run, before.distillation, wanted.distillation)
    after = replace(after, distillation=taught)
    differences = find_differences(after, wanted)
    if differences:
        command = "train" if before.distillation is None else "distill"
        raise DsegError(
            f"{run} was started with other options: {'; '.join(differences[:4])}.",
            hint=f"continue with its own (dseg {command} --resume --out {run}), or start a new "
            "run with another --out.",
        )
    return after


def _continue_distillation(
    run: Path, before: DistillConfig | None, wanted: DistillConfig | None
) -> DistillConfig | None:
    """Return how a run continues to be taught: its teachers and images can be at other paths."""
    if before is None or wanted is None:
        if before is not wanted:
            started, name = ("without", "train") if before is None else ("with", "distill")
            raise DsegError(
                f"{run} was started {started} a teacher.",
                hint=f"continue it as it is (dseg {name} --resume --out {run}), or start a new run "
                "with another --out.",
            )
        return before
    if before.digests != wanted.digests:
        raise DsegError(
            f"{run} was started with another teacher: {_name_teachers(before)}, not "
            f"{_name_teachers(wanted)}.",
            hint=f"continue with its own (dseg distill --resume --out {run}), or start a new run "
            "with another --out.",
        )
    folders = wanted.unlabelled if len(wanted.unlabelled) == len(before.unlabelled) else None
    return replace(before, teachers=wanted.teachers, unlabelled=folders or before.unlabelled)


def _name_teachers(config: DistillConfig) -> str:
    return ", ".join(f"{file} (SHA-256 {digest[:DIGITS]})" for file, digest in config.teachers)
