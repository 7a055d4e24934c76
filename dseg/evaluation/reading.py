"""Reading a pair of ground truth and prediction as arrays of one size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dseg.errors import DsegError
from dseg.evaluation.values import VALUES, IdMap
from dseg.images import lossy_error, read_image, read_loss, read_mask

if TYPE_CHECKING:
    from dseg.predict import Predictor

ReadIds = Callable[[Path], IdMap]  # called from several threads


def read_ids(path: Path, *, accept_lossy: bool = False) -> IdMap:
    """Read a mask whose ids fit 8 bits, whatever the file's bit depth: (H, W) uint8.

    Raises:
        DsegError: unreadable, colours, lossy compression, or an id below 0 or above 255.
    """
    values = read_mask(path, accept_lossy=accept_lossy)
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    numbers = values.astype(np.int64)
    wrong = numbers[(numbers < 0) | (numbers >= VALUES)]
    if wrong.size:
        raise DsegError(
            f"{path} holds id {wrong[0]} ({wrong.size:,} pixels are outside 0..255).",
            hint="class ids are 0 to 255; is it a file of instances or of depth?",
        )
    return numbers.astype(np.uint8)


def refuse_lossy(files: Sequence[Path]) -> None:
    """Raise a DsegError for the first mask whose compression may have changed its ids."""
    for path in files:
        if loss := read_loss(path):
            raise lossy_error(path, loss)


def refuse_unequal_sizes(
    first: Path, first_ids: NDArray[np.generic], second: Path, second_ids: NDArray[np.generic]
) -> None:
    """Raise a DsegError that names both files and sizes unless these are equal."""
    if first_ids.shape == second_ids.shape:
        return
    sizes = ["x".join(str(side) for side in ids.shape[::-1]) for ids in (first_ids, second_ids)]
    raise DsegError(
        f"{second} has {sizes[1]} pixels, but {first} has {sizes[0]} (width x height).",
        hint="masks and predictions have the size of the original image; dseg infer keeps it.",
    )


def read_masks(
    gt_file: Path,
    pred_file: Path,
    read_truth: ReadIds = read_ids,
    read_prediction: ReadIds = read_ids,
) -> tuple[IdMap, IdMap]:
    """Read ground truth and prediction: (H, W) uint8 both.

    Raises:
        DsegError: a file that cannot be read, or files of different size.
    """
    truth, prediction = read_truth(gt_file), read_prediction(pred_file)
    refuse_unequal_sizes(gt_file, truth, pred_file, prediction)
    return truth, prediction


def refuse_no_pairs(gt_files: Sequence[Path], pred_files: Sequence[Path]) -> None:
    """Raise a DsegError unless there are as many predictions as masks, and at least one."""
    if len(gt_files) != len(pred_files):
        raise DsegError(
            f"{len(gt_files)} ground-truth files but {len(pred_files)} predictions.",
            hint="give one prediction for each ground-truth file, in the same order.",
        )
    if not gt_files:
        raise DsegError("There is nothing to score.", hint="give at least one pair of files.")


@contextmanager
def predictions_of(predictor: Predictor) -> Iterator[ReadIds]:
    """Yield a function that predicts an image file's train ids, for ``read_prediction``.

    The function returns (H, W) uint8 and can be called from several threads: they decode and count
    concurrently, and one further thread predicts. Each caller waits for its own labels only, so a
    GPU gets the next image meanwhile. Each caller holds one image in memory.
    """
    forward = ThreadPoolExecutor(1)

    def read(image: Path) -> IdMap:
        pending = forward.submit(predictor.begin, read_image(image)).result()
        return pending.result().train_ids

    try:
        yield read
    finally:
        forward.shutdown(wait=False, cancel_futures=True)
