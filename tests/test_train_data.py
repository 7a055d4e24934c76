"""The data of a run: splits, and samples held out for validation."""

from __future__ import annotations

from pathlib import Path

import pytest

from dseg.datasets.base import Dataset, Encoding, Sample
from dseg.errors import DsegError
from dseg.labels import LABEL_SPACES
from dseg.training.data import hold_back


def dataset_of(count: int) -> Dataset:
    encoding = Encoding(train_ids={0: 0}, allowed="0")
    samples = tuple(
        Sample(name=str(n), image=Path(f"{n}.png"), mask=Path(f"{n}_m.png"), encoding=encoding)
        for n in range(count)
    )
    space = LABEL_SPACES["camvid"]
    return Dataset(
        name="some", split="trainval", space=space, samples=samples, classes=frozenset({0})
    )


def test_a_fraction_is_held_back_and_not_trained_on() -> None:
    kept, held = hold_back(dataset_of(12), 0.25)
    assert [sample.name for sample in held.samples] == ["2", "6", "10"]
    assert [sample.name for sample in kept.samples] == [*"01345789", "11"]


def test_nothing_to_hold_back_is_refused() -> None:
    with pytest.raises(DsegError, match=r"fraction of 0\.05 of 3 samples"):
        hold_back(dataset_of(3), 0.05)
