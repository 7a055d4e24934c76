"""The scores that an evaluation returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dseg.evaluation.values import Counts
from dseg.labels import LabelSpace

Scores = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class ImageScores:
    """Scores of one image; 0 to 1, NaN where there is nothing to score.

    Attributes:
        ground_truth: path of the ground-truth mask.
        prediction: path of the predicted mask, or of the image that a network predicted.
        scored_pixels: number of pixels whose ground truth is a scored class.
        ignored_pixels: number of all other pixels.
        ignored_unequal: number of ignored pixels where the two files hold different ids; the
            official script counts them (Cityscapes only, else 0).
        pixel_accuracy: fraction of the scored pixels that is correct.
        mean_iou: mean IoU over the classes present in the image.
        class_iou: IoU of each scored class, by name.
    """

    ground_truth: Path
    prediction: Path
    scored_pixels: int
    ignored_pixels: int
    ignored_unequal: int = 0
    pixel_accuracy: float
    mean_iou: float
    class_iou: Scores


@dataclass(frozen=True, kw_only=True)
class CityscapesScores:
    """The official scores, 0 to 1; NaN for ignored or absent classes and scores not computed.

    Attributes:
        engine: "dseg" or "cityscapesscripts".
        num_images: number of pairs scored.
        instances: whether iIoU was computed; if not, every iIoU is NaN.
        confusion: (34, 34) int64, ground truth by prediction, ignored labels included.
        class_iou: IoU of the 34 labels, by name.
        class_iiou: iIoU of the 34 labels; only the 8 scored labels with instances have one.
        category_iou: IoU of the 8 categories; void has none.
        category_iiou: iIoU of the 8 categories; only human and vehicle have one.
        priors: fraction of each label in the ground truth.
        mean_iou, mean_iiou: means over the scored classes.
        mean_category_iou, mean_category_iiou: means over the categories.
        images: one entry for each image with ``per_image``, else empty.
    """

    engine: str
    num_images: int
    instances: bool
    confusion: Counts = field(repr=False)
    class_iou: Scores
    class_iiou: Scores
    category_iou: Scores
    category_iiou: Scores
    priors: Scores
    mean_iou: float
    mean_iiou: float
    mean_category_iou: float
    mean_category_iiou: float
    images: tuple[ImageScores, ...] = field(default=(), repr=False)

    def official_dict(self) -> dict[str, object]:
        """Return the scores under the keys of the official result file; NaN stays NaN.

        ``perImageScores`` has the official names too, which mean the opposite of what is counted:
        ``nbNotIgnoredPixels`` is ``ignored_pixels``, ``nbCorrectPixels`` is ``ignored_unequal``.
        """
        result: dict[str, object] = {
            "confMatrix": self.confusion.tolist(),
            "priors": dict(self.priors),
            "labels": {name: label_id for label_id, name in enumerate(self.priors)},
            "classScores": dict(self.class_iou),
            "classInstScores": dict(self.class_iiou),
            "categoryScores": dict(self.category_iou),
            "categoryInstScores": dict(self.category_iiou),
            "averageScoreClasses": self.mean_iou,
            "averageScoreInstClasses": self.mean_iiou,
            "averageScoreCategories": self.mean_category_iou,
            "averageScoreInstCategories": self.mean_category_iiou,
        }
        if self.images:
            result["perImageScores"] = {
                str(image.prediction): {
                    "nbNotIgnoredPixels": image.ignored_pixels,
                    "nbCorrectPixels": image.ignored_unequal,
                }
                for image in self.images
            }
        return result


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """Plain scores of K classes, 0 to 1, NaN for an absent class.

    Attributes:
        space: the classes.
        num_images: number of pairs scored.
        confusion: (K, K + 1) int64; the last column counts predictions of no class.
        ignored_pixels: number of pixels whose ground truth is not a scored class.
        class_iou: IoU of each class, by name.
        class_accuracy: fraction of each class's pixels that is correct, by name.
        mean_iou: mean IoU over the classes that occur.
        mean_accuracy: mean accuracy over the classes that occur in the ground truth.
        pixel_accuracy: fraction of all scored pixels that is correct.
        images: one entry for each image with ``per_image``, else empty.
    """

    space: LabelSpace = field(repr=False)
    num_images: int
    confusion: Counts = field(repr=False)
    ignored_pixels: int
    class_iou: Scores
    class_accuracy: Scores
    mean_iou: float
    mean_accuracy: float
    pixel_accuracy: float
    images: tuple[ImageScores, ...] = field(default=(), repr=False)
