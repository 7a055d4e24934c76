"""Find the layers whose quantisation changes labels, by measurement."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from dseg.errors import DsegError
from dseg.parallel import Advance
from dseg.quantisation.calibration import METHOD, Calibration
from dseg.quantisation.observe import Batches, Runner

if TYPE_CHECKING:
    from onnx import ModelProto

TARGET = 0.99
MEASUREMENTS = 64
GROUPS = 8  # groups of layers that are measured first
NEGLIGIBLE = 0.02  # of the quantised graph's loss: a group below it is not split
Item = TypeVar("Item")


@dataclass(frozen=True)
class Sensitivity:
    """What ``find_sensitive`` has measured.

    Args:
        keep_float: names of the layers to keep in float32: those that read the image, then the
            most sensitive ones, in this order.
        before: fraction of labels, 0 to 1, that are equal to the float32 graph's if only the
            layers that read the image are float32.
        after: the same if all in ``keep_float`` are float32; at least the target.
        losses: fraction of labels that change if only these layers are quantised, by groups of
            neighbouring layers, the most sensitive first.
        measurements: number of graphs that were measured.
    """

    keep_float: tuple[str, ...]
    before: float
    after: float
    losses: tuple[tuple[tuple[str, ...], float], ...]
    measurements: int


def find_sensitive(
    calibration: Calibration,
    batches: Batches,
    *,
    target: float = TARGET,
    method: str = METHOD,
    symmetric: bool = False,
    measurements: int = MEASUREMENTS,
    advance: Advance = lambda: None,
) -> Sensitivity:
    """Find the fewest layers to keep in float32, so that the labels agree with the float32 graph.

    First, groups of neighbouring layers are measured alone, with all others in float32, and the
    group with the largest loss is split in halves again and again. Then the most sensitive layers
    are kept in float32, as few of them as reach the target, found by bisection. Each measurement
    builds a graph and runs it on all images: give few, of a small size (six of 256x512).

    Args:
        calibration: from ``calibrate``.
        batches: returns all inputs at each call; use images that stand for those to segment.
        target: fraction of labels that have to be equal, 0 to 1.
        method: how the range of activations is chosen.
        symmetric: whether activations are int8 with zero point 0.
        measurements: number of graphs to measure, at most, but at least 8 and twice the
            logarithm of the number of layers.
        advance: called after each measurement.

    Raises:
        DsegError: there is no image, the target is not from 0 to 1, or the method is unknown.
    """
    if not 0 <= target <= 1:
        raise DsegError(f"The target is {target}.", hint="give one from 0 to 1.")
    measured = 0
    first = calibration.first if len(calibration.first) < len(calibration.layers) else ()
    candidates = [name for name in calibration.layers if name not in first]
    truth = [_labels(outputs) for outputs in map(Runner(calibration.model).run, batches())]
    if not truth:
        raise DsegError("There is no image to measure with.", hint="give at least one image.")

    def equal_labels(keep_float: Sequence[str]) -> float:
        nonlocal measured
        measured += 1
        kept = [*first, *keep_float]
        if len(kept) == len(calibration.layers):
            return 1.0
        runner = Runner(calibration.quantise(method=method, keep_float=kept, symmetric=symmetric))
        equal = [
            np.mean(_labels(runner.run(batch)) == labels)
            for batch, labels in zip(batches(), truth, strict=True)
        ]
        advance()
        return float(np.mean(equal))

    def loss(layers: Sequence[str]) -> float:
        chosen = set(layers)
        return 1 - equal_labels([name for name in candidates if name not in chosen])

    before = equal_labels(())
    if before >= target:
        return Sensitivity(first, before, before, (), measured)
    reserve = 2 * math.ceil(math.log2(len(candidates) + 1))
    losses = split_by_loss(
        candidates, loss, most=measurements - reserve, least=NEGLIGIBLE * (1 - before)
    )
    ranked = [name for group, _ in sorted(losses, key=_loss_of_a_layer) for name in group]
    count, after = find_fewest(lambda count: equal_labels(ranked[:count]), len(ranked), target)
    losses.sort(key=_loss_of_a_layer)
    kept = (*first, *ranked[:count])
    return Sensitivity(kept, before, after, tuple(losses), measured)


def agreement(model: ModelProto, other: ModelProto, batches: Batches) -> float:
    """Return the fraction of labels, 0 to 1, that two graphs have in common."""
    runners = Runner(model), Runner(other)
    equal = [
        float(np.mean(_labels(runners[0].run(batch)) == _labels(runners[1].run(batch))))
        for batch in batches()
    ]
    return float(np.mean(equal))


def split_by_loss(
    items: Sequence[Item], loss: Callable[[Sequence[Item]], float], *, most: int, least: float
) -> list[tuple[tuple[Item, ...], float]]:
    """Split a sequence where the loss is; return groups of neighbours with their losses.

    Args:
        items: what is split, at first into ``GROUPS`` groups.
        loss: measures a group.
        most: number of measurements, at least ``GROUPS``.
        least: a group with a smaller loss is not split.
    """
    parts = np.array_split(np.arange(len(items)), min(GROUPS, len(items)))
    groups = [tuple(items[index] for index in part) for part in parts]
    found = [(group, loss(group)) for group in groups]
    measured = len(found)
    while measured + 2 <= most:
        open_ = [entry for entry in found if len(entry[0]) > 1 and entry[1] > least]
        if not open_:
            break
        worst = max(open_, key=lambda entry: entry[1])
        place, group = found.index(worst), worst[0]
        halves = group[: len(group) // 2], group[len(group) // 2 :]
        found[place : place + 1] = [(half, loss(half)) for half in halves]
        measured += 2
    return found


def find_fewest(agreement: Callable[[int], float], most: int, target: float) -> tuple[int, float]:
    """Return the smallest count from 1 to ``most`` that reaches a target, and its agreement.

    The agreement is taken to grow with the count; it is 1 at ``most``.
    """
    low, high, best = 0, most, 1.0  # not reached with low, reached with high
    while high - low > 1:
        # the answer is small as a rule: by powers of two at first
        middle = min(max(2 * low, 1), (low + high + 1) // 2) if high == most else (low + high) // 2
        found = agreement(middle)
        if found >= target:
            high, best = middle, found
        else:
            low = middle
    return high, best


def _labels(outputs: Sequence[NDArray[np.float32]]) -> NDArray[np.int16]:
    """Return the labels of scores (N, K, h, w), or labels (N, H, W) as they are."""
    found = outputs[0] if outputs[0].ndim == 3 else outputs[0].argmax(1)
    labels: NDArray[np.int16] = found.astype(np.int16)
    return labels


def _loss_of_a_layer(entry: tuple[tuple[str, ...], float]) -> float:
    """Return the sort key that puts the largest loss for each layer first."""
    return -entry[1] / len(entry[0])
