"""``dseg infer``: one mask for each image."""

from __future__ import annotations

from typing import Any

import click

from dseg.cli.options.network import NetworkOptions
from dseg.cli.predict import AliasCommand, predict_options, run


@click.command(cls=AliasCommand, short_help="Segment images: one scale, whole image.")
@predict_options
def infer(**given: Any) -> None:
    """Write masks of every image of the SOURCEs: folders, files, patterns, or '-' for a list.

    Results keep the folders of the input: label_ids/ holds what the data set's evaluation reads,
    color/ the classes' colours, overlay/ the image with its classes and a legend. A second run
    goes on where the first was stopped. A file that cannot be read does not stop the run.

    \b
    Example:
      dseg infer --model DenseASPP161 --img-dir leftImg8bit/val --out results
      dseg infer --model DenseASPP161 --img-dir photos --input-size 1024x2048
    """
    network = NetworkOptions.take(given)
    run(network, **given)
