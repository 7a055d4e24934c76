"""SegModel: what every network has in common, and SegOutput, what every network returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.labels import LabelSpace
from dseg.protocol import PLAIN, Protocol

RGB = tuple[float, float, float]
KeyMap = tuple[tuple[str, str | None], ...]


class SegOutput(NamedTuple):
    """Logits at the image's size.

    Attributes:
        main: (N, K, H, W).
        aux: auxiliary logits of the same shape, in training only.
        edges: logits of a border between classes, (N, 1, H, W), of the few networks that learn
            it, in training only.
    """

    main: Tensor
    aux: tuple[Tensor, ...] = ()
    edges: tuple[Tensor, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What a network is and how to use it; our own checkpoint files carry it.

    Attributes:
        network: its name in the table.
        kwargs: constructor arguments besides ``num_classes``.
        label_space: what the outputs mean.
        mean, std: normalisation of the image in 0..1; red, green, blue, whatever the order.
        order: of the channels that the network reads, ``RGB`` or ``BGR``.
        outputs: the train id of each output, 255 for a background or void output; empty where
            outputs are train ids.
        protocol: what is done around the network, always.
        authors: what its authors do besides for their published score; None where that is all.
        scores: measured figures by name, such as ``{"cityscapes_val_miou": 79.9}``.
    """

    network: str
    kwargs: dict[str, Any]
    label_space: LabelSpace
    mean: RGB
    std: RGB
    order: str = "RGB"
    outputs: tuple[int, ...] = ()
    protocol: Protocol = PLAIN
    authors: Protocol | None = None
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def num_outputs(self) -> int:
        """Outputs of the network: its classes, and those that mean none of them."""
        return len(self.outputs) or self.label_space.num_classes

    def at_own_size(self) -> ModelCard:
        """Return the card of a network that reads images at their own size, as training does."""
        authors = self.authors.at_own_size() if self.authors is not None else None
        return replace(self, protocol=self.protocol.at_own_size(), authors=authors)


class Normaliser:
    """Turns images as they are decoded into what a network reads.

    Args:
        card: of the network; its mean, deviation and order of channels.
        device: where the images are.
    """

    def __init__(self, card: ModelCard, device: torch.device):
        numbers = 255 * torch.tensor([card.mean, card.std], device=device)
        self._reverse = card.order == "BGR"
        if self._reverse:
            numbers = numbers.flip(1)
        self._mean, self._std = numbers[0].view(3, 1, 1), numbers[1].view(3, 1, 1)

    def __call__(self, images: Tensor) -> Tensor:
        """Return (N, 3, H, W) float32 of (N, 3, H, W) RGB in 0..255, in the same memory format."""
        if self._reverse:
            images = images.flip(1)
        normalised: Tensor = images.to(torch.float32, copy=True).sub_(self._mean).div_(self._std)
        return normalised


class SegModel(nn.Module):
    """A segmentation network.

    Subclasses write ``logits``; attributes say how the authors' release differs from ours.

    Attributes:
        KEY_MAP: ``(pattern, replacement)`` pairs that turn the authors' checkpoint keys into ours,
            each applied in order; a replacement of None drops the key.
        align_corners: how the authors upsample their logits.
        min_size: smallest side that the network can read; smaller images are padded.
        num_edges: how many of ``logits``' last outputs in training, with ``aux``, are of borders.
        body: prefixes of the parts that a recipe's ``head_lr`` and ``backbone_decay`` tell from the
            rest: the pretrained ones, as a rule.
        classifiers: prefixes of the layers whose shape depends on the number of classes.
        outputs_per_class: rows of the first of ``classifiers`` for each class.
        card: what the network is; set by ``build_model``.
    """

    card: ModelCard

    KEY_MAP: ClassVar[KeyMap] = ()
    align_corners: ClassVar[bool] = True
    min_size: ClassVar[int] = 16
    num_edges: ClassVar[int] = 0
    body: ClassVar[tuple[str, ...]] = ("backbone.",)
    classifiers: ClassVar[tuple[str, ...]] = ("classifier.",)
    outputs_per_class: ClassVar[int] = 1

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return what the authors' code returns: main logits first, in training auxiliary after.

        Args:
            image: (N, 3, H, W), normalised.

        Returns:
            (N, K, h, w) each; h and w may differ from H and W.
        """
        raise NotImplementedError

    def forward(self, image: Tensor) -> SegOutput:
        """Return the logits at the image's size, (N, K, H, W)."""
        height, width = image.shape[-2:]
        padded = self.pad(image)
        main, *more = (
            self.resize(scores, *padded.shape[-2:])[..., :height, :width]
            for scores in self.logits(padded)
        )
        aux = len(more) - self.num_edges if more else 0
        return SegOutput(main, tuple(more[:aux]), tuple(more[aux:]))

    def pad(self, image: Tensor) -> Tensor:
        """Return the image, its last row and column repeated where it is below ``min_size``."""
        down, right = (max(0, self.min_size - side) for side in image.shape[-2:])
        return F.pad(image, (0, right, 0, down), mode="replicate") if down or right else image

    def resize(self, scores: Tensor, height: int, width: int) -> Tensor:
        """Resize logits bilinearly, with the authors' ``align_corners``."""
        if scores.shape[-2:] == (height, width):
            return scores
        return F.interpolate(
            scores, (height, width), mode="bilinear", align_corners=self.align_corners
        )

    @classmethod
    def options_for(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return constructor arguments that a checkpoint with these keys (ours) asks for.

        Where a network can be built with auxiliary heads (``aux``), whether the file holds them.
        """
        if "aux" not in signature(cls).parameters:
            return {}
        return {"aux": any(key.startswith("aux.") for key in state)}

    @classmethod
    def statistics_in(cls, state: Mapping[str, Tensor]) -> tuple[RGB, RGB] | None:
        """Return the mean and deviation that a checkpoint with its authors' keys holds, if any."""
        return None
