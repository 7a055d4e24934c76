"""Teacher: trained networks whose logits are mapped onto the classes of the network in training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from dseg.checkpoints import find_file, load_model, sha256
from dseg.config import DistillConfig
from dseg.datasets.mapping import match_outputs
from dseg.downloads import current_display
from dseg.errors import EXIT_MISFIT, CheckpointError, Detail, DsegError
from dseg.folding import prepare
from dseg.graphs.facts import GRAPH_SUFFIXES
from dseg.labels import IGNORE, LabelSpace, unnamed_label_space
from dseg.models import ModelCard, Normaliser, SegModel

DIGITS = 12  # of a SHA-256 in messages
NAMED_AT_MOST = 3
TINY = 1e-30  # probability below which the log of a mean is cut off


class Taught(NamedTuple):
    """What teachers say about a batch.

    Attributes:
        logits: (N, C, H, W) float32, of the classes that the teachers know.
        certain: (N, H, W), the probability of these classes together; None if they are all.
    """

    logits: Tensor
    certain: Tensor | None


class Teacher:
    """Trained networks that predict the same crops as the network in training.

    Args:
        networks: the networks, prepared for inference on the device.
        space: classes of the network in training.
        device: device of the networks.

    Attributes:
        classes: train ids that are taught, sorted: those that all of the networks know.

    Raises:
        DsegError: the classes of a network cannot be mapped onto those of ``space``.
    """

    def __init__(self, networks: Sequence[SegModel], space: LabelSpace, device: torch.device):
        found = [find_outputs(network.card, space) for network in networks]
        self.classes = tuple(sorted(set(found[0]).intersection(*found[1:])))
        if not self.classes:
            raise DsegError(
                "The teachers have no class in common.", hint="use teachers of the same classes."
            )
        self._networks = list(networks)
        self._normalisers = [Normaliser(network.card, device) for network in networks]
        self._outputs = [
            _index([outputs[class_id] for class_id in self.classes], network.card, device)
            for network, outputs in zip(networks, found, strict=True)
        ]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Taught:
        """Return the logits of a batch at its size, of several networks the logs of their mean.

        Args:
            images: (N, 3, H, W) uint8, RGB, on the device.
        """
        parts = zip(self._networks, self._normalisers, self._outputs, strict=True)
        found = [_predict(*part, images) for part in parts]
        if len(found) == 1:
            return found[0]
        masses = [taught.certain for taught in found if taught.certain is not None]
        certain = sum(masses, torch.zeros((), device=images.device))
        mean = torch.stack([taught.logits.softmax(1) for taught in found]).mean(0)
        sure = len(found) - len(masses)  # networks without other classes
        return Taught(mean.clamp(min=TINY).log(), (certain + sure) / len(found) if masses else None)


def _index(outputs: list[list[int]], card: ModelCard, device: torch.device) -> list[Tensor] | None:
    """Return the outputs of each class as tensors; None if they are all outputs in their order."""
    if outputs == [[output] for output in range(card.num_outputs)]:
        return None
    return [torch.tensor(of_class, device=device) for of_class in outputs]


def _predict(
    network: SegModel, normalise: Normaliser, outputs: list[Tensor] | None, images: Tensor
) -> Taught:
    x = normalise(images.contiguous(memory_format=torch.channels_last))
    logits = network(x).main.float()
    if outputs is None:
        return Taught(logits, None)
    # the probability of a class is the sum of those of its outputs
    chosen = torch.stack([logits.index_select(1, i).logsumexp(1) for i in outputs], 1)
    return Taught(chosen, (chosen.logsumexp(1) - logits.logsumexp(1)).exp())


def find_outputs(card: ModelCard, space: LabelSpace) -> dict[int, list[int]]:
    """Return the outputs of a network for each train id of another label space that it knows.

    Outputs without names are taken as the classes of a label space of as many.

    Args:
        card: model card of the network; its void outputs are left out.
        space: the label space.

    Raises:
        DsegError: fewer than two classes have a counterpart.
    """
    unnamed = has_no_names(card.label_space) and card.label_space.num_classes == space.num_classes
    table = range(space.num_classes) if unnamed else match_outputs(card.label_space, space)
    of_outputs = card.outputs or range(card.label_space.num_classes)
    found: dict[int, list[int]] = {}
    for output, own in enumerate(of_outputs):
        if own != IGNORE and table[own] != IGNORE:
            found.setdefault(table[own], []).append(output)
    if len(found) < 2:
        raise DsegError(
            f"{card.label_space.name} and {space.name} have fewer than two classes in common.",
            hint="use a network of the same classes.",
        )
    return found


def has_no_names(space: LabelSpace) -> bool:
    """Return True for the label space of a file that does not tell its classes."""
    return space == unnamed_label_space(space.num_classes)


def load_teacher(
    config: DistillConfig, space: LabelSpace, device: torch.device
) -> tuple[Teacher, list[str]]:
    """Load the teachers of a run; also return remarks on them.

    Raises:
        CheckpointError: a file is missing, not a checkpoint, or of another network.
        DsegError: a file is not the one that the run was started with, or its classes cannot be
            mapped onto those of ``space``.
    """
    remarks: list[str] = []
    names = config.teacher_models or [None] * len(config.teachers)
    networks = [
        _load(file, digest, name, space, remarks.append)
        for (file, digest), name in zip(config.teachers, names, strict=True)
    ]
    teacher = Teacher([prepare(network, device=device) for network in networks], space, device)
    left = [name for index, name in enumerate(space.names) if index not in teacher.classes]
    if left:
        who = "the teacher does not know" if len(networks) == 1 else "not every teacher knows"
        remarks.append(f"Learnt from masks only, since {who} them: {', '.join(left)}.")
    return teacher, remarks


def _load(
    file: str, digest: str, name: str | None, space: LabelSpace, remark: Callable[[str], None]
) -> SegModel:
    if Path(file).suffix in GRAPH_SUFFIXES:
        raise DsegError(
            f"The teacher {file} is an exported file.",
            hint="name the checkpoint that it was exported from.",
        )
    now = find_digest(file)
    if now != digest:
        raise DsegError(
            f"The teacher {file} is not the file that the run was started with (SHA-256 "
            f"{now[:DIGITS]} now, {digest[:DIGITS]} then).",
            hint="restore the file, or start a new run with another --out.",
            exit_code=EXIT_MISFIT,
        )
    try:
        network = load_model(
            name, file, on_note=lambda note: None if isinstance(note, Detail) else remark(note)
        )
    except CheckpointError as fault:
        hint = fault.hint.replace("--model", "--teacher-model")
        raise CheckpointError(fault.problem, hint=hint, exit_code=fault.exit_code) from None
    try:
        find_outputs(network.card, space)
    except DsegError:
        own = network.card.label_space
        raise DsegError(
            f"The classes of the teacher {file} ({_name_classes(own)}) cannot be mapped onto those "
            f"of the data ({_name_classes(space)}).",
            hint="use a teacher of the same classes, or map the masks by --label-space.",
            exit_code=EXIT_MISFIT,
        ) from None
    if has_no_names(network.card.label_space):
        remark(
            f"WARNING: the teacher {file} does not name its classes; its outputs are taken as "
            "those of the data, in their order."
        )
    return network


def find_digest(file: str) -> str:
    """Return the SHA-256 of a checkpoint that ``--teacher`` names.

    Raises:
        CheckpointError: there is no such file.
    """
    path = find_file(Path(file), current_display())
    if not path.is_file():
        raise CheckpointError(
            f"The teacher {file} does not exist.",
            hint="check the path of --teacher; a moved file: dseg distill --resume --teacher FILE",
        )
    return sha256(path)


def _name_classes(space: LabelSpace) -> str:
    more = ", ..." if space.num_classes > NAMED_AT_MOST else ""
    return f"{space.num_classes}: {', '.join(space.names[:NAMED_AT_MOST])}{more}"
