"""Quantise the graph of a network on the images of a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from dseg.config.export import ExportConfig
from dseg.export.calibrate import calibration_batches
from dseg.models import SegModel
from dseg.quantisation import Calibration, calibrate, find_sensitive

if TYPE_CHECKING:
    from onnx import ModelProto

MEASURED = 6  # images on which the sensitivity of layers is measured
MEASURED_PIXELS = 140_000  # of each


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

    Raises:
        DsegError: a layer to keep does not exist.
    """
    symmetric = config.activations == "int8"
    keep = _layers_to_keep(calibration, model, config, symmetric, on_note)
    return calibration.quantise(method=config.calibration, keep_float=keep, symmetric=symmetric)


def _layers_to_keep(
    calibration: Calibration,
    model: SegModel,
    config: ExportConfig,
    symmetric: bool,
    on_note: Callable[[str], None],
) -> tuple[str, ...]:
    if config.keep_float == "none":
        return ()
    if config.keep_float != "auto":
        return tuple(name.strip() for name in config.keep_float.split(",") if name.strip())
    on_note("Measuring which layers cost labels.")
    few = replace(config, count=MEASURED)
    most = None if config.size is not None else MEASURED_PIXELS

    def batches() -> Iterator[NDArray[Any]]:
        return calibration_batches(model, few, most_pixels=most)

    found = find_sensitive(calibration, batches, method=config.calibration, symmetric=symmetric)
    names = ", ".join(found.keep_float) or "none"
    on_note(
        f"Layers that stay float32: {names}. Equal labels on {MEASURED} images: "
        f"{found.before:.2%} without, {found.after:.2%} with them."
    )
    return found.keep_float
