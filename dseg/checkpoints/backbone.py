"""Load torchvision's ImageNet classification weights into a network's backbone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dseg.checkpoints.keys import COUNTER, LoadReport, compare, map_keys, rename_keys
from dseg.checkpoints.locations import weights_folders
from dseg.checkpoints.read import Checkpoint, read_checkpoint
from dseg.checkpoints.tensor_checks import check_tensors
from dseg.downloads import current_display, download_file
from dseg.errors import CheckpointError, DsegError, counted
from dseg.models import SegModel, build_model
from dseg.models.base import KeyMap
from dseg.nn.backbones import densenet, mobilenet, mobilenetv3, resnet
from dseg.nn.backbones.base import Backbone
from dseg.registry import MODELS
from dseg.registry.weight_files import weight_files

IMAGENET = "imagenet"
PREFIX = "backbone."
MOST_NAMED = 6  # networks in a message
NO_RELEASE = "torchvision has no weights of this backbone"
BACKBONES: tuple[Callable[[], Backbone], ...] = (
    *(partial(densenet.DenseNet, depth) for depth in densenet.CONFIGS),
    *(partial(densenet.DenseNet, depth, halve_last=True) for depth in densenet.CONFIGS),
    *(partial(resnet.ResNet, depth) for depth in resnet.CONFIGS),
    mobilenet.MobileNetV2,
    mobilenetv3.MobileNetV3,
)


@dataclass(frozen=True, kw_only=True)
class BackboneReport:
    """The tensors that a backbone loaded from a file.

    Attributes:
        path: checkpoint file.
        backbone: torchvision's name of the network, or the name of our class.
        matched: keys of the backbone that were loaded.
        fresh: the backbone's keys that the file lacks, or has for another number of classes.
        dropped: the file's keys outside the backbone, mostly those of the classifier.
        stem_note: which layers keep their initial weights since the file has another stem, in
            words; empty if it has the network's.
    """

    path: Path
    backbone: str
    matched: tuple[str, ...]
    fresh: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    stem_note: str = ""

    def __str__(self) -> str:
        tensors = counted(len(self.matched), "tensor")
        parts = [f"{tensors} of {self.backbone} loaded from {self.path}"]
        if self.stem_note:
            return f"{parts[0]}, from the first stage on: {self.stem_note}"
        if self.dropped:
            parts.append(f"{len(self.dropped)} left out (first {self.dropped[0]})")
        if self.fresh:
            parts.append(f"{len(self.fresh)} newly initialised (first {PREFIX}{self.fresh[0]})")
        return ", ".join(parts)


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


def load_backbone(model: SegModel, source: str | Path) -> BackboneReport:
    """Load classification weights into ``model.backbone``; the other weights do not change.

    Torchvision's networks were trained on RGB in 0..1, normalised by the mean (0.485, 0.456, 0.406)
    and the standard deviation (0.229, 0.224, 0.225). A network with other values, such as the
    authors' DenseASPP, keeps its own, and the norms adapt during training.

    Args:
        model: network made by ``build_model``, on any device.
        source: as for ``find_backbone_weights``; a file of torchvision in any container that
            ``read_checkpoint`` reads, or of a whole network with this backbone, of which only the
            backbone is loaded.

    Returns:
        The keys that were loaded. Layers that torchvision's network lacks keep their initial
        weights, a deep stem among them; MobileNetV2's first expansion becomes the identity.

    Raises:
        DsegError: torchvision does not have the network's backbone.
        CheckpointError: the file is missing, not a checkpoint, or of another backbone.
    """
    backbone = _backbone_of(model)
    checkpoint = read_checkpoint(find_backbone_weights(model, source))
    reading = find_reading(model, checkpoint.state)
    report, state = reading.report, reading.state
    if not report.complete:
        raise _misfit(model, backbone, checkpoint, report)
    wanted = backbone.state_dict()
    names = {id(value): key for key, value in checkpoint.state.items()}
    check_tensors(
        checkpoint.path,
        {names[id(state[key])]: state[key] for key in report.matched},
        {names[id(state[key])]: wanted[key] for key in report.matched},
    )
    backbone.load_state_dict({key: state[key] for key in report.matched}, strict=False)
    if fresh := _find_fresh(backbone, state, _absent(backbone, reading.other_stem)):
        backbone.init_absent()
    used = {id(state[key]) for key in report.matched}
    dropped = (key for key, value in checkpoint.state.items() if id(value) not in used)
    return BackboneReport(
        path=checkpoint.path,
        backbone=backbone.title,
        matched=report.matched,
        fresh=(*report.reset, *fresh),
        dropped=tuple(key for key in dropped if not key.endswith(COUNTER)),
        stem_note=backbone.stem_note if reading.other_stem else "",
    )


def find_backbone_weights(model: SegModel, source: str | Path) -> Path:
    """Return the file for ``source``; only "imagenet" can download it.

    Args:
        model: network made by ``build_model``.
        source: ``imagenet`` for torchvision's IMAGENET1K_V1 weights of the backbone, found in the
            weights folders or torch.hub's folder, otherwise downloaded into the latter; or a file,
            also looked for in the weights folders.

    Raises:
        DsegError: torchvision does not have the network's backbone.
        CheckpointError: the file does not exist, or the download failed.
    """
    backbone = _backbone_of(model)
    if source == IMAGENET:
        return _find_imagenet(backbone)
    named = Path(source)
    for candidate in (named, *(folder / named for folder in weights_folders())):
        if candidate.is_file():
            return candidate
    raise CheckpointError(
        f"Checkpoint {named} does not exist.", hint=f"name an existing file; {_advice(backbone)}"
    )


def _backbone_of(model: SegModel) -> Backbone:
    backbone = getattr(model, "backbone", None)
    if isinstance(backbone, Backbone):
        return backbone
    raise DsegError(
        f"{model.card.network} has no backbone with ImageNet weights.",
        hint=f"leave --backbone-weights out, or choose one of: {_networks_on()}.",
    )


def _advice(backbone: Backbone) -> str:
    """Return the hint on where to find weights of a backbone."""
    if not backbone.torchvision_name:
        return f"{NO_RELEASE}; its authors' file fits."
    file = weight_files()[backbone.torchvision_name]
    advice = f"get {file.file} from {file.url}, or let --backbone-weights {IMAGENET} do it."
    return f"its authors' file fits; or {advice}" if backbone.OTHER_STEM else advice


def _find_imagenet(backbone: Backbone) -> Path:
    if not backbone.torchvision_name:
        raise CheckpointError(
            f"{NO_RELEASE[0].upper()}{NO_RELEASE[1:]}.",
            hint="name its authors' file: --backbone-weights FILE, or leave it out.",
        )
    published = weight_files()[backbone.torchvision_name]
    cached = Path(torch.hub.get_dir()) / "checkpoints"
    for folder in (*weights_folders(), cached):
        if (folder / published.file).is_file():
            return folder / published.file
    return download_file(published, cached, current_display())


def find_reading(model: SegModel, state: Mapping[str, Tensor]) -> Reading:
    """Return the reading of a file's tensors that fits the backbone of a network best."""
    readings = _read_as_backbone(model, state)
    return max(readings, key=lambda r: (r.report.complete, r.other_stem, len(r.report.matched)))


def _read_as_backbone(model: SegModel, state: Mapping[str, Tensor]) -> Iterator[Reading]:
    """Yield the file's tensors read as those of a backbone, then as those of a whole network."""
    backbone = _backbone_of(model)
    for key_map in (backbone.KEY_MAP, *backbone.OTHER_KEY_MAPS):
        renamed = _rename(state, key_map)
        other_stem = backbone.has_other_stem(renamed)
        if other_stem:
            left_out = backbone.OTHER_STEM
            renamed = {k: v for k, v in renamed.items() if not k.startswith(left_out)}
        yield Reading(renamed, other_stem, _compare(backbone, renamed, other_stem))
    renamed = _keep_backbone(map_keys(type(model), state))
    yield Reading(renamed, False, _compare(backbone, renamed))


def _rename(state: Mapping[str, Tensor], key_map: KeyMap) -> dict[str, Tensor]:
    return rename_keys(key_map, _keep_backbone(state) or state)


def _keep_backbone(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(PREFIX): v for k, v in state.items() if k.startswith(PREFIX)}


def _compare(
    backbone: Backbone, state: Mapping[str, Tensor], other_stem: bool = False
) -> LoadReport:
    """Compare a state dict that has our keys with a backbone's; ignore keys torchvision lacks."""
    network: Any = backbone  # compare() only reads its state dict
    report = compare(network, state)
    absent = _absent(backbone, other_stem)
    missing = tuple(key for key in report.missing if not key.startswith(absent))
    other_classes = tuple(
        key for key, _, _ in report.misshapen if key.startswith(backbone.CLASSIFIERS)
    )
    misshapen = tuple(entry for entry in report.misshapen if entry[0] not in other_classes)
    return replace(report, missing=missing, misshapen=misshapen, reset=other_classes)


def _absent(backbone: Backbone, other_stem: bool) -> tuple[str, ...]:
    """Return the prefixes of the backbone's keys that a file may lack."""
    return (*backbone.ABSENT, *(backbone.OTHER_STEM if other_stem else ()))


def _find_fresh(
    backbone: Backbone, state: Mapping[str, Tensor], absent: tuple[str, ...]
) -> tuple[str, ...]:
    keys = (key for key in backbone.state_dict() if key.startswith(absent))
    return tuple(key for key in keys if key not in state and not key.endswith(COUNTER))


def _misfit(
    model: SegModel, backbone: Backbone, checkpoint: Checkpoint, report: LoadReport
) -> CheckpointError:
    name = backbone.title
    found = _find_backbones(checkpoint)
    others = [other for other in found if other != backbone.torchvision_name]
    hint = _advice(backbone)
    if others and (networks := _networks_on(others[0])):
        hint = f"the file fits {others[0]}, the backbone of {networks}; {hint}"
    elif others:
        hint = f"the file fits {others[0]}, which no network of dseg uses; {hint}"
    return CheckpointError(
        f"{checkpoint.path} does not fit {name}, the backbone of {model.card.network}: {report}.",
        hint=hint,
    )


def _find_backbones(checkpoint: Checkpoint) -> list[str]:
    """Return torchvision's names of the backbones that fit the file."""
    fitting = []
    for build in BACKBONES:
        with torch.device("meta"):  # shapes only, no memory
            backbone = build()
        if _compare(backbone, _rename(checkpoint.state, backbone.KEY_MAP)).complete:
            fitting.append(backbone.torchvision_name)
    return fitting


def _networks_on(wanted: str = "") -> str:
    """Name the first few networks with the backbone ``wanted``, or with any."""
    found: list[str] = []
    for network in MODELS:
        name = _backbone_name(network)
        if name is not None and wanted in ("", name):
            found.append(network)
        if len(found) > MOST_NAMED:
            return ", ".join(found[:MOST_NAMED]) + " and others"
    return ", ".join(found)


@cache
def _backbone_name(network: str) -> str | None:
    """Return torchvision's name of a network's backbone; None without a backbone."""
    with torch.device("meta"):  # shapes only, no memory
        backbone = getattr(build_model(network), "backbone", None)
    return backbone.torchvision_name if isinstance(backbone, Backbone) else None
