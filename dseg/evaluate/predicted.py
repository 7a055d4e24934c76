"""Predictions that are scored as a network makes them, without files in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dseg.datasets.mapping import TABLES
from dseg.errors import DsegError
from dseg.evaluate.confusion import Ids
from dseg.evaluate.pairs import Pairs, first_of, masks_of
from dseg.images import read_image
from dseg.labels import LABEL_SPACES, LabelSpace, unnamed_label_space

if TYPE_CHECKING:
    from dseg.datasets import Dataset
    from dseg.predict import Predictor


@contextmanager
def predictions_of(predictor: Predictor) -> Iterator[Callable[[Path], Ids]]:
    """Give what reads an image and returns its train ids, (H, W) uint8, for ``read_prediction``.

    Several threads may call it: they decode and count beside each other, and one predicts; each
    waits for its own labels, so that a GPU gets the next image meanwhile. Each holds one image.
    """
    forward = ThreadPoolExecutor(1)

    def read(image: Path) -> Ids:
        pending = forward.submit(predictor.begin, read_image(image)).result()
        return pending.result().train_ids

    try:
        yield read
    finally:
        forward.shutdown(wait=False, cancel_futures=True)


def find_image_pairs(dataset: Dataset, *, official: bool = False) -> Pairs:
    """Pair the masks of a split with their images, which stand in place of predictions.

    Args:
        dataset: the split.
        official: only label ids will do, and the order is that of ``find_cityscapes_pairs``.

    Raises:
        DsegError: a mask is missing, or with ``official`` holds no label ids.
    """
    pairs = list(zip(masks_of(dataset), (s.image for s in dataset.samples), strict=True))
    if official:
        pairs.sort()
        others = [mask for mask, _ in pairs if not mask.name.endswith("labelIds.png")]
        if others:
            raise DsegError(
                f"{len(others)} of {len(pairs)} masks are no *_labelIds.png, which the official "
                f"scores need: {first_of(others)}.",
                hint="score what there is with --label-space cityscapes.",
            )
    return Pairs(
        gt_files=[mask for mask, _ in pairs],
        pred_files=[image for _, image in pairs],
        missing=[],
    )


def refuse_other_classes(network: LabelSpace, masks: LabelSpace, dataset: str) -> None:
    """Raise a DsegError unless a network's classes are those that masks are read as.

    Classes that nobody has named are taken for those of the masks if there are as many.

    Args:
        network: its classes.
        masks: those of the masks.
        dataset: its name, for the message.
    """
    size = masks.num_classes
    if network.names in (masks.names, unnamed_label_space(size).names):
        return
    hint = f"choose a network of the {size} classes of {masks.name}, or another data set."
    mapped = dataset == "folder" and network.name in LABEL_SPACES
    if mapped or (masks.name, network.name) in TABLES:
        hint = f"read the masks as the network's classes: --label-space {network.name}."
    raise DsegError(
        f"The network has the {network.num_classes} classes of {network.name}, but the masks of "
        f"{dataset} are read as the {size} of {masks.name}.",
        hint=hint,
    )
