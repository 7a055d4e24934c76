"""From images to masks: one image by ``Predictor``, folders of them by ``predict_folder``."""

from dseg.predict.pipeline import KINDS, Settings, Summary, predict_images
from dseg.predict.predictor import Prediction, Predictor, Protocol
from dseg.predict.sources import ImageFile, find_images

__all__ = [
    "KINDS",
    "ImageFile",
    "Prediction",
    "Predictor",
    "Protocol",
    "Settings",
    "Summary",
    "find_images",
    "predict_images",
]
