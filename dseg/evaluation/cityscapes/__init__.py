"""The official Cityscapes scores: dseg's exact engine, and the official script."""

from dseg.evaluation.cityscapes.official_script import evaluate_official
from dseg.evaluation.cityscapes.scores import evaluate_cityscapes

__all__ = ["evaluate_cityscapes", "evaluate_official"]
