"""The engine of cityscapesscripts itself, run in this process without its side effects.

The official script reads environment variables when imported, uses a function that NumPy 2.4
removed, prints to stdout and exits the process on an error. Here it gets explicit lists, the
function for as long as it runs, and a buffer to print to; an error becomes a DsegError.
"""

from __future__ import annotations

import copy
import importlib
import io
import math
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dseg.errors import DsegError
from dseg.evaluation.cityscapes.instances import refuse_missing_instances
from dseg.evaluation.cityscapes.labels import NAMES, SCORED
from dseg.evaluation.cityscapes.scores import count_pair
from dseg.evaluation.confusion import ratio
from dseg.evaluation.reading import refuse_no_pairs
from dseg.evaluation.results import CityscapesScores, ImageScores

MODULE = "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling"
_one_at_a_time = threading.Lock()  # the shim, the environment and stdout are process-wide


def evaluate_official(
    gt_files: Sequence[Path],
    pred_files: Sequence[Path],
    *,
    instances: bool = True,
    per_image: bool = False,
) -> CityscapesScores:
    """Run the official script and return its scores.

    Without instances the script would report an iIoU of 0 for classes with false positives,
    because it has counted no instances; such scores are NaN here.

    Args:
        gt_files: ground truth, ``*_labelIds.png``; for iIoU with ``*_instanceIds.png`` beside it.
        pred_files: one prediction of label ids for each, in the same order.
        instances: whether to compute iIoU.
        per_image: also run the script for each image alone.

    Raises:
        DsegError: the reason for which the script exited.
    """
    refuse_no_pairs(gt_files, pred_files)
    if instances:
        refuse_missing_instances(gt_files)
    with official_module() as module:
        try:
            result = run_official(module, gt_files, pred_files, instances, per_image)
            images = [
                _image_scores(module, gt_file, pred_file, result)
                for gt_file, pred_file in zip(gt_files, pred_files, strict=True)
                if per_image
            ]
        except (SystemExit, Exception) as fault:
            reason = fault.code if isinstance(fault, SystemExit) else fault
            raise _explain(gt_files, pred_files, instances, reason) from fault
    return _make_scores(result, images, instances, len(gt_files))


@contextmanager
def official_module() -> Iterator[Any]:
    """Import the script with what it requires in place, and restore the process afterwards."""
    with _one_at_a_time, _plain_environment(), _in1d_present():
        known = sys.modules.get(MODULE)
        module: Any = known or importlib.import_module(MODULE)
        compiled = module.CSUPPORT
        module.CSUPPORT = False  # the compiled variant writes out of bounds for an id above 33
        try:
            yield module
        finally:
            module.CSUPPORT = compiled
            if known is None:  # the next import reads its own environment
                sys.modules.pop(MODULE, None)


def run_official(
    module: Any,
    gt_files: Sequence[Path],
    pred_files: Sequence[Path],
    instances: bool = True,
    per_image: bool = False,
) -> dict[str, Any]:
    """Call the script on two lists and return its result dictionary unchanged.

    Raises:
        SystemExit: with the script's last line as its code.
    """
    options = copy.copy(module.args)
    options.quiet = True
    options.JSONOutput = False
    options.evalInstLevelScore = instances
    options.evalPixelAccuracy = per_image
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            result: dict[str, Any] = module.evaluateImgLists(
                [str(path) for path in pred_files], [str(path) for path in gt_files], options
            )
    except SystemExit as fault:
        lines = printed.getvalue().strip().splitlines()
        raise SystemExit(lines[-1] if lines else "no reason given") from fault
    return result


@contextmanager
def _plain_environment() -> Iterator[None]:
    """Hide the environment variables that the script reads."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if "CITYSCAPES_" in name}
    try:
        yield
    finally:
        os.environ.update(hidden)


@contextmanager
def _in1d_present() -> Iterator[None]:
    """Define ``numpy.in1d``, which NumPy 2.4 removed."""
    numpy: Any = np  # the type checker does not find in1d either
    if hasattr(numpy, "in1d"):
        yield
        return

    def in1d(ar1: Any, ar2: Any, *, invert: bool = False) -> NDArray[np.bool_]:
        return np.isin(np.ravel(ar1), ar2, invert=invert)

    numpy.in1d = in1d
    try:
        yield
    finally:
        del numpy.in1d


def _explain(
    gt_files: Sequence[Path], pred_files: Sequence[Path], instances: bool, reason: object
) -> DsegError:
    """Return the error that made the script exit; dseg's own checks describe it better."""
    for pair in zip(gt_files, pred_files, strict=True):
        try:
            count_pair(pair, instances=instances)
        except DsegError as fault:
            return fault
    return DsegError(
        f"The official evaluator stopped: {reason}",
        hint="leave --official away; dseg's own engine gives the same scores.",
    )


def _image_scores(
    module: Any, gt_file: Path, pred_file: Path, whole: Mapping[str, Any]
) -> ImageScores:
    """Score one image with the script, with its two counts of ignored pixels."""
    alone = run_official(module, [gt_file], [pred_file], instances=False)
    confusion = np.asarray(alone["confMatrix"], np.int64)
    classes = alone["classScores"]
    scored_pixels = int(confusion[list(SCORED)].sum())
    kept = whole["perImageScores"][str(pred_file)]
    return ImageScores(
        ground_truth=gt_file,
        prediction=pred_file,
        scored_pixels=scored_pixels,
        ignored_pixels=int(kept["nbNotIgnoredPixels"]),
        ignored_unequal=int(kept["nbCorrectPixels"]),
        pixel_accuracy=ratio(int(confusion[SCORED, SCORED].sum()), scored_pixels),
        mean_iou=float(alone["averageScoreClasses"]),
        class_iou={NAMES[label_id]: float(classes[NAMES[label_id]]) for label_id in SCORED},
    )


def _make_scores(
    result: Mapping[str, Any], images: Sequence[ImageScores], instances: bool, count: int
) -> CityscapesScores:
    """Turn the script's result dictionary into CityscapesScores."""

    def floats(key: str, wanted: bool = True) -> dict[str, float]:
        return {name: float(score) if wanted else math.nan for name, score in result[key].items()}

    def mean(key: str, wanted: bool = True) -> float:
        return float(result[key]) if wanted else math.nan

    return CityscapesScores(
        engine="cityscapesscripts",
        num_images=count,
        instances=instances,
        confusion=np.asarray(result["confMatrix"], np.int64),
        class_iou=floats("classScores"),
        class_iiou=floats("classInstScores", instances),
        category_iou=floats("categoryScores"),
        category_iiou=floats("categoryInstScores", instances),
        priors=floats("priors"),
        mean_iou=mean("averageScoreClasses"),
        mean_iiou=mean("averageScoreInstClasses", instances),
        mean_category_iou=mean("averageScoreCategories"),
        mean_category_iiou=mean("averageScoreInstCategories", instances),
        images=tuple(images),
    )
