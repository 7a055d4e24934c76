"""SegModel, the base class of all networks, SegOutput, their result, and ModelCard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.labels import LabelSpace
from dseg.nn.bicubic import resize_bicubic
from dseg.protocol import PLAIN, Protocol, Upsample

RGB = tuple[float, float, float]
KeyMap = tuple[tuple[str, str | None], ...]


class SegOutput(NamedTuple):
    """Logits at the image's size.

    Attributes:
        main: logits, (N, K, H, W).
        aux: auxiliary logits of the same shape, in training only.
        edges: logits of borders between classes, (N, 1, H, W), in training only, for the few
            networks that predict them.
    """

    main: Tensor
    aux: tuple[Tensor, ...] = ()
    edges: tuple[Tensor, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Description of a network and its use, stored in our own checkpoint files.

    Attributes:
        network: name of the network, a key of ``MODELS``.
        kwargs: constructor arguments besides ``num_classes``.
        label_space: classes of the outputs.
        mean, std: normalisation of the image in 0..1, as red, green, blue for either ``order``.
        order: channel order of the network's input, ``RGB`` or ``BGR``.
        outputs: train id of each output, 255 for a background or void output; empty if outputs
            are train ids.
        protocol: resizing and other processing that the network always needs.
        authors: protocol of its authors' published score; None if it is ``protocol``.
        scores: measured scores by name, such as ``{"cityscapes_val_miou": 79.9}``.
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
        """Number of outputs, with those that stand for no class."""
        return len(self.outputs) or self.label_space.num_classes

    def at_own_size(self) -> ModelCard:
        """Return a copy for images at their own size, as used in training."""
        authors = self.authors.at_own_size() if self.authors is not None else None
        return replace(self, protocol=self.protocol.at_own_size(), authors=authors)


class Normaliser:
    """Normalises decoded images for a network.

    Args:
        card: model card of the network, with mean, standard deviation and channel order.
        device: device of the images.
    """

    def __init__(self, card: ModelCard, device: torch.device):
        numbers = 255 * torch.tensor([card.mean, card.std], device=device)
        self._reverse = card.order == "BGR"
        if self._reverse:
            numbers = numbers.flip(1)
        self._mean, self._std = numbers[0].view(3, 1, 1), numbers[1].view(3, 1, 1)

    def __call__(self, images: Tensor) -> Tensor:
        """Map (N, 3, H, W) RGB in 0..255 to normalised float32 of the same memory format."""
        if self._reverse:
            images = images.flip(1)
        normalised: Tensor = images.to(torch.float32, copy=True).sub_(self._mean).div_(self._std)
        return normalised


class SegModel(nn.Module):
    """A segmentation network.

    Subclasses implement ``logits``; attributes describe how the authors' release differs.

    Attributes:
        KEY_MAP: ``(pattern, replacement)`` pairs that map the authors' checkpoint keys to ours,
            each applied in order; a replacement of None drops the key.
        upsampling: how the authors upsample logits, ``bilinear`` or ``bicubic``.
        align_corners: whether they do so with aligned corners; False for ``bicubic``.
        min_size: smallest side of an input; smaller images are padded.
        num_edges: number of border outputs at the end of ``logits`` in training with ``aux``.
        body: key prefixes that a recipe's ``head_lr`` and ``backbone_decay`` treat as the backbone:
            usually the pretrained layers.
        imagenet_layers: key prefixes of the layers of which its authors' ImageNet file holds most,
            for networks without a ``Backbone``.
        classifiers: prefixes of the layers whose shape depends on the number of classes.
        outputs_per_class: rows per class of the first classifier's weight.
        card: model card, set by ``build_model``.
    """

    card: ModelCard

    KEY_MAP: ClassVar[KeyMap] = ()
    upsampling: ClassVar[Upsample] = "bilinear"
    align_corners: ClassVar[bool] = True
    min_size: ClassVar[int] = 16
    num_edges: ClassVar[int] = 0
    body: ClassVar[tuple[str, ...]] = ("backbone.",)
    imagenet_layers: ClassVar[tuple[str, ...]] = ()
    classifiers: ClassVar[tuple[str, ...]] = ("classifier.",)
    outputs_per_class: ClassVar[int] = 1

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the authors' logits: the main ones first, in training followed by auxiliary ones.

        Args:
            image: (N, 3, H, W), normalised.

        Returns:
            (N, K, h, w) each; h and w can differ from H and W.
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
        """Pad sides below ``min_size`` by repeating the last row and column."""
        down, right = (max(0, self.min_size - side) for side in image.shape[-2:])
        return F.pad(image, (0, right, 0, down), mode="replicate") if down or right else image

    def resize(self, scores: Tensor, height: int, width: int) -> Tensor:
        """Resize logits as the authors do, by ``upsampling`` and ``align_corners``."""
        if scores.shape[-2:] == (height, width):
            return scores
        if self.upsampling == "bicubic":
            return resize_bicubic(scores, (height, width))
        return F.interpolate(
            scores, (height, width), mode="bilinear", align_corners=self.align_corners
        )

    def upsampling_by(self, protocol: Protocol) -> Upsample:
        """Return the interpolation of logits: bicubic if the network or a protocol requires it."""
        return "bicubic" if "bicubic" in (self.upsampling, protocol.upsample) else "bilinear"

    @classmethod
    def options_for(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the constructor arguments that a state dict with our keys needs.

        By default this is ``aux``: whether the file has auxiliary heads, for networks with them.
        """
        if "aux" not in signature(cls).parameters:
            return {}
        return {"aux": any(key.startswith("aux.") for key in state)}

    @classmethod
    def statistics_in(cls, state: Mapping[str, Tensor]) -> tuple[RGB, RGB] | None:
        """Return the mean and standard deviation in a state dict with the authors' keys, if any."""
        return None
