"""``dseg infer``: one mask for each image."""

from __future__ import annotations

from typing import Any

import click

from dseg.cli.infer.options import AliasCommand, predict_options
from dseg.cli.infer.run import run
from dseg.config import NetworkConfig


@click.command(cls=AliasCommand, short_help="Segment images: one scale, whole image.")
@predict_options(multi_scale=False)
def infer(**given: Any) -> None:
    """Write masks and overlays for all images and videos of the SOURCEs.

    \b
    Examples:
      dseg infer --model dabnet photos
      dseg infer photos holiday.zip https://example.org/street.jpg
      dseg infer drive.mp4 --save video --side-by-side
      dseg infer photos --save overlay,mask:car,person,areas
      dseg infer --model DenseASPP161 --img-dir leftImg8bit/val --out results

    A SOURCE is a file, a folder, a pattern such as 'frames/*.png', a zip or tar archive, the
    address of an image, a list of files (.txt, .lst, .csv or @FILE), a webcam (webcam:0), an RTSP
    stream, or '-' for an image or a list on standard input. Videos need: pip install 'dseg[video]'.

    Results keep the folders of the input: label_ids/ holds what the data set's evaluation reads,
    color/ the classes' colours, overlay/ the image with its classes and a legend; overview.jpg
    shows up to 24 overlays. A second run continues where the first stopped. A file that cannot
    be read does not stop the run.
    """
    network = NetworkConfig.take(given)
    run(network, **given)
