"""Export a network to a file of another runtime, and verify it against PyTorch."""

from dseg.export.calibrate import calibration_batches
from dseg.export.compare import Row, compare
from dseg.export.verify import LEAST_AGREEMENT, Check, find_readers, verify, worst_agreement
from dseg.export.write import export

__all__ = [
    "LEAST_AGREEMENT",
    "Check",
    "Row",
    "calibration_batches",
    "compare",
    "export",
    "find_readers",
    "verify",
    "worst_agreement",
]
