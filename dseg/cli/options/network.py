"""What predicts: the options that name a network, its file, and how it reads an image."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from dseg.cli.console import say
from dseg.cli.options.types import FILE, Fraction, ModelName, Option, Scales, TileSize
from dseg.protocol import MULTI_SCALES, PLAIN, PROTOCOL_CHOICES, Protocol, Resample
from dseg.registry import MODELS

if TYPE_CHECKING:
    from dseg.checkpoints import LoadReport
    from dseg.distributed import Group
    from dseg.models import ModelCard
    from dseg.predict import Manifest, Predictor

model_option = click.option(
    "--model", type=ModelName(), metavar="NAME", help="The network; see: dseg models"
)
weights_option = click.option(
    *("-w", "--weights"),
    type=FILE,
    metavar="FILE",
    help="Checkpoint, the authors' or our own; by default the network's in weights/.",
)
partial_option = click.option(
    "--partial", is_flag=True, help="Accept a checkpoint that fits only in part."
)
inplace_option = click.option(
    "--inplace-abn/--no-inplace-abn",
    default=None,
    help="Whether the checkpoint was trained with in-place activated batch norm; by default so are "
    "the authors' of CCNet and OCNet.",
)
raw_option = click.option(
    "--raw-weights",
    is_flag=True,
    help="Of a checkpoint with averaged weights (EMA) too, take the others.",
)
INPUT_OPTIONS = (
    click.option(
        "--protocol",
        "protocol_name",
        type=click.Choice(["plain", "authors"]),
        default="plain",
        show_default=True,
        help="plain: what the network cannot do without. authors: also the crops, flips and "
        "fusion of its published score.",
    ),
    click.option(
        "--input-size",
        type=TileSize(),
        metavar="HxW",
        help="Resize images to this for the network; masks keep the image's own size.",
    ),
    click.option(
        "--input-scale", type=Fraction(), metavar="F", help="Resize them by this factor instead."
    ),
    click.option(
        "--resample",
        type=click.Choice(PROTOCOL_CHOICES["resample"]),
        help="How images are resized: PIL's bicubic or antialiased bilinear, or bilinear without "
        "antialiasing. By default as the network's protocol says, else bicubic.",
    ),
    click.option(
        "--tile",
        type=TileSize(),
        metavar="HxW",
        help="Predict in tiles, of the resized image if it is resized; by default only images "
        "that are too large for memory.",
    ),
    click.option(
        "--overlap",
        type=Fraction(),
        metavar="F",
        help="Fraction of a tile that its neighbour covers again.  [default: 1/3]",
    ),
    click.option(
        "--sliding",
        is_flag=True,
        default=None,
        help="Slide the tile over each size of the image and count overlaps evenly, as GALD-Net's "
        "authors evaluate.",
    ),
)
fusion_option = click.option(
    "--fusion",
    type=click.Choice(["logprob", "prob"]),
    help="Mean of log-probabilities or of probabilities.  [default: logprob, or the protocol's]",
)


def scales_option(default: str) -> Option:
    """``--scales LIST``: factors of the image's size, or of ``--input-size``."""
    return click.option(
        "--scales",
        type=Scales(),
        help=f"Sizes at which each image is read.  [default: {default}]",
    )


def flip_option(default: str) -> Option:
    """``--flip/--no-flip``."""
    return click.option(
        "--flip/--no-flip",
        default=None,
        help=f"Average with the horizontally flipped image.  [default: {default}]",
    )


ANY_TILE = (512, 512)


PROTOCOL_OPTIONS = (
    *("scales", "flip", "fusion", "tile", "overlap", "sliding"),
    *("input_size", "input_scale", "resample"),
)


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """A network as it is named on the command line; None stands for what its protocol says."""

    model: str | None = None
    weights: Path | None = None
    partial: bool = False
    inplace_abn: bool | None = None
    raw_weights: bool = False
    device: str = "auto"
    amp: str = "off"
    protocol_name: str = "plain"
    scales: tuple[float, ...] | None = None
    flip: bool | None = None
    fusion: Literal["logprob", "prob"] | None = None
    tile: tuple[int, int] | None = None
    overlap: float | None = None
    sliding: bool | None = None
    input_size: tuple[int, int] | None = None
    input_scale: float | None = None
    resample: Resample | None = None

    @classmethod
    def take(cls, given: dict[str, Any]) -> NetworkOptions:
        """Take the options of a network out of all those of a command."""
        own = {field.name for field in fields(cls)} & given.keys()
        return cls(**{name: given.pop(name) for name in own})

    @property
    def named(self) -> bool:
        """Whether there is one."""
        return self.model is not None or self.weights is not None

    def changed(self) -> list[str]:
        """Return the options that differ from their defaults, as they are spelt."""
        return [
            "--" + field.name.removesuffix("_name").replace("_", "-")
            for field in fields(self)
            if getattr(self, field.name) != field.default
        ]

    def check(self) -> None:
        """Refuse options that contradict each other, before anything is read.

        Raises:
            DsegError: they do, or a value is out of range.
        """
        by_authors = self.protocol_name == "authors"  # whose tiles are not known yet
        self._override(Protocol(tile=ANY_TILE) if by_authors else PLAIN)

    def _override(self, protocol: Protocol) -> Protocol:
        """Return a protocol with the options that were given in place of its own."""
        given = {name: getattr(self, name) for name in PROTOCOL_OPTIONS}
        given = {name: value for name, value in given.items() if value is not None}
        if self.input_size is not None or self.input_scale is not None:
            protocol = protocol.at_own_size()
        return replace(protocol, **given)

    def make_protocol(self, card: ModelCard, *, multi_scale: bool) -> Protocol:
        """Return how a network of that card reads images.

        Args:
            multi_scale: the default is several scales, each flipped too.

        Raises:
            DsegError: the options contradict each other, or a value is out of range.
        """
        by_authors = self.protocol_name == "authors"
        base = (card.authors or card.protocol) if by_authors else card.protocol
        if multi_scale:
            scales = MODELS[card.network].multi_scales if by_authors else MULTI_SCALES
            base = replace(base, scales=scales, flip=True)
        return self._override(base)

    def load(self, group: Group, *, multi_scale: bool = False) -> tuple[Predictor, Manifest]:
        """Load the network, by default the bundled one, and return what its masks depend on.

        Raises:
            CheckpointError: no file, no checkpoint, or not this network's.
            DsegError: no such network, device or precision.
        """
        from dseg.allocator import keep_freed_memory
        from dseg.checkpoints import find_bundled, find_file, find_weights, load_model, sha256
        from dseg.device import find_device
        from dseg.distributed import local_device
        from dseg.predict import Manifest, Predictor

        if self.model is not None:
            file = find_weights(self.model, self.weights)
        else:
            file = find_file(self.weights) if self.weights is not None else find_bundled()
            if self.weights is None and group.main:
                say(
                    f"No network is named: using the bundled {file.name} (weak: see "
                    "weights/README.md). Choose another with --model or --weights."
                )
        device = local_device(self.device, group)
        if find_device(device).type == "cpu":  # a wrong device is refused before a file is read
            keep_freed_memory()
        reports: list[LoadReport] = []
        model = load_model(
            self.model,
            file,
            partial=self.partial,
            inplace_abn=self.inplace_abn,
            raw_weights=self.raw_weights,
            on_report=reports.append,
            on_note=say if group.main else lambda note: None,
        )
        if group.main and not reports[0].complete:
            say(f"WARNING: the checkpoint fits in part: {reports[0]}.")
        if group.main and self.protocol_name == "authors" and model.card.authors is None:
            say(f"No other protocol of {model.card.network}'s authors is known: plain it is.")
        protocol = self.make_protocol(model.card, multi_scale=multi_scale)
        predictor = Predictor(model, protocol=protocol, device=device, amp=self.amp)
        settings = Manifest.of(
            predictor,
            file.name,
            sha256(file),
            inplace_abn=reports[0].inplace_abn,
            raw_weights=self.raw_weights,
        )
        return predictor, settings
