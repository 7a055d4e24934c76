"""``dseg.evaluate``: the scores of a network, or of a folder of predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dseg.api.data import find_data
from dseg.api.words import in_python
from dseg.config import EvalConfig, NetworkConfig
from dseg.errors import DsegError
from dseg.evaluation import CityscapesScores, ClassScores
from dseg.evaluation import evaluate as evaluate_folder
from dseg.labels import LabelSpace

if TYPE_CHECKING:
    from torch import nn

    from dseg.predict import Predictor


@in_python(EvalConfig, NetworkConfig)
def evaluate(
    pred_dir: Path | str | None = None,
    gt_dir: Path | str | None = None,
    *,
    model: str | Predictor | nn.Module | None = None,
    weights: Path | str | None = None,
    data: Any = None,
    dataset: str | None = None,
    data_dir: Path | str | None = None,
    split: str = "val",
    device: str = "auto",
    class_file: Path | str | None = None,
    label_space: LabelSpace | str | None = None,
    pred_ids: str | None = None,
    instances: bool = True,
    allow_missing: bool = False,
    accept_lossy: bool = False,
    per_image: bool = False,
    workers: int | None = None,
) -> CityscapesScores | ClassScores:
    """Score a network on a data set, or a folder of predictions, as ``dseg eval`` does.

    Ground truth in Cityscapes' layout gets the official scores, unless another label space is
    named; every other data set gets plain IoU and accuracy.

    Example:
        >>> dseg.evaluate(weights="run/best.safetensors", data="my-photos").mean_iou
        >>> dseg.evaluate(model="dabnet", data=("cityscapes", "cityscapes")).class_iou["road"]
        >>> dseg.evaluate("results", "gtFine/val").mean_iou
        >>> dseg.evaluate("results", data=("camvid", "CamVid"), split="test").mean_iou

    Args:
        pred_dir: folder of predicted masks, or the output folder of ``dseg infer``; if no network
            is named.
        gt_dir: folder of ground-truth masks; or name ``data`` instead.
        model: name of a network, a ``Predictor``, or a network of ``build_model``.
        weights: its checkpoint, as of ``load``.
        data: folder of own images and masks, or a pair of a data set's name and folder.
        dataset, data_dir: the two of such a pair; ``data_dir`` alone is Cityscapes.
        split: split of the data set.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        class_file: class file of own data, as of ``load_dataset``.
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
    if data is not None:
        dataset, data_dir = _one_of(data, dataset, data_dir)
    if model is None and weights is None:
        if pred_dir is None:
            raise DsegError(
                "Neither predictions nor a network are named.",
                hint='name one: pred_dir="results", or model="dabnet".',
            )
        return evaluate_folder(
            pred_dir,
            gt_dir,
            dataset=dataset,
            data_dir=data_dir,
            split=split,
            class_file=class_file,
            label_space=label_space,
            pred_ids=pred_ids,
            instances=instances,
            allow_missing=allow_missing,
            accept_lossy=accept_lossy,
            per_image=per_image,
            workers=workers,
        )
    if pred_dir is not None or gt_dir is not None or dataset is None or data_dir is None:
        raise DsegError(
            "A network is scored on a data set.",
            hint='name it with data=("camvid", "CamVid") or data="my-photos", and no folders of '
            "masks.",
        )
    from dseg.evaluation.network import evaluate_network

    return evaluate_network(
        _find_predictor(model, weights, device),
        dataset,
        data_dir,
        split,
        class_file=class_file,
        label_space=label_space,
        instances=instances,
        accept_lossy=accept_lossy,
        per_image=per_image,
        workers=workers,
    )


def _one_of(data: Any, dataset: str | None, data_dir: Path | str | None) -> tuple[str, Path | str]:
    """Return the name and folder of ``data``.

    Raises:
        DsegError: the data are named twice, or are several data sets.
    """
    if dataset is not None or data_dir is not None:
        raise DsegError(
            "The data are named twice.", hint="give either data, or dataset and data_dir."
        )
    found = find_data(data)
    if len(found) > 1:
        raise DsegError(f"{len(found)} data sets are named.", hint="score one after another.")
    return found[0]


def _find_predictor(
    model: str | Predictor | nn.Module | None, weights: Path | str | None, device: str
) -> Predictor:
    """Return the predictor of a network.

    Raises:
        DsegError: as ``load``, or a network that has its weights gets others.
    """
    from dseg.api.loading import load
    from dseg.predict import Predictor

    if model is None or isinstance(model, str):
        return load(model, weights, device=device)
    if weights is not None:
        raise DsegError(
            "The network has its weights already.",
            hint='leave out weights, or name the network: model="dabnet".',
        )
    return model if isinstance(model, Predictor) else Predictor(model, device=device)
