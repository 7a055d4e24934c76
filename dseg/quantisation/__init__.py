"""Post-training quantisation of an ONNX graph to 8 bits."""

from __future__ import annotations

from dseg.quantisation.calibration import (
    METHOD,
    Calibration,
    calibrate,
    find_layers,
    quantise,
    refuse_unknown_layers,
)
from dseg.quantisation.observe import Batches
from dseg.quantisation.ranges import METHODS
from dseg.quantisation.sensitivity import Sensitivity, agreement, find_sensitive

__all__ = [
    "METHOD",
    "METHODS",
    "Batches",
    "Calibration",
    "Sensitivity",
    "agreement",
    "calibrate",
    "find_layers",
    "find_sensitive",
    "quantise",
    "refuse_unknown_layers",
]
