"""Configuration of a network that predicts: its file, device, and how it reads images."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from dseg.config.fields import (
    device_field,
    inplace_abn_field,
    option,
    option_specs,
    precision_field,
    raw_weights_field,
    runtime_field,
)
from dseg.protocol import MULTI_SCALES, PLAIN, PROTOCOL_CHOICES, Protocol, Resample, ScoreFusion
from dseg.registry import MODELS

ANY_TILE = (512, 512)
PROTOCOL_FIELDS = (
    *("scales", "flip", "fusion", "tile", "overlap", "sliding"),
    *("input_size", "input_scale", "resample"),
)


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """A network, its checkpoint, and how it predicts.

    Attributes:
        model: name of the network; None to identify it by its checkpoint.
        weights: checkpoint; None for the network's file in weights/ or the cache, downloaded if
            need be, or the bundled one if no network is named.
        partial: accept a checkpoint that fits only in part.
        inplace_abn, raw_weights: how the checkpoint is read, as in ``TrainConfig``.
        device: device of the network.
        precision: ``fp32``, ``auto``, ``bf16``, ``fp16`` or ``int8``.
        runtime: what computes the network: ``auto``, ``torch``, ``openvino`` or ``onnx``.
        protocol_name: ``plain`` or ``authors``.
        scales, flip, fusion, tile, overlap, sliding, input_size, input_scale, resample: values
            that replace those of the protocol, as in ``Protocol``; None to keep its own.
    """

    protocol_name: str = option(
        "--protocol",
        group="Protocol",
        default="plain",
        choices=("plain", "authors"),
        help="plain: only what the network requires. authors: also the crops, flips and fusion of "
        "its published score.",
    )
    input_size: tuple[int, int] | None = option(
        "--input-size",
        group="Protocol",
        default=None,
        kind="size",
        metavar="HxW",
        help="Resize images to this size for the network; masks keep the image's size.",
    )
    input_scale: float | None = option(
        "--input-scale",
        group="Protocol",
        default=None,
        kind="fraction",
        metavar="F",
        help="Resize images by this factor for the network.",
    )
    resample: Resample | None = option(
        "--resample",
        group="Protocol",
        default=None,
        choices=PROTOCOL_CHOICES["resample"],
        shown_default="the protocol's, else bicubic",
        help="Interpolation for resizing images: PIL's bicubic or antialiased bilinear, or "
        "bilinear without antialiasing.",
    )
    scales: tuple[float, ...] | None = option(
        "--scales",
        group="Protocol",
        default=None,
        kind="scales",
        metavar="LIST",
        shown_default="1.0, or the protocol's",
        help="Input scales, such as 0.5,1,1.5.",
    )
    flip: bool | None = option(
        "--flip/--no-flip",
        group="Protocol",
        default=None,
        shown_default="no-flip, or the protocol's",
        help="Average with the horizontally flipped image.",
    )
    fusion: ScoreFusion | None = option(
        "--fusion",
        group="Protocol",
        default=None,
        choices=("logprob", "prob"),
        shown_default="logprob, or the protocol's",
        help="Average log-probabilities or probabilities of scales and flips.",
    )
    tile: tuple[int, int] | None = option(
        "--tile",
        group="Protocol",
        default=None,
        kind="size",
        metavar="HxW",
        help="Predict in tiles of the input (default: only images that do not fit into memory).",
    )
    overlap: float | None = option(
        "--overlap",
        group="Protocol",
        default=None,
        kind="fraction",
        metavar="F",
        shown_default="1/3",
        help="Fraction of a tile that overlaps its neighbour.",
    )
    sliding: bool | None = option(
        "--sliding",
        group="Protocol",
        default=None,
        help="Slide the tile over each input scale and average overlaps evenly, as GALD-Net's "
        "authors evaluate.",
    )
    device: str = device_field()
    precision: str = precision_field()
    runtime: str = runtime_field()
    model: str | None = option(
        "--model",
        group="Network",
        default=None,
        kind="network",
        metavar="NAME",
        help="Network; see: dseg models",
    )
    weights: Path | None = option(
        *("-w", "--weights"),
        group="Network",
        default=None,
        kind="file",
        metavar="FILE",
        help="Checkpoint, the authors' or dseg's, or hf://owner/name/file (default: the network's "
        "file in weights/ or the cache, downloaded if need be).",
    )
    partial: bool = option(
        "--partial",
        group="Expert",
        default=False,
        help="Accept a checkpoint with missing or unexpected keys.",
    )
    inplace_abn: bool | None = inplace_abn_field()
    raw_weights: bool = raw_weights_field()

    @classmethod
    def take(cls, values: dict[str, Any]) -> NetworkConfig:
        """Remove the values of these fields from all those of a command, and return them."""
        own = {field.name for field in fields(cls)} & values.keys()
        return cls(**{name: values.pop(name) for name in own})

    @property
    def named(self) -> bool:
        """True if a network or a checkpoint is named."""
        return self.model is not None or self.weights is not None

    def changed(self) -> list[str]:
        """Return the options that differ from their defaults, as they are written.

        The value of an environment variable is a default too.
        """
        return [
            next(flag for flag in spec.flags if flag.startswith("--")).partition("/")[0]
            for name, spec in option_specs(type(self)).items()
            if getattr(self, name) not in (getattr(type(self), name), os.environ.get(spec.envvar))
        ]

    def check(self) -> None:
        """Refuse options that contradict each other, before anything is read.

        Raises:
            DsegError: they do, or a value is out of range.
        """
        by_authors = self.protocol_name == "authors"  # whose tiles are not known yet
        self._override(Protocol(tile=ANY_TILE) if by_authors else PLAIN)

    def _override(self, protocol: Protocol) -> Protocol:
        """Return a protocol, overridden by the values that were given."""
        given = {name: getattr(self, name) for name in PROTOCOL_FIELDS}
        given = {name: value for name, value in given.items() if value is not None}
        if self.input_size is not None or self.input_scale is not None:
            protocol = protocol.at_own_size()
        return replace(protocol, **given)

    def make_protocol(
        self, network: str, plain: Protocol, authors: Protocol | None, *, multi_scale: bool
    ) -> Protocol:
        """Return the protocol for a network.

        Args:
            network: its name.
            plain, authors: its own protocols; None if its authors have no other.
            multi_scale: use several scales, each also flipped, unless other values are given.

        Raises:
            DsegError: the options contradict each other, or a value is out of range.
        """
        by_authors = self.protocol_name == "authors"
        base = (authors or plain) if by_authors else plain
        if multi_scale:
            scales = MODELS[network].multi_scales if by_authors else MULTI_SCALES
            base = replace(base, scales=scales, flip=True)
        return self._override(base)
