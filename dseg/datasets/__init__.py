"""Data sets: which image goes with which mask, and what the mask's values mean."""

from dseg.datasets.base import Dataset, Encoding, Pair, Sample, join_datasets
from dseg.datasets.check import check_dataset
from dseg.datasets.load import Found, find_dataset, find_dataset_name, find_splits, load_dataset
from dseg.datasets.report import DataReport, Fault, class_weights
from dseg.datasets.table import DATASETS, DatasetSpec

__all__ = [
    "DATASETS",
    "DataReport",
    "Dataset",
    "DatasetSpec",
    "Encoding",
    "Fault",
    "Found",
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
