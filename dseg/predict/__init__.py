"""From images to masks: one image by ``Predictor``, many of them by ``predict_images``."""

from dseg.images import RESULT_KINDS
from dseg.predict.folder import predict_folder
from dseg.predict.inputs import ImageFile, find_images
from dseg.predict.manifest import Manifest
from dseg.predict.prediction import Pending
from dseg.predict.predictor import Predictor
from dseg.predict.result import Prediction
from dseg.predict.runs import predict_images
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
    "predict_folder",
    "predict_images",
]
