"""Evaluation: the official Cityscapes scores, exact and fast, and plain IoU and accuracy."""

from dseg.evaluation.checks import refuse_blank_truth, refuse_other_classes, refuse_train_ids
from dseg.evaluation.cityscapes.instances import find_shallow_instances
from dseg.evaluation.cityscapes.official_script import evaluate_official
from dseg.evaluation.cityscapes.scores import evaluate_cityscapes
from dseg.evaluation.matching import (
    Pairs,
    find_cityscapes_pairs,
    find_dataset_pairs,
    find_folder_pairs,
    find_image_pairs,
    prediction_folder,
)
from dseg.evaluation.miou import evaluate_dataset, evaluate_pairs
from dseg.evaluation.reading import predictions_of
from dseg.evaluation.report import make_csv, make_json, make_tables
from dseg.evaluation.results import CityscapesScores, ClassScores, ImageScores
from dseg.evaluation.run import evaluate

__all__ = [
    "CityscapesScores",
    "ClassScores",
    "ImageScores",
    "Pairs",
    "evaluate",
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
