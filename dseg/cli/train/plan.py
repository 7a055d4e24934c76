"""The plan that replaces a network's published recipe for own and for few data."""

from __future__ import annotations

from dseg.cli.console import progress, say
from dseg.cli.train.options import TrainRequest
from dseg.config import TrainConfig
from dseg.errors import DsegError, counted


def no_network() -> DsegError:
    return DsegError(
        "No network is named.", hint="name it by --model, for example DABNet (dseg models)."
    )


def plan_config(request: TrainRequest, config: TrainConfig, *, named: bool) -> TrainConfig:
    """Return a configuration with a planned recipe if the published one is for other data.

    Args:
        request: the command line.
        config: what it describes, with the network's own recipe.
        named: it names the network.

    Raises:
        DsegError: no network is named and the data need no plan; or the data are unusable.
    """
    from dseg.device import find_device
    from dseg.planning import apply_plan, needs_plan, plan_training
    from dseg.recipes.file import BUNDLED

    if not needs_plan(config):
        if not named:
            raise no_network()
        return config
    quiet = request.quiet
    plan = plan_training(
        config,
        find_device(request.runtime["device"]),
        lambda what, total: progress(what, total, quiet=quiet),
        named=named,
    )
    planned = apply_plan(config, plan, request.recipe_overrides())
    if not quiet:
        height, width = planned.recipe.crop
        weights = ", from the bundled weights" if plan.weights == BUNDLED else ""
        say(
            f"Planned for {plan.data}: {plan.model}{weights}, crops of {height}x{width}, "
            f"{counted(planned.recipe.epochs, 'epoch')} (dseg plan explains it; --recipe NAME "
            "replaces it)."
        )
    return planned
