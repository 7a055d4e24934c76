"""Quantise the graph of a network on the images of a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from dseg.config.export import ExportConfig
from dseg.export.calibrate import calibration_batches
from dseg.models import SegModel
from dseg.quantisation import Batches, Calibration, agreement, calibrate, find_sensitive

if TYPE_CHECKING:
    from onnx import ModelProto

MEASURED = 6  # images on which the sensitivity of layers is measured
MEASURED_PIXELS = 140_000  # of each
TOLERATED = 0.005  # of labels, for dense blocks in 8 bits throughout


def calibrated(graph: ModelProto, model: SegModel, config: ExportConfig) -> Calibration:
    """Return a graph with the histograms of its activations on the images of the folder."""

    def batches() -> Iterator[NDArray[Any]]:
        return calibration_batches(model, config)

    return calibrate(graph, batches)


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
        return tuple(name.strip() for name in config.keep_float.split(",") if name.strip())
    on_note("Measuring which layers cost labels.")
    found = find_sensitive(calibration, batches, **options)
    names = ", ".join(found.keep_float) or "none"
    on_note(
        f"Layers that stay float32: {names}. Equal labels on {MEASURED} images: "
        f"{found.before:.2%} without, {found.after:.2%} with them."
    )
    return found.keep_float
