"""From images to masks: one image by ``Predictor``, folders of them by ``predict_folder``."""

from dseg.predict.inputs import RESULT_KINDS, ImageFile, find_images
from dseg.predict.manifest import Manifest
from dseg.predict.pipeline import predict_images
from dseg.predict.prediction import Pending, Prediction
from dseg.predict.predictor import Predictor
from dseg.predict.summary import Summary
from dseg.protocol import Protocol

__all__ = [
    "RESULT_KINDS",
    "ImageFile",
    "Manifest",
    "Pending",
    "Prediction",
    "Predictor",
    "Protocol",
    "Summary",
    "find_images",
    "predict_images",
]
