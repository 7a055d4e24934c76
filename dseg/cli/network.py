"""What predicts: the options that name a network, its file, and how it sees an image."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from dseg.cli.console import say
from dseg.cli.params import FILE, ModelName, Option, Share, TileSize

if TYPE_CHECKING:
    from dseg.checkpoints import LoadReport
    from dseg.distributed import Group
    from dseg.predict import Predictor, Protocol, Settings

OVERLAP = 1 / 3


class Scales(click.ParamType):  # type: ignore[type-arg]  # not generic in older clicks
    """Numbers separated by commas."""

    name = "scales"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(word) for word in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of scales like 0.5,1,1.5.", param, ctx)


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
    "--inplace-abn",
    is_flag=True,
    help="The authors' checkpoint was trained with in-place activated batch norm (CCNet, OCNet).",
)

SIGHT_OPTIONS = (
    click.option(
        "--input-size",
        type=TileSize(),
        metavar="HxW",
        help="Resize images to this for the network (bicubic); masks keep the image's own size.",
    ),
    click.option(
        "--input-scale",
        type=Share(),
        default="1",
        show_default=True,
        metavar="F",
        help="Resize them by this factor instead.",
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
        type=Share(),
        default="1/3",
        show_default=True,
        help="Share of a tile that its neighbour covers again.",
    ),
    click.option(
        "--sliding",
        is_flag=True,
        help="Slide the tile over each size of the image and count overlaps evenly, as GALD-Net's "
        "authors evaluate.",
    ),
)

fusion_option = click.option(
    "--fusion",
    type=click.Choice(["logprob", "prob"]),
    default="logprob",
    show_default=True,
    help="Mean of log-probabilities or of probabilities.",
)


def scales_option(default: str) -> Option:
    """``--scales LIST``: factors of the image's size, or of ``--input-size``."""
    return click.option(
        "--scales",
        type=Scales(),
        default=default,
        show_default=True,
        help="Sizes at which each image is seen.",
    )


def flip_option(default: bool) -> Option:
    """``--flip/--no-flip``."""
    return click.option(
        "--flip/--no-flip", default=default, show_default=True, help="See each size mirrored too."
    )


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network as it is named on the command line; the defaults are those of its options."""

    model: str | None = None
    weights: Path | None = None
    partial: bool = False
    inplace_abn: bool = False
    device: str = "auto"
    amp: str = "off"
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    fusion: Literal["logprob", "prob"] = "logprob"
    tile: tuple[int, int] | None = None
    overlap: float = OVERLAP
    sliding: bool = False
    input_size: tuple[int, int] | None = None
    input_scale: float = 1.0

    @classmethod
    def take(cls, given: dict[str, Any]) -> Network:
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
            "--" + field.name.replace("_", "-")
            for field in fields(self)
            if getattr(self, field.name) != field.default
        ]

    def make_protocol(self) -> Protocol:
        """Return how images are seen.

        Raises:
            DsegError: the options contradict each other, or a value is out of range.
        """
        from dseg.predict import Protocol

        return Protocol(
            scales=self.scales,
            flip=self.flip,
            fusion=self.fusion,
            tile=self.tile,
            overlap=self.overlap,
            sliding=self.sliding,
            input_size=self.input_size,
            input_scale=self.input_scale,
        )

    def load(self, protocol: Protocol, group: Group) -> tuple[Predictor, Settings]:
        """Load the network, by default the one that ships, and say what its masks depend on.

        Raises:
            CheckpointError: no file, no checkpoint, or not this network's.
            DsegError: no such network, device or precision.
        """
        from dseg.checkpoints import find_shipped, find_weights, sha256
        from dseg.distributed import local_device
        from dseg.predict import Predictor, Settings

        if self.model is not None:
            file = find_weights(self.model, self.weights)
        else:
            file = self.weights or find_shipped()
            if self.weights is None and group.main:
                shipped = "which ships with dseg (dseg inspect)"
                say(f"No network is named: using {file.name}, {shipped}.")
        predictor = Predictor.load(
            self.model,
            file,
            protocol=protocol,
            device=local_device(self.device, group),
            amp=self.amp,
            partial=self.partial,
            inplace_norms=self.inplace_abn,
            on_report=_warn_of_partial_fit if group.main else lambda report: None,
        )
        return predictor, Settings.of(
            predictor, file.name, sha256(file), inplace_abn=self.inplace_abn
        )


def _warn_of_partial_fit(report: LoadReport) -> None:
    if not report.complete:
        say(f"WARNING: the checkpoint fits in part: {report}.")
