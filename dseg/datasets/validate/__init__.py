"""Checks of a data set before it is trained on or scored: what ``dseg check-data`` does."""

from dseg.datasets.validate.check import check_dataset
from dseg.datasets.validate.report import DataReport, Fault, class_weights

__all__ = ["DataReport", "Fault", "check_dataset", "class_weights"]
