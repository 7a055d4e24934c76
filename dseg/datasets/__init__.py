"""Data sets: pairs of image and mask files, and the meaning of the mask values."""

from dseg.datasets.base import Dataset, Encoding, Pair, Sample, join_datasets
from dseg.datasets.listing import DatasetTree, Listing, pair_files, walk_images
from dseg.datasets.load import (
    FoundSplit,
    find_dataset,
    find_dataset_name,
    find_splits,
    load_dataset,
)
from dseg.datasets.table import DATASETS, DatasetSpec

__all__ = [
    "DATASETS",
    "Dataset",
    "DatasetSpec",
    "DatasetTree",
    "Encoding",
    "FoundSplit",
    "Listing",
    "Pair",
    "Sample",
    "find_dataset",
    "find_dataset_name",
    "find_splits",
    "join_datasets",
    "load_dataset",
    "pair_files",
    "walk_images",
]
