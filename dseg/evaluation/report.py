"""Scores as tables for a terminal, as strict JSON and as CSV."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from dseg.evaluation.cityscapes.labels import NAMES, SCORED
from dseg.evaluation.confusion import ratio
from dseg.evaluation.results import CityscapesScores, ClassScores, ImageScores
from dseg.jsonio import strict

ABSENT = "-"
MEAN = "mean"


class Table(NamedTuple):
    """A table of strings to print."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    footer: str = ""


def make_tables(scores: CityscapesScores | ClassScores) -> list[Table]:
    """Return the scores as tables, in percent; ``-`` where there is no score."""
    if isinstance(scores, ClassScores):
        return [_plain_table(scores)]
    scored = [NAMES[label_id] for label_id in SCORED]
    classes = [
        (name, *_texts(scores.class_iou[name], scores.class_iiou[name], scores.priors[name]))
        for name in scored
    ]
    classes.append((MEAN, *_texts(scores.mean_iou, scores.mean_iiou), ""))
    categories = [
        (name, *_texts(iou, scores.category_iiou[name]))
        for name, iou in scores.category_iou.items()
        if name != "void"
    ]
    categories.append((MEAN, *_texts(scores.mean_category_iou, scores.mean_category_iiou)))
    title = f"Cityscapes, images: {scores.num_images}, engine: {scores.engine}"
    return [
        Table(title, ("class", "IoU %", "iIoU %", "pixels %"), classes),
        Table("", ("category", "IoU %", "iIoU %"), categories),
    ]


def _plain_table(scores: ClassScores) -> Table:
    pixels, total = scores.confusion.sum(1), int(scores.confusion.sum())
    rows = [
        (name, *_texts(iou, scores.class_accuracy[name], ratio(int(count), total)))
        for (name, iou), count in zip(scores.class_iou.items(), pixels, strict=True)
    ]
    rows.append((MEAN, *_texts(scores.mean_iou, scores.mean_accuracy), ""))
    rows.append(("all pixels", "", *_texts(scores.pixel_accuracy), ""))
    title = f"{scores.space.name}, images: {scores.num_images}"
    return Table(title, ("class", "IoU %", "accuracy %", "pixels %"), rows)


def _texts(*values: float) -> list[str]:
    return [ABSENT if math.isnan(value) else f"{100 * value:.2f}" for value in values]


def make_json(scores: CityscapesScores | ClassScores, missing: Sequence[str] = ()) -> Any:
    """Return the content of ``--json``: the official keys and dseg's own, None for NaN.

    Args:
        scores: the result of any of the engines.
        missing: names of ground-truth files left out because they have no prediction.
    """
    if isinstance(scores, CityscapesScores):
        result = {
            "labelSpace": "cityscapes",
            "engine": scores.engine,
            "numImages": scores.num_images,
            "instances": scores.instances,
            **scores.official_dict(),
        }
    else:
        result = _plain_dict(scores)
    if missing:
        result["missing"] = list(missing)
    if scores.images:
        result["images"] = [_image_dict(image) for image in scores.images]
    return strict(result)


def _plain_dict(scores: ClassScores) -> dict[str, object]:
    pixels, total = scores.confusion.sum(1), int(scores.confusion.sum())
    names = scores.space.names
    return {
        "labelSpace": scores.space.name,
        "engine": "dseg",
        "numImages": scores.num_images,
        "averageScoreClasses": scores.mean_iou,
        "averageAccuracyClasses": scores.mean_accuracy,
        "pixelAccuracy": scores.pixel_accuracy,
        "classScores": dict(scores.class_iou),
        "classAccuracies": dict(scores.class_accuracy),
        "labels": dict(zip(names, scores.space.label_ids, strict=True)),
        "priors": {
            name: ratio(int(count), total) for name, count in zip(names, pixels, strict=True)
        },
        "ignoredPixels": scores.ignored_pixels,
        "confMatrix": scores.confusion.tolist(),
    }


def _image_dict(image: ImageScores) -> dict[str, object]:
    return {
        "groundTruth": str(image.ground_truth),
        "prediction": str(image.prediction),
        "scoredPixels": image.scored_pixels,
        "pixelAccuracy": image.pixel_accuracy,
        "averageScoreClasses": image.mean_iou,
        "classScores": dict(image.class_iou),
    }


def make_csv(images: Iterable[ImageScores]) -> list[list[str]]:
    """Return a header and one row for each image, scores 0 to 1, empty where there is none."""
    rows: list[list[str]] = []
    for image in images:
        if not rows:
            rows.append(["prediction", "scored_pixels", "pixel_accuracy", "mean_iou"])
            rows[0].extend(image.class_iou)
        scores = (image.pixel_accuracy, image.mean_iou, *image.class_iou.values())
        texts = ["" if math.isnan(score) else repr(score) for score in scores]
        rows.append([str(image.prediction), str(image.scored_pixels), *texts])
    return rows
