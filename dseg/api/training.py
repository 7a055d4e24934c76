"""``dseg.train``: training by keywords, with the plan of ``dseg train`` for own data."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from dseg.api.data import find_data
from dseg.api.words import in_python
from dseg.config import DistillConfig, RuntimeConfig, TrainConfig, make_config
from dseg.device import find_device
from dseg.errors import DsegError, suggest
from dseg.jsonio import take
from dseg.parallel import Advance
from dseg.planning import NETWORK, apply_plan, needs_plan, plan_training
from dseg.recipes import setting_text
from dseg.recipes.file import is_recipe_file, names_weights, read_recipe_file
from dseg.training import Outcome, read_config
from dseg.training import train as train_by_config
from dseg.training.run_json import RUN_FILE, read_runtime
from dseg.training.teacher import find_digest

Overrides = Mapping[str, Any] | Iterable[str]
BY_KEYWORD = {
    *("model", "datasets", "recipe", "recipe_name", "world_size", "device"),
    *("distillation", "teachers"),
}
CONFIG = tuple(own.name for own in fields(TrainConfig) if own.name not in BY_KEYWORD)
RUNTIME = tuple(own.name for own in fields(RuntimeConfig) if own.name not in BY_KEYWORD)
TAUGHT = tuple(own.name for own in fields(DistillConfig) if own.name not in BY_KEYWORD)


@in_python(TrainConfig, RuntimeConfig, DistillConfig, others=(*CONFIG, *RUNTIME, *TAUGHT))
def train(
    config: TrainConfig | None = None,
    out: Path | str = "run",
    *,
    model: str = "",
    data: Any = None,
    epochs: float | None = None,
    batch_size: int | None = None,
    recipe: str = "",
    overrides: Overrides = (),
    device: str | None = None,
    runtime: RuntimeConfig | None = None,
    resume: bool = False,
    accept_data: bool = False,
    teacher: Path | str | Iterable[Path | str] = (),
    **options: Any,
) -> Outcome:
    """Train a network as ``dseg train`` does, in this process.

    Own data and fewer than 1000 images get a plan that fits them, unless a recipe is named. Ctrl-C
    saves the state and returns; the outcome then has ``stopped`` set. Messages of the command are
    Python warnings. PyTorch's settings for determinism and TF32 stay changed.

    Example:
        >>> import dseg
        >>> dseg.train(model="dabnet", data="my-photos", out="run", epochs=20).best
        0.61
        >>> dseg.train(model="dabnet", data=("camvid", "CamVid"), out="camvid", seed=1)
        >>> dseg.train(out="run", resume=True, epochs=40)
        >>> predictor = dseg.load(weights="run/best.safetensors")

    Args:
        config: everything at once, from ``dseg.config.make_config``, in place of ``model``,
            ``data``, ``recipe`` and so on.
        out: folder for weights, metrics and plots.
        model: network listed by ``dseg models``; a plan for own data chooses one if none is named.
        data: folder of own images and masks with a class file (``dseg init``); a pair such as
            ``("camvid", "CamVid")``; or several pairs, to join them.
        epochs: number of passes over the training split.
        batch_size: number of images in a batch.
        recipe: name of a recipe or path of a recipe file.
        overrides: values to replace in the recipe: ``{"lr": 0.01}`` or ``["lr=0.01"]``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        runtime: all runtime options at once, in place of ``device`` and others.
        resume: continue the run in ``out`` if there is one.
        accept_data: continue although the data have changed.
        teacher: checkpoint of a trained network to follow, as ``dseg distill`` does, or several.
        options: further fields of ``TrainConfig``, such as ``split``, ``val_split``, ``weights``,
            ``reset_head``, ``backbone_weights``, ``class_file``, ``seed``, ``amp``; of
            ``RuntimeConfig``, such as ``workers`` and ``cache``; and with a teacher of
            ``DistillConfig``, such as ``distill``, ``temperature`` and ``unlabelled``.

    Raises:
        DsegError: unusable data, checkpoint or options; ``out`` contains a run and ``resume`` is
            False; otherwise as ``dseg train``.
    """
    for name, text in {"out": out, "model": model, "recipe": recipe}.items():
        if not isinstance(text, str | os.PathLike):
            raise DsegError(f"{name} cannot be {text!r}.", hint="give a name or a path.")
    run = Path(options.pop("run", out))  # the older name of the argument
    own, conditions, taught = _sort(options)
    given = {"model": model, "data": data, "batch_size": batch_size, "recipe": recipe}
    given |= {**own, **taught, "teacher": teacher or None}
    named = [name for name, value in given.items() if value not in (None, "")]
    if config is not None:
        _refuse(named + ["epochs"] * (epochs is not None), "config describes the whole training")
    elif resume and (run / RUN_FILE).exists():
        _refuse(named, f"{run} contains a run, which has its own options")
        config = _longer(read_config(run), epochs)
    else:
        texts = [*_as_text(overrides)]
        texts += [] if epochs is None else [f"epochs={epochs}", "steps=0"]
        texts += [] if batch_size is None else [f"batch={batch_size}"]
        own["distillation"] = _name_teachers(teacher, taught)
        config = _make_config(model, data, recipe, texts, device or "auto", own)
    if runtime is None and (device is not None or conditions):
        kept = read_runtime(run) if resume and (run / RUN_FILE).exists() else RuntimeConfig()
        changes = {**conditions, **({} if device is None else {"device": device})}
        runtime = replace(kept, **changes)
    return train_by_config(config, run, runtime=runtime, resume=resume, accept_data=accept_data)


def _name_teachers(
    teacher: Path | str | Iterable[Path | str], values: dict[str, Any]
) -> DistillConfig | None:
    """Return the distillation that arguments describe; None without a teacher.

    Raises:
        DsegError: a file is missing, or values are out of range or without a teacher.
    """
    files = [teacher] if isinstance(teacher, str | os.PathLike) else list(teacher)
    if not files and values:
        raise DsegError(
            f"{next(iter(values))} requires a teacher.", hint='name its checkpoint: teacher="FILE".'
        )
    for name in ("unlabelled", "teacher_models"):
        if name in values:
            given = values[name]
            listed = [given] if isinstance(given, str | os.PathLike) else given
            values = {**values, name: list(map(str, listed))}
    values = {name: _checked(name, value, DistillConfig) for name, value in values.items()}
    teachers = tuple((str(file), find_digest(str(file))) for file in files)
    if not files:
        return None
    config = DistillConfig(teachers=teachers, **values)
    config.refuse_useless()
    return config


def _sort(
    options: dict[str, Any],
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the fields of the configuration, of the runtime options, and of the distillation.

    Raises:
        DsegError: unknown name.
    """
    for name in options:
        if name not in (*CONFIG, *RUNTIME, *TAUGHT):
            known = (
                *CONFIG,
                *RUNTIME,
                *TAUGHT,
                "teacher",
                "model",
                "data",
                "epochs",
                "batch_size",
                "overrides",
            )
            raise DsegError(
                f"Training has no option {name!r}.",
                hint=f"{suggest(name, known)}Values of the recipe: overrides={{'lr': 0.01}}.",
            )
    own = {name: value for name, value in options.items() if name in CONFIG}
    for name in ("weights", "backbone_weights", "class_file"):
        if name in own:
            own[name] = str(own[name] or "")
    if own.get("val_split") in (None, "none"):
        own = {**own, "val_split": ""} if "val_split" in own else own
    own = {name: _checked(name, value) for name, value in own.items()}
    conditions = {name: value for name, value in options.items() if name in RUNTIME}
    return own, conditions, {name: value for name, value in options.items() if name in TAUGHT}


def _checked(name: str, value: Any, config: type[Any] = TrainConfig) -> Any:
    """Return the value of a configuration's field, a number of NumPy as one of Python.

    Raises:
        DsegError: it has another type.
    """
    kind = get_type_hints(config)[name]
    try:
        return take(kind, value.item() if isinstance(value, np.generic) else value, name)
    except ValueError as fault:
        raise DsegError(
            f"{fault}.", hint=f"its type is {getattr(kind, '__name__', kind)}."
        ) from None


def _refuse(named: list[str], reason: str) -> None:
    if named:
        raise DsegError(f"{reason}.", hint=f"leave out {', '.join(named)}.")


def _longer(config: TrainConfig, epochs: float | None) -> TrainConfig:
    if epochs is None:
        return config
    return replace(config, recipe=config.recipe.override([f"epochs={epochs}", "steps=0"]))


def _as_text(overrides: Overrides) -> list[str]:
    """Return overrides as ``field=value`` each."""
    if isinstance(overrides, str):
        return [overrides]
    if not isinstance(overrides, Mapping):
        return list(overrides)
    return [f"{name}={setting_text(value)}" for name, value in overrides.items()]


def _make_config(
    model: str, data: Any, recipe: str, overrides: list[str], device: str, own: dict[str, Any]
) -> TrainConfig:
    """Return the configuration of a new run, planned as by the command.

    Raises:
        DsegError: no data or no network is named, options contradict each other, or the data are
            unusable.
    """
    if data is None:
        raise DsegError("No data are named.", hint='name a folder: data="my-photos".')
    if names_weights(own.get("weights", "")) and own.get("backbone_weights"):
        raise DsegError(
            "weights and backbone_weights both name the initial weights of the backbone.",
            hint="give one of them.",
        )
    datasets, chosen = find_data(data), str(recipe)
    if not model and is_recipe_file(chosen):
        model = read_recipe_file(Path(chosen)).model
    config = make_config(model or NETWORK, datasets, recipe=chosen, overrides=overrides, **own)
    if not chosen and needs_plan(config):
        plan = plan_training(config, find_device(device), _no_progress, named=bool(model))
        return apply_plan(config, plan, overrides)
    if not model:
        raise DsegError("No network is named.", hint='name it: model="dabnet" (dseg models).')
    return config


def _no_progress(what: str, total: int) -> nullcontext[Advance]:
    return nullcontext(lambda: None)
