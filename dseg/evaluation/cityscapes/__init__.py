"""The official Cityscapes scores: our exact engine, and the authors' own."""

from dseg.evaluation.cityscapes.official import evaluate_official
from dseg.evaluation.cityscapes.scores import evaluate_cityscapes

__all__ = ["evaluate_cityscapes", "evaluate_official"]
