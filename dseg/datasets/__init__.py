"""Data sets: pairs of image and mask files, and the meaning of the mask values."""

from dseg.datasets.base import Dataset, Encoding, Pair, Sample, join_datasets
from dseg.datasets.load import (
    FoundSplit,
    find_dataset,
    find_dataset_name,
    find_splits,
    load_dataset,
)
from dseg.datasets.table import DATASETS, DatasetSpec
from dseg.datasets.validate.check import check_dataset
from dseg.datasets.validate.report import DataReport, Fault, class_weights

__all__ = [
    "DATASETS",
    "DataReport",
    "Dataset",
    "DatasetSpec",
    "Encoding",
    "Fault",
    "FoundSplit",
    "Pair",
    "Sample",
    "check_dataset",
    "class_weights",
    "find_dataset",
    "find_dataset_name",
    "find_splits",
    "join_datasets",
    "load_dataset",
]
