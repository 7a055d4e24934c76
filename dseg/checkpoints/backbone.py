"""Load torchvision's ImageNet classification weights into a network's backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

from dseg.checkpoints.backbone_reading import (
    PREFIX,
    compare_backbone,
    find_reading,
    list_absent,
    rename_for,
)
from dseg.checkpoints.keys import COUNTER, LoadReport, map_keys
from dseg.checkpoints.locations import weights_folders
from dseg.checkpoints.read import Checkpoint, read_checkpoint
from dseg.checkpoints.tensor_checks import check_tensors
from dseg.downloads import current_display, download_file
from dseg.errors import CheckpointError, DsegError, counted
from dseg.models import SegModel, build_model
from dseg.nn.backbones import densenet, mobilenet, mobilenetv3, resnet
from dseg.nn.backbones.base import Backbone
from dseg.registry import MODELS
from dseg.registry.weight_files import weight_files

IMAGENET = "imagenet"
MOST_NAMED = 6  # networks in a message
NO_RELEASE = "torchvision has no weights of this backbone"
BACKBONES: tuple[Callable[[], Backbone], ...] = (
    *(partial(densenet.DenseNet, depth) for depth in densenet.CONFIGS),
    *(partial(densenet.DenseNet, depth, halve_last=True) for depth in densenet.CONFIGS),
    *(partial(resnet.ResNet, depth) for depth in resnet.CONFIGS),
    mobilenet.MobileNetV2,
    mobilenetv3.MobileNetV3,
)


class AuthorsAlone(Backbone):
    """Stands for layers whose ImageNet weights only their authors have."""


@dataclass(frozen=True, kw_only=True)
class BackboneReport:
    """The tensors that a backbone loaded from a file.

    Attributes:
        path: checkpoint file.
        backbone: torchvision's name of the network, or the name of our class.
        matched: keys of the backbone that were loaded.
        fresh: the backbone's keys that the file lacks, or has for another number of classes.
        dropped: the file's keys outside the backbone, mostly those of the classifier.
        prefix: key prefix of the backbone in the network.
        stem_note: which layers keep their initial weights since the file has another stem, in
            words; empty if it has the network's.
    """

    path: Path
    backbone: str
    matched: tuple[str, ...]
    fresh: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    prefix: str = PREFIX
    stem_note: str = ""

    def __str__(self) -> str:
        tensors = counted(len(self.matched), "tensor")
        parts = [f"{tensors} of {self.backbone} loaded from {self.path}"]
        if self.stem_note:
            return f"{parts[0]}, from the first stage on: {self.stem_note}"
        if self.dropped:
            parts.append(f"{len(self.dropped)} left out (first {self.dropped[0]})")
        if self.fresh:
            first = f"{self.prefix}{self.fresh[0]}"
            parts.append(f"{len(self.fresh)} newly initialised (first {first})")
        return ", ".join(parts)


def load_backbone(model: SegModel, source: str | Path) -> BackboneReport:
    """Load classification weights into ``model.backbone``; the other weights do not change.

    Of a network whose ImageNet file is its authors' alone (``imagenet_layers``), the layers that
    are in the file by name and shape are loaded, as its authors do.

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
    if model.imagenet_layers:
        return _load_by_name(model, read_checkpoint(find_backbone_weights(model, source)))
    backbone = _backbone_of(model)
    checkpoint = read_checkpoint(find_backbone_weights(model, source))
    reading = find_reading(model, backbone, checkpoint.state)
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
    if fresh := _find_fresh(backbone, state, list_absent(backbone, reading.other_stem)):
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
    backbone = AuthorsAlone() if model.imagenet_layers else _backbone_of(model)
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


def _load_by_name(model: SegModel, checkpoint: Checkpoint) -> BackboneReport:
    """Load the layers that a file of the authors has by name and shape, at least half of them."""
    wanted = {k: v for k, v in model.state_dict().items() if k.startswith(model.imagenet_layers)}
    renamed = map_keys(type(model), {key: key for key in checkpoint.state})
    names = {ours: key for ours, key in renamed.items() if ours in wanted}
    fitting = {
        key: checkpoint.state[name]
        for key, name in names.items()
        if checkpoint.state[name].shape == wanted[key].shape
    }
    if 2 * len(fitting) < len(wanted):
        raise CheckpointError(
            f"{checkpoint.path} does not fit {model.card.network}: {len(fitting)} of "
            f"{counted(len(wanted), 'tensor')} have the names and shapes of its layers.",
            hint="name the ImageNet file of its authors, or leave --backbone-weights out.",
        )
    given = {names[key]: value for key, value in fitting.items()}
    check_tensors(checkpoint.path, given, {names[key]: wanted[key] for key in fitting})
    model.load_state_dict(fitting, strict=False)
    fresh = (key for key in wanted if key not in fitting and not key.endswith(COUNTER))
    dropped = (key for key in checkpoint.state if key not in given and not key.endswith(COUNTER))
    return BackboneReport(
        path=checkpoint.path,
        backbone=model.card.network,
        matched=tuple(fitting),
        fresh=tuple(fresh),
        dropped=tuple(dropped),
        prefix="",
    )


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
        if compare_backbone(backbone, rename_for(checkpoint.state, backbone.KEY_MAP)).complete:
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
