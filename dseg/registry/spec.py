"""ModelSpec: one row of the table of networks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from dseg.protocol import MULTI_SCALES, PLAIN, Protocol

ChannelOrder = Literal["RGB", "BGR"]


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One network that a user can name.

    Attributes:
        title: the name as its paper spells it.
        paper: authors, venue and year.
        target: ``module:Class`` below ``dseg.models``.
        kwargs: what the class's constructor is given besides ``num_classes``.
        num_classes: outputs of the published network.
        label_space: what those outputs mean, a key of ``dseg.labels.LABEL_SPACES``.
        outputs: the train id of each output, 255 for a background or void output; empty where
            outputs are train ids.
        params: parameters at ``num_classes``, without auxiliary heads.
        macs: multiply-accumulates at 1024x2048, as ``dseg.bench.count_cost`` counts them.
        mean, std: normalisation of the image in 0..1; red, green, blue, whatever the order.
        order: of the channels that the network reads.
        protocol: what is done around the published network, always.
        authors: what its authors do besides for their published single-scale score; None where
            that is all.
        multi_scales: the scales of their multi-scale score, each horizontally flipped too.
        inplace_abn: its authors' files hold norms of in-place activated batch norm.
        goldens: recordings of the authors' own code that hold the network to it.
        real_files: trained files, below ``tests/golden/authors``, that give their authors' masks.
        weights: the authors' checkpoint file, below a folder of weights; empty where its name is
            not known, or none was published.
        link: where that file is downloaded, without ``https://``.
        licence: of the file, as far as its authors state one.
        source: the authors' release.
        published: the authors' own figures with their protocol, in words.
        score: published Cityscapes mIoU in percent, of the validation split where there is one,
            single scale.
        measured: our figures, in words; weights/README.md says how each came about.
        recipe: how it is trained unless told otherwise, a key of ``dseg.recipes.RECIPES``.
    """

    title: str
    paper: str
    target: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    num_classes: int = 19
    label_space: str = "cityscapes"
    params: int
    macs: int
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
    recipe: str = "denseaspp_cityscapes"


def from_255(red: float, green: float, blue: float) -> tuple[float, float, float]:
    """Return a mean or deviation that is published in 0..255 in 0..1."""
    return red / 255, green / 255, blue / 255
