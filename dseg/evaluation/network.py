"""evaluate_network: the scores of a network, without masks on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dseg.config.evaluation import OFFICIAL
from dseg.datasets import find_dataset_name, load_dataset
from dseg.evaluation.checks import refuse_blank_truth, refuse_other_classes
from dseg.evaluation.cityscapes.scores import evaluate_cityscapes
from dseg.evaluation.matching import find_image_pairs
from dseg.evaluation.miou import evaluate_dataset
from dseg.evaluation.reading import predictions_of
from dseg.evaluation.results import CityscapesScores, ClassScores
from dseg.labels import LabelSpace, find_label_space
from dseg.labels.cityscapes import CITYSCAPES
from dseg.parallel import count_cores

if TYPE_CHECKING:
    from dseg.predict import Predictor

AHEAD = 8  # images to decode while a network predicts, at most one per core


def evaluate_network(
    predictor: Predictor,
    dataset: str,
    root: Path | str,
    split: str,
    *,
    class_file: Path | str | None = None,
    label_space: LabelSpace | str | None = None,
    instances: bool = True,
    accept_lossy: bool = False,
    per_image: bool = False,
    workers: int | None = None,
) -> CityscapesScores | ClassScores:
    """Score a network on a split, as ``dseg eval --model`` does.

    Tiles are not made smaller if memory is short, since such scores are not comparable.

    Args:
        predictor: the network.
        dataset, root, split, class_file: the data, as of ``load_dataset``.
        label_space, instances, accept_lossy, per_image, workers: as of ``evaluate``.

    Raises:
        DsegError: unusable data, other classes than the network's, or too little memory.
    """
    name = find_dataset_name(dataset)
    space = find_label_space(label_space) if isinstance(label_space, str) else label_space
    official = name in OFFICIAL and space is None
    classes = None if class_file is None else Path(class_file)
    samples = load_dataset(name, root, split, space=space, class_file=classes)
    target = CITYSCAPES if official else samples.space
    refuse_other_classes(predictor.label_space, target, name)
    pairs = find_image_pairs(samples, official=official)
    files = pairs.gt_files, pairs.pred_files
    fall_back, predictor.fall_back = predictor.fall_back, False
    try:
        with predictions_of(predictor) as read_prediction:
            options: dict[str, Any] = {
                "workers": workers or min(AHEAD, count_cores()),
                "per_image": per_image,
                "accept_lossy": accept_lossy,
                "read_prediction": read_prediction,
                "pred_ids": "train",
            }
            scores: CityscapesScores | ClassScores
            if official:
                scores = evaluate_cityscapes(*files, instances=instances, **options)
            else:
                scores = evaluate_dataset(*files, samples, **options)
    finally:
        predictor.fall_back = fall_back
    refuse_blank_truth(scores, Path(root))
    return scores
