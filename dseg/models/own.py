"""OwnNetwork: any module that segments images, as a network of dseg."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dseg.errors import DsegError
from dseg.labels import LabelSpace, find_label_space, voc_color
from dseg.memory import is_out_of_memory
from dseg.models.base import RGB, ModelCard, SegModel
from dseg.protocol import PLAIN, Protocol

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean, std
MOST_CLASSES = 255
MAX_REASON = 200  # characters of a message of torch


class OwnNetwork(SegModel):
    """A module whose forward pass maps normalised images to logits, with a model card.

    Logits can have any stride: they are resized to the image. The module can return them as a
    tensor, first in a tuple or list, or under ``out`` or ``logits`` in a dictionary or object. One
    logit for two classes is that of the second class.

    Args:
        network: the module.
        card: its model card.
    """

    align_corners: ClassVar[bool] = False
    min_size: ClassVar[int] = 1

    def __init__(self, network: nn.Module, card: ModelCard):
        super().__init__()
        self.network = network
        self.card = card

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the module's logits.

        Raises:
            DsegError: the module fails, or returns something else than logits of the classes.
        """
        try:
            found = self.network(image.contiguous())  # some modules call Tensor.view
        except Exception as fault:
            if is_out_of_memory(fault):
                raise
            raise _failed(self.card.network, image, fault) from fault
        scores = _find_logits(found)
        classes = self.card.label_space.num_classes
        if scores is None or scores.ndim != 4 or scores.shape[0] != image.shape[0]:
            shape = type(found).__name__ if scores is None else f"a tensor {list(scores.shape)}"
            raise DsegError(
                f"{self.card.network} returned {shape}, not logits of shape (N, K, h, w) for "
                f"{image.shape[0]} images.",
                hint="wrap it in a module whose forward returns the logits.",
            )
        if scores.shape[1] == 1 and classes == 2:
            scores = torch.cat([torch.zeros_like(scores), scores], 1)  # softmax: sigmoid
        if scores.shape[1] != classes:
            raise DsegError(
                f"{self.card.network} has {scores.shape[1]} outputs, but {classes} classes are "
                "named.",
                hint="name one class for each output, in the order of the outputs.",
            )
        return [scores]


def wrap_network(
    network: nn.Module,
    classes: Sequence[str] | LabelSpace | str | None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    order: str = "RGB",
    protocol: Protocol | None = None,
) -> OwnNetwork:
    """Return a module as a network of dseg.

    Args:
        network: maps normalised images (N, 3, H, W) to logits; see ``OwnNetwork``.
        classes: class names in the order of the outputs, a label space, or its name.
        mean, std: normalisation of the image in 0..1, as red, green, blue; by default ImageNet's.
        order: channel order of the module's input, ``RGB`` or ``BGR``.
        protocol: processing that the module needs, such as sides padded to a multiple.

    Raises:
        DsegError: no classes are named, or a value is out of range.
    """
    if order not in ("RGB", "BGR"):
        raise DsegError(f"Unknown channel order {order!r}.", hint='use "RGB" or "BGR".')
    card = ModelCard(
        network=type(network).__name__,
        kwargs={},
        label_space=_find_classes(network, classes),
        mean=_three("mean", IMAGENET[0] if mean is None else mean),
        std=_three("std", IMAGENET[1] if std is None else std),
        order=order,
        protocol=protocol or PLAIN,
    )
    return OwnNetwork(network, card)


def _find_classes(
    network: nn.Module, classes: Sequence[str] | LabelSpace | str | None
) -> LabelSpace:
    if isinstance(classes, LabelSpace):
        return classes
    if isinstance(classes, str):
        return find_label_space(classes)
    if classes is None:
        raise DsegError(
            f"The classes of {type(network).__name__} are not known.",
            hint='name them in the order of the outputs: classes=["road", "car"], or '
            'classes="cityscapes".',
        )
    names = tuple(classes)
    if not 1 <= len(names) <= MOST_CLASSES or not all(isinstance(name, str) for name in names):
        raise DsegError(
            f"{len(names)} classes cannot be used.", hint=f"give 1 to {MOST_CLASSES} names."
        )
    if len(set(names)) < len(names):
        raise DsegError("Two classes have the same name.", hint="give each output its own name.")
    return LabelSpace(
        name="own classes",
        names=names,
        colors=tuple(voc_color(index + 1) for index in range(len(names))),
        label_ids=tuple(range(len(names))),
    )


def _three(name: str, values: Sequence[float]) -> RGB:
    """Return a mean or standard deviation of three channels in 0..1."""
    try:
        red, green, blue = (float(value) for value in values)
    except (TypeError, ValueError):
        raise DsegError(
            f"{name} cannot be {values!r}.", hint="give three numbers, for red, green and blue."
        ) from None
    numbers = (red, green, blue)
    if not all(-1 <= value <= 1 for value in numbers) or (name == "std" and min(numbers) <= 0):
        raise DsegError(
            f"{name} cannot be {list(numbers)}.",
            hint="give it for images in 0..1: divide values for 0..255 by 255.",
        )
    return numbers


def _find_logits(found: Any) -> Tensor | None:
    """Return the logits in what a module returned, None if there are none."""
    if isinstance(found, Tensor):
        return found
    if isinstance(found, Mapping):
        named = [found[key] for key in ("out", "logits") if key in found]
        return _find_logits(named[0]) if named else None
    if isinstance(found, list | tuple) and found:
        return _find_logits(found[0])
    logits = getattr(found, "logits", None)
    return logits if isinstance(logits, Tensor) else None


def _failed(network: str, image: Tensor, fault: Exception) -> DsegError:
    """Return the error for a module that cannot compute an image."""
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    reason = (lines[0] if lines else type(fault).__name__)[:MAX_REASON].rstrip(".")
    height, width = image.shape[-2:]
    return DsegError(
        f"{network} cannot compute an input of {height}x{width}: {reason}.",
        hint="if its sides must be multiples of a number, pad them: "
        "protocol=dseg.Protocol(pad_multiple=32).",
    )
