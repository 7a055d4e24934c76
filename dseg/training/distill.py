"""Distillation: the part of the loss that a network learns from teachers, and its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dseg.config import DistillConfig
from dseg.data.stream import VOID
from dseg.datasets.base import Dataset, Encoding, Sample
from dseg.labels import IGNORE, LabelSpace
from dseg.losses import channels_loss, logits_loss
from dseg.models import SegOutput
from dseg.predict.inputs import find_images
from dseg.training.teacher import Taught, Teacher

NO_MASK = Encoding(train_ids={}, allowed="there is no mask")


@dataclass(frozen=True, eq=False)
class Distillation:
    """What a network learns from teachers, beside what it learns from masks.

    A micro-batch begins with its labelled images, which have the recipe's loss as in any training;
    the loss that the teachers give is of all of its images.

    Attributes:
        config: losses, their weights, temperature.
        teacher: the teachers.
        classes: (C,) train ids that are taught; None if they are all.
        labelled: number of labelled images in each micro-batch.
        unlabelled: number of images without masks in each micro-batch.
        images: the images without masks; None without any.
    """

    config: DistillConfig
    teacher: Teacher
    classes: Tensor | None
    labelled: int
    unlabelled: int = 0
    images: Dataset | None = None

    def labels_in(self, marks: Tensor) -> Tensor:
        """Return the train ids of the labelled images of a micro-batch.

        Args:
            marks: (N, H, W) uint8 train ids with ``VOID`` for pixels without a label and
                ``IGNORE`` for padding.
        """
        marks = marks[: self.labelled]
        return torch.where(marks == VOID, IGNORE, marks)

    def labelled_in(self, output: SegOutput) -> SegOutput:
        """Return the outputs for the labelled images of a micro-batch."""
        return SegOutput(
            output.main[: self.labelled],
            tuple(aux[: self.labelled] for aux in output.aux),
            tuple(edges[: self.labelled] for edges in output.edges),
        )

    def __call__(self, output: SegOutput, taught: Taught, marks: Tensor) -> Tensor:
        """Return the weighted losses of a micro-batch, averaged over its images.

        Only padding does not count. A pixel's class probabilities count by the probability that the
        teachers give to the taught classes, which is 1 if these are all that they know.

        Args:
            output: outputs of the network for all images.
            taught: result of the teachers for the same images.
            marks: (N, H, W) uint8, as for ``labels_in``.
        """
        student = output.main.float()
        if self.classes is not None:
            student = student.index_select(1, self.classes)
        inside = marks != IGNORE
        config, loss = self.config, student.new_zeros(())
        if config.distill != "channels":
            weights = inside.float() if taught.certain is None else inside * taught.certain
            found = logits_loss(student, taught.logits, weights, config.temperature)
            loss = loss + config.logits_weight * found
        if config.distill != "logits":
            found = channels_loss(student, taught.logits, inside, config.temperature)
            loss = loss + config.channels_weight * found
        return loss


def make_distillation(
    config: DistillConfig,
    teacher: Teacher,
    space: LabelSpace,
    device: torch.device,
    *,
    labelled: int,
) -> Distillation:
    """Return the distillation that a configuration describes.

    Args:
        config: its configuration.
        teacher: the teachers.
        space: classes of the network in training.
        device: device of the network.
        labelled: number of labelled images in each micro-batch.

    Raises:
        DsegError: a folder of images does not exist or is without images.
    """
    images = find_unlabelled(config.unlabelled, space) if config.unlabelled else None
    every = teacher.classes == tuple(range(space.num_classes))
    return Distillation(
        config,
        teacher,
        None if every else torch.tensor(teacher.classes, device=device),
        labelled,
        max(1, round(config.unlabelled_ratio * labelled)) if images else 0,
        images,
    )


def find_unlabelled(folders: Sequence[str], space: LabelSpace) -> Dataset:
    """Find all images in folders, at any depth; masks beside them are images too.

    Raises:
        DsegError: a folder does not exist, or there is no image.
    """
    samples = (
        Sample(name=file.name.as_posix(), image=file.path, mask=None, encoding=NO_MASK)
        for file in find_images(folders)
    )
    return Dataset(
        name="unlabelled", split="", space=space, samples=tuple(samples), classes=frozenset()
    )
