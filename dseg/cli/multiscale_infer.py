"""``dseg multiscale-infer``: the published multi-scale protocol."""

from __future__ import annotations

from typing import Any

import click

from dseg.cli.options.network import NetworkOptions, flip_option, fusion_option, scales_option
from dseg.cli.predict import AliasCommand, predict_options, run


@click.command(
    "multiscale-infer",
    cls=AliasCommand,
    short_help="Segment images: several scales and flipped.",
)
@scales_option("0.5,0.75,1.0,1.25,1.5,1.8, or the authors'")
@flip_option("flip")
@fusion_option
@predict_options
def multiscale_infer(**given: Any) -> None:
    """Write masks as infer does, from each image at several scales, each flipped too.

    The default is the protocol of DenseASPP's authors: six scales, each also flipped, logits
    resized to the image's size, mean of log-softmax. Twelve views cost about 18 times the time of
    one. In tiles, each tile is read at all scales. Scales multiply --input-size. With --protocol
    authors, scales, crops and fusion are those of the network's own authors.

    \b
    Example:
      dseg multiscale-infer --model DenseASPP161 --img-dir leftImg8bit/val --out results-ms
      dseg multiscale-infer --model PSPNet_R50 -w FILE --protocol authors --img-dir leftImg8bit/val
    """
    network = NetworkOptions.take(given)
    run(network, multi_scale=True, **given)
