"""Validate a data set before training or evaluation, as ``dseg check-data`` does."""

from dseg.datasets.checks.check import check_dataset
from dseg.datasets.checks.report import DataReport, Fault, class_weights

__all__ = ["DataReport", "Fault", "check_dataset", "class_weights"]
