"""Find the state dict in what a training script saved, and remove wrappers from its keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from dseg.errors import CheckpointError, counted

WRAPPERS = (
    "state_dict", "model", "model_state_dict", "model_state", "net", "network", "weights",
    "params", "module", "shadow",
)  # fmt: skip
AVERAGED = re.compile(r"(^|_)ema(_|$)")  # exponential moving average
TRAINING = re.compile(
    r"optim|sched|scaler|(^|_)(opt|amp|rng|callbacks|loops|hyper_parameters|hparams|args|config"
    r"|cfg|criterion|loss|losses|metrics)(_|$)",
    re.IGNORECASE,
)
TRAINING_KEYS = ("param_groups", "growth_factor", "base_lrs", "_step_count", "LR_Scheduler")
LIGHTNING = "pytorch-lightning_version"
DEPTH = 6  # of nested containers
PARALLEL = re.compile(r"^(module\.)+")  # DataParallel, AveragedModel
INNER = re.compile(r"(^|(?<=\.))(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
ATTRIBUTES = ("model.", "net.", "network.")  # attributes under which trainers hold the network
LEAST_AVERAGED = 4  # a network has at most 4 times as many tensors: statistics of norms, counters
COUNTER = "n_averaged"  # of torch.optim.swa_utils.AveragedModel


@dataclass(frozen=True, kw_only=True)
class Unwrapped:
    """The weights of a network, and the names of the other entries.

    Attributes:
        state: tensors by key.
        container: dotted name of the entry that held them, empty for a bare state dict.
        extras: dotted names of the other entries.
        notes: sentences for the user on what was assumed.
    """

    state: dict[str, Tensor]
    container: str
    extras: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Found:
    """The tensors of one mapping, and the raw weights if these are averaged."""

    path: tuple[str, ...]
    tensors: dict[str, Tensor]
    raw: _Found | None = None

    @property
    def name(self) -> str:
        """The dotted path."""
        return ".".join(self.path)

    def under(self, key: str) -> _Found:
        """Return a copy whose path starts at the containing mapping."""
        raw = self.raw.under(key) if self.raw is not None else None
        return replace(self, path=(key, *self.path), raw=raw)


def unwrap(path: Path, content: object, *, raw: bool = False) -> Unwrapped:
    """Find the state dict in what a training script saved.

    EMA weights are preferred; raw weights fill in for tensors that the average lacks.

    Args:
        path: checkpoint file, for messages.
        content: object read from the file.
        raw: use the raw weights if the file has both.

    Raises:
        CheckpointError: there is no state dict.
    """
    found = _search(content, 0, {}) if isinstance(content, Mapping) else None
    if found is None or not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path} does not hold a state dict but {_describe(content)}.",
            hint=f"save a state dict, bare or under one of: {', '.join(WRAPPERS)}.",
        )
    lightning = LIGHTNING in entries_of(content)
    chosen = found.raw if raw and found.raw is not None else found
    for key, value in chosen.tensors.items():
        if value.is_nested:
            raise CheckpointError(
                f"{path} cannot be used: {key} is a nested tensor.",
                hint="ask its author for a state dict of dense tensors.",
            )
    state, notes = clean_keys(chosen.tensors, lightning=lightning)
    if chosen.raw is not None:
        others, _ = clean_keys(chosen.raw.tensors, lightning=lightning)
        note, state = _complete(chosen.name, chosen.raw.name, state, others)
        notes = (note, *notes)
    extras = _list_extras(content, chosen)
    return Unwrapped(state=state, container=chosen.name, extras=extras, notes=notes)


def entries_of(mapping: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return a mapping as a dict, ignoring attributes that the file has set on it."""
    return dict(type(mapping).items(mapping))


def strip_wrappers(key: str) -> str:
    """Remove the prefixes of DataParallel, ``torch.compile`` and FSDP from a key."""
    return PARALLEL.sub("", INNER.sub("", key))


def _search(
    content: Mapping[Any, Any], depth: int, known: dict[int, _Found | None]
) -> _Found | None:
    """Return the best state dict in a mapping; ``known`` holds results by ``id``."""
    if id(content) in known:
        return known[id(content)]
    known[id(content)] = None  # for a mapping that contains itself
    entries = entries_of(content)
    if depth > DEPTH or not entries.keys().isdisjoint(TRAINING_KEYS):
        return None
    inner: dict[str, _Found] = {}
    for key, value in entries.items():
        if isinstance(value, Mapping) and isinstance(key, str) and not TRAINING.search(key):
            found = _search(value, depth + 1, known)
            if found is not None:
                inner[key] = found.under(key)
    averaged = next((inner.pop(key) for key in list(inner) if AVERAGED.search(key)), None)
    best = _choose(inner, _own_tensors(entries))
    if averaged is not None and _is_whole(averaged, best):
        best = replace(averaged, raw=best)
    known[id(content)] = best
    return best


def _is_whole(averaged: _Found, best: _Found | None) -> bool:
    """Return True if ``averaged`` holds a network's parameters, not only an update counter."""
    return best is None or len(averaged.tensors) * LEAST_AVERAGED >= len(best.tensors)


def _own_tensors(entries: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Return the tensors directly in a mapping."""
    tensors = {k: v for k, v in entries.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if COUNTER in tensors and tensors[COUNTER].ndim == 0:
        del tensors[COUNTER]
    return tensors


def _choose(inner: Mapping[str, _Found], own: dict[str, Tensor]) -> _Found | None:
    """Choose by the usual names, otherwise by the number of tensors."""
    for name in WRAPPERS:
        if name in inner:
            return inner[name]
    candidates = list(inner.values())
    if own:
        candidates.append(_Found(path=(), tensors=own))
    return max(candidates, key=lambda found: len(found.tensors), default=None)


def _list_extras(content: Mapping[Any, Any], chosen: _Found) -> tuple[str, ...]:
    """Return the dotted names of all entries but the weights, outermost first."""
    entries = entries_of(content)
    names: list[str] = []
    for depth, step in enumerate(chosen.path):
        names += [_dotted(chosen.path[:depth], key) for key in entries if key != step]
        entries = entries_of(entries[step])
    names += [_dotted(chosen.path, key) for key in entries if key not in chosen.tensors]
    return tuple(names)


def _dotted(path: tuple[str, ...], key: object) -> str:
    return ".".join((*path, key if isinstance(key, str) else f"<{type(key).__name__}>"))


def clean_keys(
    state: Mapping[str, Tensor], *, lightning: bool = False
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Remove wrappers from keys, and the network's attribute name in a larger module.

    Args:
        state: tensors by key.
        lightning: True for a Lightning module, whose losses and metrics are left out.

    Returns:
        The tensors by their new keys, and notes on what was left out.
    """
    notes: tuple[str, ...] = ()
    state = _rename(state, list(state))
    for _ in range(DEPTH):
        inside = {p: [key for key in state if key.startswith(p)] for p in ATTRIBUTES}
        prefix = max(ATTRIBUTES, key=lambda p: len(inside[p]))
        others = [key for key in state if not key.startswith(prefix)]
        if others and not (lightning and len(inside[prefix]) > len(others)):
            break
        if others:
            verb = "is" if len(others) == 1 else "are"
            note = f"{_count(others)} outside {prefix[:-1]} {verb} left out (first {others[0]})."
            notes = (*notes, note)
        state = _rename(state, inside[prefix], prefix)
    return dict(state), notes


def _rename(state: Mapping[str, Tensor], keys: list[str], prefix: str = "") -> dict[str, Tensor]:
    """Select tensors by key, and remove a prefix and wrappers from the keys.

    Raises:
        CheckpointError: two keys become equal.
    """
    renamed: dict[str, Tensor] = {}
    for key in keys:
        name = strip_wrappers(key.removeprefix(prefix))
        if name in renamed:
            raise CheckpointError(
                f"Two tensors of the checkpoint are named {name}, one of them {key}.",
                hint="ask its author for the state dict of a single network.",
            )
        renamed[name] = state[key]
    return renamed


def _complete(
    averaged: str, raw: str, state: dict[str, Tensor], others: dict[str, Tensor]
) -> tuple[str, dict[str, Tensor]]:
    """Add raw weights that the average lacks; return a note and the weights."""
    raw = raw or "the top level"
    note = f"The averaged weights ({averaged}) are used; --raw-weights uses the others ({raw})"
    lacking = [key for key in others if key not in state]
    if not lacking or not state.keys() <= others.keys():
        return f"{note}.", state
    held = f"{_count(lacking)}, first {lacking[0]}"
    note += f". Tensors that {averaged} lacks ({held}) are taken from {raw}."
    return note, {key: state.get(key, value) for key, value in others.items()}


def _count(keys: list[str]) -> str:
    return counted(len(keys), "tensor")


def _describe(content: object) -> str:
    """Describe the content of a file without a state dict."""
    if not isinstance(content, Mapping):
        return type(content).__name__
    entries = entries_of(content)
    names = ", ".join(repr(_dotted((), key)[:40]) for key in list(entries)[:5])
    if "param_groups" in entries:
        return f"an optimizer's state (a dict of {names})"
    optimizers = [
        _dotted((), key)
        for key, value in entries.items()
        if isinstance(value, Mapping) and "param_groups" in entries_of(value)
    ]
    held = f"a dict of {names or 'nothing'}"
    return f"{held}, with an optimizer's state in {optimizers[0][:40]!r}" if optimizers else held
