"""ModelSpec: an entry of the network registry."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from dseg.errors import DsegError
from dseg.labels import LABEL_SPACES
from dseg.protocol import MULTI_SCALES, PLAIN, Protocol

ChannelOrder = Literal["RGB", "BGR"]


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One network that a user can name.

    Attributes:
        title: name in the paper's spelling.
        target: ``module:Class``; the module is below ``dseg.models``, or in another package that
            adds the network by an entry point.
        paper: authors, venue and year.
        kwargs: constructor arguments besides ``num_classes``.
        num_classes: number of outputs of the published network.
        label_space: classes of the outputs, a key of ``dseg.labels.LABEL_SPACES``; empty if they
            have no names.
        outputs: train id of each output, 255 for a background or void output; empty if outputs
            are train ids.
        params: number of parameters with ``num_classes``, without auxiliary heads; 0 if unknown.
        macs: multiply-accumulates at 1024x2048, as ``dseg.bench.count_cost`` counts them.
        mean, std: normalisation of the image in 0..1, as red, green, blue for either ``order``.
        order: channel order of the network's input.
        protocol: resizing and other processing that the published network always needs.
        authors: protocol of its authors' published single-scale score; None if it is
            ``protocol``.
        multi_scales: scales of their multi-scale score, each with a horizontal flip.
        inplace_abn: whether its authors' files have in-place activated batch norm.
        goldens: recorded outputs of the authors' code that tests compare with.
        real_files: files below ``tests/golden/authors`` with the authors' masks.
        weights: path of the authors' checkpoint in a weights folder; empty if its name is
            unknown or none was published.
        link: download address of that file, without ``https://``.
        licence: licence of the file, if its authors state one.
        source: the authors' release.
        published: the authors' scores with their protocol, as text.
        score: published single-scale Cityscapes mIoU in percent, on the validation split if
            available.
        measured: our scores, as text; weights/README.md describes each.
        one_size: why its graph can be exported for one image size only; empty if for any size too.
        recipe: default training recipe, a key of ``dseg.recipes.RECIPES``.
    """

    title: str
    target: str
    paper: str = ""
    kwargs: dict[str, Any] = field(default_factory=dict)
    num_classes: int = 19
    label_space: str = "cityscapes"
    params: int = 0
    macs: int = 0
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    order: ChannelOrder = "RGB"
    outputs: tuple[int, ...] = ()
    protocol: Protocol = PLAIN
    authors: Protocol | None = None
    multi_scales: tuple[float, ...] = MULTI_SCALES
    inplace_abn: bool = False
    goldens: tuple[str, ...] = ()
    real_files: tuple[str, ...] = ()
    weights: str = ""
    link: str = ""
    licence: str = ""
    source: str = ""
    published: str = ""
    score: float | None = None
    measured: str = ""
    one_size: str = ""
    recipe: str = "denseaspp_cityscapes"

    def check(self) -> None:
        """Check the entry of another package.

        Raises:
            DsegError: target or label space are of no use, or not of the number of outputs.
        """
        module, _, cls = self.target.partition(":")
        if not module or not cls:
            raise DsegError(
                f"The target {self.target!r} of a network names no class.",
                hint="write module:Class.",
            )
        if self.label_space and self.label_space not in LABEL_SPACES:
            raise DsegError(
                f"The label space {self.label_space!r} of a network is unknown.",
                hint=f"use one of {', '.join(LABEL_SPACES)}, or an empty one for unnamed classes.",
            )
        if not self.outputs and self.label_space and self.num_classes != self._classes():
            raise DsegError(
                f"A network has {self.num_classes} outputs, its label space {self.label_space} "
                f"{self._classes()} classes.",
                hint="give the train id of each output, or an empty label space.",
            )

    def _classes(self) -> int:
        return LABEL_SPACES[self.label_space].num_classes


def from_255(red: float, green: float, blue: float) -> tuple[float, float, float]:
    """Scale a mean or standard deviation from 0..255 to 0..1."""
    return red / 255, green / 255, blue / 255
