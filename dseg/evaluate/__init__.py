"""Scores of predictions: the official Cityscapes ones, exact and fast, and plain ones."""

from dseg.evaluate.checks import refuse_blank_truth, refuse_other_classes, refuse_train_ids
from dseg.evaluate.cityscapes.instances import find_shallow_instances
from dseg.evaluate.cityscapes.official import evaluate_official
from dseg.evaluate.cityscapes.scores import evaluate_cityscapes
from dseg.evaluate.matching import (
    Pairs,
    find_cityscapes_pairs,
    find_dataset_pairs,
    find_folder_pairs,
    find_image_pairs,
    prediction_folder,
)
from dseg.evaluate.miou import evaluate_dataset, evaluate_pairs
from dseg.evaluate.reading import predictions_of
from dseg.evaluate.report import make_csv, make_json, make_tables
from dseg.evaluate.results import CityscapesScores, ClassScores, ImageScores

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
