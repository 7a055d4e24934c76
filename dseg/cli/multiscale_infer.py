"""``dseg multiscale-infer``: the published multi-scale protocol."""

from __future__ import annotations

from typing import Any, Literal

import click

from dseg.cli.prediction import PredictionCommand, prediction_options, run


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


@click.command(
    "multiscale-infer",
    cls=PredictionCommand,
    short_help="Segment images: several scales and mirrored.",
)
@click.option(
    "--scales",
    type=Scales(),
    default="0.5,0.75,1.0,1.25,1.5,1.8",
    show_default=True,
    help="Sizes at which each image is seen.",
)
@click.option(
    "--flip/--no-flip", default=True, show_default=True, help="See each size mirrored too."
)
@click.option(
    "--fusion",
    type=click.Choice(["logprob", "prob"]),
    default="logprob",
    show_default=True,
    help="Mean of log-probabilities or of probabilities.",
)
@prediction_options
def multiscale_infer(
    scales: tuple[float, ...],
    flip: bool,
    fusion: Literal["logprob", "prob"],
    tile: tuple[int, int] | None,
    overlap: float,
    **options: Any,
) -> None:
    """Write masks as infer does, from each image at several scales and mirrored.

    The default is the protocol of DenseASPP's authors: six scales, each with its mirror image,
    logits resized to the image's size, mean of log-softmax. Twelve views cost about 18 times the
    time of one. In tiles, each tile is seen at all scales.

    \b
    Example:
      dseg multiscale-infer --model DenseASPP161 --img-dir leftImg8bit/val --out results-ms
    """
    from dseg.predict import Protocol

    protocol = Protocol(scales=scales, flip=flip, fusion=fusion, tile=tile, overlap=overlap)
    run(protocol, **options)
