"""Identify the network and release of a checkpoint by its keys and shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from dseg.checkpoints.keys import STATISTICS, compare, count_classes, map_keys
from dseg.checkpoints.read import Checkpoint
from dseg.checkpoints.toolkits import name_older_version, name_toolkit
from dseg.errors import CheckpointError, DsegError
from dseg.models import build_model, find_class
from dseg.registry import MODELS, ModelSpec

SPREAD = 3  # factor by which heads and the number of classes can change the size of a file
MOST_NAMED = 3  # networks named in a message


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A registered network whose keys and shapes match a file.

    Attributes:
        network: name of the network.
        arguments: constructor arguments of its entry, updated by those found in the file.
        published: True if the entry has the file's number of outputs.
        same_arguments: True if the file does not contradict the entry's constructor arguments.
    """

    network: str
    arguments: dict[str, Any]
    published: bool
    same_arguments: bool

    @property
    def rank(self) -> tuple[bool, bool]:
        """Sort key that puts the best fits first."""
        return not self.published, not self.same_arguments


def find_networks(checkpoint: Checkpoint) -> list[str]:
    """Return the networks whose keys and shapes match the file, for any number of classes.

    Networks that were published with the file's outputs and arguments come first.
    """
    return [fit.network for fit in find_fits(checkpoint)]


def find_fits(checkpoint: Checkpoint) -> list[Fit]:
    """Return the networks that fit the file, best first, otherwise in the registry's order."""
    size = sum(v.numel() for k, v in checkpoint.state.items() if not k.endswith(STATISTICS))
    tried: dict[tuple[object, ...], bool] = {}
    fits = []
    for name, spec in MODELS.items():
        if not spec.params / SPREAD < size < spec.params * SPREAD:
            continue
        cls = find_class(name)
        state = map_keys(cls, checkpoint.state)
        outputs = count_classes(cls, state)
        if outputs is None:  # the file has no tensor at this network's classifier
            continue
        options = cls.options_for(state)
        architecture = (cls, outputs, *sorted({**spec.kwargs, **options}.items()))
        if architecture not in tried:
            tried[architecture] = _fits(name, outputs, options, state)
        if tried[architecture]:
            fits.append(
                Fit(
                    network=name,
                    arguments={**spec.kwargs, **options},
                    published=outputs == spec.num_classes,
                    same_arguments=_agrees_with(spec, options),
                )
            )
    return sorted(fits, key=lambda fit: fit.rank)


def _fits(name: str, outputs: int, options: dict[str, Any], state: dict[str, torch.Tensor]) -> bool:
    try:
        with torch.device("meta"):  # shapes only, no memory
            model = build_model(name, outputs, **options)
    except (DsegError, RuntimeError, ValueError, TypeError):
        return False  # the file's arguments cannot be built
    return compare(model, state).complete


def _agrees_with(spec: ModelSpec, options: dict[str, Any]) -> bool:
    """Return True if ``options`` do not contradict an entry's constructor arguments."""
    return all(options.get(name, value) == value for name, value in spec.kwargs.items())


def choose_network(checkpoint: Checkpoint) -> tuple[str, list[str]]:
    """Return the network of a file without a model card, and notes on what was assumed.

    Among entries of one class that differ in the number of outputs, or in options that a file
    does not show (output stride, recurrence), the outputs decide, then the registry's order.

    Raises:
        CheckpointError: no network fits, or networks of several classes do.
    """
    fits = find_fits(checkpoint)
    if not fits:
        raise _unknown(checkpoint)
    best = [fit for fit in fits if fit.rank == fits[0].rank]
    if len({find_class(fit.network) for fit in best}) > 1:
        names = ", ".join(fit.network for fit in best)
        raise CheckpointError(
            f"{checkpoint.path} does not name its network, and several fit: {names}.",
            hint="name it with --model.",
        )
    chosen = best[0]
    others = [fit.network for fit in best if fit.arguments != chosen.arguments]
    note = f"The network is {chosen.network}, judging by the file's keys and shapes."
    if others:
        note = (
            f"The network is assumed to be {chosen.network}; the keys also fit "
            f"{', '.join(others[:MOST_NAMED])} (choose with --model)."
        )
    return chosen.network, [note]


def _unknown(checkpoint: Checkpoint) -> CheckpointError:
    """Return the error for a file that fits no network, with its toolkit if that is known."""
    if older := name_older_version(checkpoint.state):
        return CheckpointError(
            f"{checkpoint.path} is of {older}, which dseg cannot load.",
            hint="use the file of the newer version: dseg models.",
        )
    if toolkit := name_toolkit(checkpoint.state):
        return CheckpointError(
            f"{checkpoint.path} is of {toolkit}, which dseg does not have.",
            hint="choose a checkpoint of a network that dseg models lists.",
        )
    return CheckpointError(
        f"{checkpoint.path} does not name its network, and no known network fits.",
        hint="see its keys with dseg inspect --keys FILE, and name a network with --model.",
    )


def explain_misfit(checkpoint: Checkpoint, name: str) -> str:
    """Return the hint for a file that does not fit network ``name``."""
    if names := [other for other in find_networks(checkpoint) if other != name]:
        return f"the keys are those of {' or '.join(names[:MOST_NAMED])}; try --model {names[0]}."
    if found := name_older_version(checkpoint.state) or name_toolkit(checkpoint.state):
        return f"the keys are those of {found}, which dseg does not have."
    return "no known network has these keys; list them with dseg inspect --keys FILE."


def find_release(name: str, outputs: int, options: dict[str, Any]) -> str:
    """Return the entry that was published with ``outputs`` outputs: ``name`` or one of its class.

    Args:
        name: a key of ``MODELS``.
        outputs: number of outputs in the file.
        options: constructor arguments found in the file.

    Returns:
        A key of ``MODELS``; ``name`` if no entry of its class has that many outputs.
    """
    spec = MODELS[name]
    if spec.num_classes == outputs:
        return name
    siblings = [
        other
        for other, row in MODELS.items()
        if row.target == spec.target and row.num_classes == outputs
    ]
    wanted = {**spec.kwargs, **options}
    nearest = [other for other in siblings if _agrees_with(MODELS[other], wanted)]
    return next(iter(nearest + siblings), name)


def is_same_architecture(name: str, other: str, options: dict[str, Any]) -> bool:
    """Return True if two entries of one class differ at most in their number of outputs."""
    return name == other or _agrees_with(MODELS[other], {**MODELS[name].kwargs, **options})
