"""Map an author's keys onto ours, and report matched, missing and unexpected ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from dseg.errors import counted
from dseg.models import SegModel
from dseg.models.base import KeyMap

COUNTER = "num_batches_tracked"  # not saved by torch < 0.4.1, and not read in evaluation
STATISTICS = ("running_mean", "running_var", COUNTER)

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """The keys of a checkpoint, compared with a network's.

    Attributes:
        matched: keys that were loaded.
        missing: the network's keys that are not in the file.
        unexpected: the file's keys that are not in the network.
        misshapen: keys with different shapes, as ``(key, shape in file, shape in network)``.
        reset: the head's keys that keep their initial weights, on request.
        inplace_abn: True if norms were read as in-place activated batch norm.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshapen: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()
    reset: tuple[str, ...] = ()
    inplace_abn: bool = False

    @property
    def complete(self) -> bool:
        return not (self.missing or self.unexpected or self.misshapen)

    def __str__(self) -> str:
        parts = [f"{counted(len(self.matched), 'key')} matched"]
        if self.missing:
            parts.append(f"{len(self.missing)} missing (first {self.missing[0]})")
        if self.unexpected:
            parts.append(f"{len(self.unexpected)} unexpected (first {self.unexpected[0]})")
        if self.misshapen:
            key, theirs, ours = self.misshapen[0]
            parts.append(
                f"{len(self.misshapen)} with another shape (first {key}: "
                f"{list(theirs)} in the file, {list(ours)} in the network)"
            )
        if self.reset:
            parts.append(f"{len(self.reset)} of the head newly initialised")
        return ", ".join(parts)


def map_keys(cls: type[SegModel], state: Mapping[str, T]) -> dict[str, T]:
    """Rename an author's keys to ours by the class's ``KEY_MAP``; our own keys do not change."""
    return rename_keys(cls.KEY_MAP, state)


def rename_keys(key_map: KeyMap, state: Mapping[str, T]) -> dict[str, T]:
    """Rename keys by ``(pattern, replacement)`` pairs in order; None drops the key."""
    renamed = {}
    for key, value in state.items():
        ours: str | None = key
        for pattern, replacement in key_map:
            if replacement is None:
                ours = None if ours is None or re.search(pattern, ours) else ours
            elif ours is not None:
                ours = re.sub(pattern, replacement, ours)
        if ours is not None:
            renamed[ours] = value
    return renamed


def compare(
    model: SegModel, state: Mapping[str, Tensor], *, reset_head: bool = False
) -> LoadReport:
    """Compare a state dict that has our keys with a network's."""
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    matched, misshapen, reset = [], [], []
    for key in expected.keys() & state.keys():
        if expected[key] == tuple(state[key].shape):
            matched.append(key)
        elif reset_head and key.startswith(model.classifiers):
            reset.append(key)
        else:
            misshapen.append((key, tuple(state[key].shape), expected[key]))
    missing = [k for k in expected if k not in state and not k.endswith(COUNTER)]
    unexpected = [k for k in state if k not in expected and not k.endswith(COUNTER)]
    if reset:  # another number of classes can change the head's layers too
        heads = tuple(model.classifiers)
        reset += [k for k in missing if k.startswith(heads)]
        missing = [k for k in missing if not k.startswith(heads)]
        unexpected = [k for k in unexpected if not k.startswith(heads)]
    return LoadReport(
        matched=tuple(sorted(matched)),
        missing=tuple(missing),
        unexpected=tuple(unexpected),
        misshapen=tuple(sorted(misshapen)),
        reset=tuple(sorted(reset)),
    )


def count_classes(cls: type[SegModel], state: Mapping[str, Tensor]) -> int | None:
    """Return the number of classes of the main classifier in a state dict that has our keys.

    None if the classifier is missing, or has a number outside 1 to 255 (another network's).
    """
    weight = state.get(f"{cls.classifiers[0]}weight")
    rows = weight.shape[0] if weight is not None and weight.ndim else 0
    classes = rows // cls.outputs_per_class
    return classes if 1 <= classes <= 255 else None
