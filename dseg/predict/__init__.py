"""From images to masks: one image by ``Predictor``, folders of them by ``predict_folder``."""

from dseg.predict.pending import Pending, Prediction
from dseg.predict.pipeline import predict_images
from dseg.predict.predictor import Predictor
from dseg.predict.record import Settings
from dseg.predict.sources import KINDS, ImageFile, find_images
from dseg.predict.summary import Summary
from dseg.protocol import Protocol

__all__ = [
    "KINDS",
    "ImageFile",
    "Pending",
    "Prediction",
    "Predictor",
    "Protocol",
    "Settings",
    "Summary",
    "find_images",
    "predict_images",
]
