"""``dseg multiscale-infer``: the published multi-scale protocol."""

from __future__ import annotations

from typing import Any

import click

from dseg.cli.network import Network, flip_option, fusion_option, scales_option
from dseg.cli.prediction import PredictionCommand, prediction_options, run


@click.command(
    "multiscale-infer",
    cls=PredictionCommand,
    short_help="Segment images: several scales and mirrored.",
)
@scales_option("0.5,0.75,1.0,1.25,1.5,1.8")
@flip_option(True)
@fusion_option
@prediction_options
def multiscale_infer(**given: Any) -> None:
    """Write masks as infer does, from each image at several scales and mirrored.

    The default is the protocol of DenseASPP's authors: six scales, each with its mirror image,
    logits resized to the image's size, mean of log-softmax. Twelve views cost about 18 times the
    time of one. In tiles, each tile is seen at all scales. Scales multiply --input-size.

    \b
    Example:
      dseg multiscale-infer --model DenseASPP161 --img-dir leftImg8bit/val --out results-ms
    """
    network = Network.take(given)
    run(network, **given)
