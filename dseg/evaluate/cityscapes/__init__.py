"""The official Cityscapes scores: our exact engine, and the authors' own."""

from dseg.evaluate.cityscapes.official import evaluate_official
from dseg.evaluate.cityscapes.scores import evaluate_cityscapes

__all__ = ["evaluate_cityscapes", "evaluate_official"]
