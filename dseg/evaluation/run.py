"""``evaluate``: the scores of a folder of predictions in one call, for notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dseg.config.evaluation import OFFICIAL
from dseg.datasets import find_dataset_name, load_dataset
from dseg.errors import DsegError
from dseg.evaluation.checks import refuse_blank_truth, refuse_train_ids
from dseg.evaluation.cityscapes.scores import evaluate_cityscapes
from dseg.evaluation.matching import (
    find_cityscapes_pairs,
    find_dataset_pairs,
    find_folder_pairs,
    prediction_folder,
)
from dseg.evaluation.miou import evaluate_dataset, evaluate_pairs
from dseg.evaluation.results import CityscapesScores, ClassScores
from dseg.labels import LabelSpace, find_label_space
from dseg.labels.cityscapes import CITYSCAPES


def evaluate(
    pred_dir: Path | str,
    gt_dir: Path | str | None = None,
    *,
    dataset: str | None = None,
    data_dir: Path | str | None = None,
    split: str = "val",
    class_file: Path | str | None = None,
    label_space: LabelSpace | str | None = None,
    pred_ids: str | None = None,
    instances: bool = True,
    allow_missing: bool = False,
    accept_lossy: bool = False,
    per_image: bool = False,
    workers: int | None = None,
) -> CityscapesScores | ClassScores:
    """Score a folder of predictions, with the rules and defaults of ``dseg eval``.

    Ground truth in Cityscapes' layout gets the official scores, unless another label space is
    named; every other data set gets plain IoU and accuracy.

    Example:
        >>> dseg.evaluate("results", "gtFine/val").class_iou["road"]
        >>> dseg.evaluate("results", dataset="camvid", data_dir="CamVid", split="test").mean_iou

    Args:
        pred_dir: folder of predicted masks, or the output folder of ``dseg infer``.
        gt_dir: folder of ground-truth masks; or name ``data_dir`` instead.
        dataset: name of the data set in ``data_dir``, as of ``load_dataset``.
        data_dir: folder of the data set; without ``dataset``, Cityscapes.
        split: split of the data set.
        class_file: class file of a ``folder`` data set, as of ``load_dataset``.
        label_space: the classes; by default Cityscapes', or those of the data set.
        pred_ids: ids in the predictions, "label" or "train"; None for label ids, with a check that
            they are not train ids.
        instances: whether to compute iIoU, which only the official scores have.
        allow_missing: leave out ground truth that has no prediction.
        accept_lossy: read masks whose compression may have changed their values.
        per_image: also keep the scores of each image.
        workers: number of threads, by default one for each core; the result does not depend on it.

    Raises:
        DsegError: files are missing, unreadable or do not match, a value has no meaning, no pixel
            is scored, or the arguments contradict each other.
    """
    space = find_label_space(label_space) if isinstance(label_space, str) else label_space
    official = space in (None, CITYSCAPES)
    if dataset is not None:
        dataset = find_dataset_name(dataset)
        official = space is None and dataset in OFFICIAL
    truth = _find_truth(gt_dir, dataset, data_dir, split, official)
    _check_ids(pred_ids, official or dataset is not None)
    folder = prediction_folder(Path(pred_dir), "train_ids" if pred_ids == "train" else "label_ids")
    options: dict[str, Any] = {
        "workers": workers, "per_image": per_image, "accept_lossy": accept_lossy
    }  # fmt: skip
    if official:
        pairs = find_cityscapes_pairs(truth, folder, allow_missing=allow_missing)
        files = pairs.gt_files, pairs.pred_files
        ids = pred_ids or "label"
        scores = evaluate_cityscapes(*files, instances=instances, pred_ids=ids, **options)
        refuse_blank_truth(scores, truth)
        if pred_ids is None:
            refuse_train_ids(scores.confusion, folder)
        return scores
    plain: ClassScores
    if dataset is not None:
        classes = None if class_file is None else Path(class_file)
        samples = load_dataset(dataset, truth, split, space=space, class_file=classes)
        pairs = find_dataset_pairs(samples, folder, allow_missing=allow_missing)
        files = pairs.gt_files, pairs.pred_files
        plain = evaluate_dataset(*files, samples, pred_ids=pred_ids, **options)
    else:
        pairs = find_folder_pairs(truth, folder, allow_missing=allow_missing)
        plain = evaluate_pairs(pairs.gt_files, pairs.pred_files, space or CITYSCAPES, **options)
    refuse_blank_truth(plain, truth)
    return plain


def _find_truth(
    gt_dir: Path | str | None,
    dataset: str | None,
    data_dir: Path | str | None,
    split: str,
    official: bool,
) -> Path:
    """Return the folder of the ground truth, or of the data set that holds it.

    Raises:
        DsegError: none is named, two are, or the kind of a data set is not.
    """
    if dataset is not None and (gt_dir is not None or data_dir is None):
        raise DsegError(
            f"The folder of the data set {dataset} must be named with data_dir.",
            hint="give data_dir and no gt_dir.",
        )
    if (gt_dir is None) == (data_dir is None):
        problem = "No ground truth is named." if gt_dir is None else "Two are named."
        raise DsegError(problem, hint="give one of gt_dir (gtFine/val) and data_dir (cityscapes).")
    if data_dir is None or gt_dir is not None:
        return Path(gt_dir or ".")
    if official:
        return Path(data_dir, "gtFine", split)
    if dataset is None:
        raise DsegError(
            "data_dir without dataset is Cityscapes, in its own label space.",
            hint="name the data set with dataset, or its masks with gt_dir.",
        )
    return Path(data_dir)


def _check_ids(pred_ids: str | None, convertible: bool) -> None:
    """Raise a DsegError for unknown ids, or ids that the engine does not convert."""
    if pred_ids not in (None, "label", "train"):
        raise DsegError(f"Unknown pred_ids {pred_ids!r}.", hint='use "label" or "train".')
    if pred_ids is not None and not convertible:
        raise DsegError(
            "pred_ids is for Cityscapes and for data sets only.",
            hint="leave it out, and give masks of label ids.",
        )
