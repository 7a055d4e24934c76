"""Quantise the graph of a network on the images of a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from dseg.config.export import ExportConfig
from dseg.export.calibrate import calibration_batches
from dseg.models import SegModel
from dseg.quantisation import (
    Batches,
    Calibration,
    agreement,
    calibrate,
    find_layers,
    find_sensitive,
    refuse_unknown_layers,
)

if TYPE_CHECKING:
    from onnx import ModelProto

MEASURED = 6  # images on which the sensitivity of layers is measured
MEASURED_PIXELS = 140_000  # of each
FEW = 16  # images of calibration, below which the user is told
TOLERATED = 0.005  # of labels, for dense blocks in 8 bits throughout


def calibrated(
    graph: ModelProto,
    model: SegModel,
    config: ExportConfig,
    on_note: Callable[[str], None] = lambda note: None,
) -> tuple[Calibration, int]:
    """Return a graph with the histograms of its activations, and the number of images read.

    Raises:
        DsegError: a layer to keep does not exist, or no image can be read.
    """
    if named := _named_layers(config):
        refuse_unknown_layers(named, find_layers(graph))
    on_note(f"Calibrating on up to {config.count} images.")
    images = 0

    def batches() -> Iterator[NDArray[Any]]:
        nonlocal images
        images = 0
        for batch in calibration_batches(model, config):
            images += 1
            yield batch

    calibration = calibrate(graph, batches)
    if images < FEW:
        on_note(
            f"Images for calibration: only {images}; {FEW} or more like those to come are safer."
        )
    return calibration, images


def quantised(
    calibration: Calibration,
    model: SegModel,
    config: ExportConfig,
    on_note: Callable[[str], None] = lambda note: None,
) -> ModelProto:
    """Return the int8 graph of a calibrated one, with the configured layers in float32.

    Dense blocks whose concatenations are in 8 bits too are much faster. They are used if a few
    images show that they cost next to no labels.

    Raises:
        DsegError: a layer to keep does not exist.
    """
    most = None if config.size is not None else MEASURED_PIXELS
    few = replace(config, count=MEASURED)

    def batches() -> Iterator[NDArray[Any]]:
        return calibration_batches(model, few, most_pixels=most)

    options: dict[str, Any] = {
        "method": config.calibration,
        "symmetric": config.activations == "int8",
    }
    keep = _layers_to_keep(calibration, batches, config, options, on_note)
    graph = calibration.quantise(keep_float=keep, **options)
    if not calibration.has_dense_blocks:
        return graph
    dense = calibration.quantise(keep_float=keep, concatenate=True, **options)
    equal, equal_dense = (agreement(calibration.model, one, batches) for one in (graph, dense))
    used = equal_dense >= equal - TOLERATED
    on_note(
        f"Dense blocks {'are' if used else 'are not'} in 8 bits throughout: {equal_dense:.2%} of "
        f"labels are equal with, {equal:.2%} without, on {MEASURED} images."
    )
    return dense if used else graph


def _named_layers(config: ExportConfig) -> tuple[str, ...]:
    if config.keep_float in ("input", "none", "auto"):
        return ()
    return tuple(name.strip() for name in config.keep_float.split(",") if name.strip())


def _layers_to_keep(
    calibration: Calibration,
    batches: Batches,
    config: ExportConfig,
    options: dict[str, Any],
    on_note: Callable[[str], None],
) -> tuple[str, ...] | None:
    """Return the names of the layers that stay float32; None for those that read the image."""
    if config.keep_float == "input":
        return None
    if config.keep_float == "none":
        return ()
    if config.keep_float != "auto":
        return _named_layers(config)
    on_note("Measuring which layers cost labels.")
    found = find_sensitive(calibration, batches, **options)
    names = ", ".join(found.keep_float) or "none"
    on_note(
        f"Layers that stay float32: {names}. Equal labels on {MEASURED} images: "
        f"{found.before:.2%} without, {found.after:.2%} with them."
    )
    return found.keep_float
