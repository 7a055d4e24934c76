"""The configuration of a resumed run: its own, with the changes that resuming allows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dseg.cli.train.options import TrainRequest
from dseg.config import RuntimeConfig, TrainConfig
from dseg.config.train import continue_config


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
    return continue_config(request.run, before, replace(named, **kept))


def merge_runtime(request: TrainRequest, before: RuntimeConfig) -> RuntimeConfig:
    """Return the run's runtime options, overridden by those that are given."""
    named = {name: value for name, value in request.runtime.items() if name in request.given}
    return replace(before, **named)
