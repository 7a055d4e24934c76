"""``dseg multiscale-infer``: the published multi-scale protocol."""

from __future__ import annotations

from typing import Any

import click

from dseg.cli.infer.options import AliasCommand, predict_options
from dseg.cli.infer.run import run
from dseg.config import NetworkConfig


@click.command(
    "multiscale-infer",
    cls=AliasCommand,
    short_help="Segment images: several scales and flipped.",
)
@predict_options(multi_scale=True)
def multiscale_infer(**given: Any) -> None:
    """Write masks as infer does, from each image at several scales, each flipped too.

    The default is the protocol of DenseASPP's authors: six scales, each also flipped, logits
    resized to the image's size, mean of log-softmax. Twelve views take about 18 times as long as
    one. In tiles, each tile is read at all scales. Scales multiply --input-size. With --protocol
    authors, scales, crops and fusion are those of the network's own authors.

    \b
    Examples:
      dseg multiscale-infer --model dabnet photos
      dseg multiscale-infer --model DenseASPP161 --img-dir leftImg8bit/val --out results-ms
      dseg multiscale-infer --model PSPNet_R50 -w FILE --protocol authors --img-dir leftImg8bit/val
    """
    network = NetworkConfig.take(given)
    run(network, multi_scale=True, **given)
