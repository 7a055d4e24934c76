"""Scores of predictions: the official Cityscapes ones, exact and fast, and plain ones."""

from dseg.evaluate.cityscapes import evaluate_cityscapes
from dseg.evaluate.dataset import evaluate_dataset
from dseg.evaluate.official import evaluate_official
from dseg.evaluate.pairs import (
    Pairs,
    find_cityscapes_pairs,
    find_dataset_pairs,
    find_folder_pairs,
    find_shallow_instances,
    prediction_folder,
)
from dseg.evaluate.plain import evaluate_pairs
from dseg.evaluate.plausibility import refuse_blank_truth, refuse_train_ids
from dseg.evaluate.predicted import find_image_pairs, predictions_of, refuse_other_classes
from dseg.evaluate.report import make_csv, make_json, make_tables
from dseg.evaluate.scores import CityscapesScores, ClassScores, ImageScores

__all__ = [
    "CityscapesScores",
    "ClassScores",
    "ImageScores",
    "Pairs",
    "evaluate_cityscapes",
    "evaluate_dataset",
    "evaluate_official",
    "evaluate_pairs",
    "find_cityscapes_pairs",
    "find_dataset_pairs",
    "find_folder_pairs",
    "find_image_pairs",
    "find_shallow_instances",
    "make_csv",
    "make_json",
    "make_tables",
    "prediction_folder",
    "predictions_of",
    "refuse_blank_truth",
    "refuse_other_classes",
    "refuse_train_ids",
]
