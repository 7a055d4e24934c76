"""What an evaluation returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dseg.evaluation.confusion import Counts
from dseg.labels import LabelSpace

Scores = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class ImageScores:
    """Scores of one image; 0 to 1, NaN where there is nothing to score.

    Attributes:
        ground_truth: its mask file.
        prediction: the file scored against it.
        scored_pixels: pixels whose ground truth is a scored class.
        ignored_pixels: all others.
        ignored_unequal: of those, the pixels where the two files hold different ids; the
            official script counts them (Cityscapes only, else 0).
        pixel_accuracy: share of the scored pixels that is right.
        mean_iou: mean over the classes present in the image.
        class_iou: of each scored class.
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
    """The official scores, 0 to 1; NaN for what is ignored, absent or was not asked for.

    Attributes:
        engine: "dseg" or "cityscapesscripts".
        num_images: how many pairs were scored.
        instances: whether iIoU was computed; if not, every iIoU is NaN.
        confusion: (34, 34) int64, ground truth by prediction, ignored labels included.
        class_iou: of the 34 labels.
        class_iiou: of the 34 labels; only the 8 scored ones with instances have one.
        category_iou: of the 8 categories; void has none.
        category_iiou: of the 8 categories; only human and vehicle have one.
        priors: share of each label in the ground truth.
        mean_iou: over the scored classes, and so on for the other three.
        images: one entry an image, if asked for.
    """

    engine: str
    num_images: int
    instances: bool
    confusion: Counts
    class_iou: Scores
    class_iiou: Scores
    category_iou: Scores
    category_iiou: Scores
    priors: Scores
    mean_iou: float
    mean_iiou: float
    mean_category_iou: float
    mean_category_iiou: float
    images: tuple[ImageScores, ...] = ()

    def official_dict(self) -> dict[str, object]:
        """Return the scores under the keys of the official result file; NaN stays NaN.

        ``perImageScores`` has the official names too, which say the opposite of what is counted:
        ``nbNotIgnoredPixels`` are the ignored ones, ``nbCorrectPixels`` the unequal ones of them.
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
        num_images: how many pairs were scored.
        confusion: (K, K + 1) int64; the last column counts predictions of no class.
        ignored_pixels: pixels whose ground truth is no scored class.
        class_iou: by class name.
        class_accuracy: the share of each class's pixels that is right, by class name.
        mean_iou: over the classes that occur.
        mean_accuracy: over the classes that occur in the ground truth.
        pixel_accuracy: over all scored pixels.
        images: one entry an image, if asked for.
    """

    space: LabelSpace
    num_images: int
    confusion: Counts
    ignored_pixels: int
    class_iou: Scores
    class_accuracy: Scores
    mean_iou: float
    mean_accuracy: float
    pixel_accuracy: float
    images: tuple[ImageScores, ...] = ()
