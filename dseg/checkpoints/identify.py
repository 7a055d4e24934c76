"""Which network of the table a checkpoint is of, by its keys and shapes, and which release."""

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

SPREAD = 3  # by what heads and other numbers of classes may make a file larger or smaller
MOST_NAMED = 3  # networks in a message


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A network of the table whose keys and shapes are those of a file.

    Attributes:
        network: its name.
        arguments: constructor arguments that its row and the file come to.
        published: its row is of so many outputs.
        same_arguments: its row's constructor arguments are those that the file asks for.
    """

    network: str
    arguments: dict[str, Any]
    published: bool
    same_arguments: bool

    @property
    def rank(self) -> tuple[bool, bool]:
        """Return what sorts the nearest networks first."""
        return not self.published, not self.same_arguments


def find_networks(checkpoint: Checkpoint) -> list[str]:
    """Return the networks whose keys and shapes are those of the file, whatever its class count.

    Those that were published with the file's outputs and arguments come first.
    """
    return [fit.network for fit in find_fits(checkpoint)]


def find_fits(checkpoint: Checkpoint) -> list[Fit]:
    """Return the networks that a file fits, the nearest first, else in the table's order."""
    size = sum(v.numel() for k, v in checkpoint.state.items() if not k.endswith(STATISTICS))
    tried: dict[tuple[object, ...], bool] = {}
    fits = []
    for name, spec in MODELS.items():
        if not spec.params / SPREAD < size < spec.params * SPREAD:
            continue
        cls = find_class(name)
        state = map_keys(cls, checkpoint.state)
        outputs = count_classes(cls, state)
        if outputs is None:  # no classifier where this network has its own
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
                    same_arguments=_asks_for(spec, options),
                )
            )
    return sorted(fits, key=lambda fit: fit.rank)


def _fits(name: str, outputs: int, options: dict[str, Any], state: dict[str, torch.Tensor]) -> bool:
    try:
        with torch.device("meta"):  # shapes alone, no memory
            model = build_model(name, outputs, **options)
    except (DsegError, RuntimeError, ValueError, TypeError):
        return False  # what such a file asks for cannot be built
    return compare(model, state).complete


def _asks_for(spec: ModelSpec, options: dict[str, Any]) -> bool:
    """Return True if nothing in a file contradicts a row's constructor arguments."""
    return all(options.get(name, value) == value for name, value in spec.kwargs.items())


def choose_network(checkpoint: Checkpoint) -> tuple[str, list[str]]:
    """Return the network that a file without a card is of, and what was assumed.

    Rows of one class that differ in their outputs, or in what no file shows (output stride,
    recurrence), are no ambiguity: the outputs decide, then the table's order.

    Raises:
        CheckpointError: no network fits, or several classes do.
    """
    fits = find_fits(checkpoint)
    if not fits:
        raise _unknown(checkpoint)
    best = [fit for fit in fits if fit.rank == fits[0].rank]
    if len({find_class(fit.network) for fit in best}) > 1:
        names = ", ".join(fit.network for fit in best)
        raise CheckpointError(
            f"{checkpoint.path} does not say which network it is for: {names} fit.",
            hint="name it by --model.",
        )
    chosen = best[0]
    others = [fit.network for fit in best if fit.arguments != chosen.arguments]
    note = f"The network is {chosen.network}, by the file's keys and shapes."
    if others:
        note = (
            f"The network is taken for {chosen.network}; the file's keys are also those of "
            f"{', '.join(others[:MOST_NAMED])} (choose by --model)."
        )
    return chosen.network, [note]


def _unknown(checkpoint: Checkpoint) -> CheckpointError:
    """Return the error of a file that fits no network, which names what it is of if it can."""
    if older := name_older_version(checkpoint.state):
        return CheckpointError(
            f"{checkpoint.path} is of {older}, which fits no network here.",
            hint="use the file of the newer version: dseg models.",
        )
    if toolkit := name_toolkit(checkpoint.state):
        return CheckpointError(
            f"{checkpoint.path} is of {toolkit}, which dseg does not have.",
            hint="choose a checkpoint of one of the networks that dseg models lists.",
        )
    return CheckpointError(
        f"{checkpoint.path} does not say which network it is for: no network of the table fits.",
        hint="see its keys with dseg inspect --keys FILE, and name a network by --model.",
    )


def explain_misfit(checkpoint: Checkpoint, name: str) -> str:
    """Return what to do about a file that does not fit the network that was named."""
    if names := [other for other in find_networks(checkpoint) if other != name]:
        return f"the keys are those of {' or '.join(names[:MOST_NAMED])}; try --model {names[0]}."
    if found := name_older_version(checkpoint.state) or name_toolkit(checkpoint.state):
        return f"the keys are those of {found}, which dseg does not have."
    return "no network of the table has these keys; see them with dseg inspect --keys FILE."


def find_release(name: str, outputs: int, options: dict[str, Any]) -> str:
    """Return the row whose published file has so many outputs: the named one, or one of its class.

    Args:
        name: a key of ``MODELS``.
        outputs: of the file.
        options: constructor arguments that the file asks for.

    Returns:
        ``name`` where no row of its class has them.
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
    nearest = [other for other in siblings if _asks_for(MODELS[other], wanted)]
    return next(iter(nearest + siblings), name)


def is_same_architecture(name: str, other: str, options: dict[str, Any]) -> bool:
    """Return True if two rows of one class build the same network, but for their outputs."""
    return name == other or _asks_for(MODELS[other], {**MODELS[name].kwargs, **options})
