"""Read a checkpoint as the weights of a network's backbone, whatever its keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from dseg.checkpoints.keys import LoadReport, compare, map_keys, rename_keys
from dseg.models import SegModel
from dseg.models.base import KeyMap
from dseg.nn.backbones.base import Backbone

PREFIX = "backbone."


@dataclass(frozen=True)
class Reading:
    """A file's tensors, with our keys.

    Attributes:
        state: the tensors.
        other_stem: whether the file has torchvision's stem, which is left out.
        report: their comparison with the backbone.
    """

    state: dict[str, Tensor]
    other_stem: bool
    report: LoadReport


def find_reading(model: SegModel, backbone: Backbone, state: Mapping[str, Tensor]) -> Reading:
    """Return the reading of a file's tensors that fits a network's backbone best."""
    readings = _read_as_backbone(model, backbone, state)
    return max(readings, key=lambda r: (r.report.complete, r.other_stem, len(r.report.matched)))


def _read_as_backbone(
    model: SegModel, backbone: Backbone, state: Mapping[str, Tensor]
) -> Iterator[Reading]:
    """Yield the file's tensors read as those of a backbone, then as those of a whole network."""
    for key_map in (backbone.KEY_MAP, *backbone.OTHER_KEY_MAPS):
        renamed = rename_for(state, key_map)
        other_stem = backbone.has_other_stem(renamed)
        if other_stem:
            left_out = backbone.OTHER_STEM
            renamed = {k: v for k, v in renamed.items() if not k.startswith(left_out)}
        yield Reading(renamed, other_stem, compare_backbone(backbone, renamed, other_stem))
    renamed = _keep_backbone(map_keys(type(model), state))
    yield Reading(renamed, False, compare_backbone(backbone, renamed))


def rename_for(state: Mapping[str, Tensor], key_map: KeyMap) -> dict[str, Tensor]:
    """Rename a file's keys by a backbone's key map; those outside a backbone are left out."""
    return rename_keys(key_map, _keep_backbone(state) or state)


def _keep_backbone(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(PREFIX): v for k, v in state.items() if k.startswith(PREFIX)}


def compare_backbone(
    backbone: Backbone, state: Mapping[str, Tensor], other_stem: bool = False
) -> LoadReport:
    """Compare a state dict that has our keys with a backbone's; ignore keys torchvision lacks."""
    network: Any = backbone  # compare() only reads its state dict
    report = compare(network, state)
    absent = list_absent(backbone, other_stem)
    missing = tuple(key for key in report.missing if not key.startswith(absent))
    other_classes = tuple(
        key for key, _, _ in report.misshapen if key.startswith(backbone.CLASSIFIERS)
    )
    misshapen = tuple(entry for entry in report.misshapen if entry[0] not in other_classes)
    return replace(report, missing=missing, misshapen=misshapen, reset=other_classes)


def list_absent(backbone: Backbone, other_stem: bool) -> tuple[str, ...]:
    """Return the prefixes of the backbone's keys that a file may lack."""
    return (*backbone.ABSENT, *(backbone.OTHER_STEM if other_stem else ()))
