"""Label folders of images in batches, several in flight, within a memory budget."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from stand_ins import StandIn, draw
from torch import Tensor

from dseg import distributed
from dseg.predict import (
    Manifest,
    Predictor,
    Protocol,
    Summary,
    find_images,
    pipeline,
    predict_images,
)
from dseg.render import look_up

A, B = (40, 60), (50, 30)


class Poisoned(StandIn):
    """Returns NaN for images with a white pixel at their upper left, and remembers its batches."""

    def __init__(self, most: int = 99) -> None:
        super().__init__()
        self.most = most
        self.batches: list[int] = []

    def logits(self, image: Tensor) -> list[Tensor]:
        [scores] = super().logits(image)
        self.batches.append(len(image))
        if len(image) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        white = image[:, 0, 0, 0] > 3.8
        return [scores.masked_fill(white.view(-1, 1, 1, 1), float("nan"))]


class Label:
    """Labels the images of a folder, and fails instead of hanging."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.batches: list[int] = []
        (folder / "images").mkdir()

    def add(self, *sizes: tuple[int, int]) -> list[Path]:
        """Add images of these sizes, in the order of their names."""
        added = []
        for size in sizes:
            number = len(list((self.folder / "images").iterdir()))
            added.append(self.folder / "images" / f"{number:02}.png")
            pixels = draw(*size, number)
            pixels[0, 0] = 0  # not poisoned
            Image.fromarray(pixels).save(added[-1])
        return added

    def __call__(self, out: str, *, most: int = 99, **options: Any) -> Summary:
        model = Poisoned(most)
        machine = Predictor(model, protocol=Protocol(), device="cpu")
        machine.model.batches = self.batches = []  # of the copy
        images = find_images([self.folder / "images"])
        manifest = Manifest.of(machine, "weights", "")
        found: list[Summary] = []

        def work() -> None:
            kinds = ("train_ids", "confidence")
            target = self.folder / out
            found.append(predict_images(machine, images, target, manifest, kinds=kinds, **options))

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(120)
        assert found, "it hangs, or has failed"
        return found[0]

    def masks(self, out: str) -> dict[str, np.ndarray]:
        files = sorted((self.folder / out).rglob("*.png"))
        return {
            str(file.relative_to(self.folder / out)): np.asarray(Image.open(file)) for file in files
        }


@pytest.fixture
def label(tmp_path: Path) -> Label:
    return Label(tmp_path)


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name in found:
        if name.startswith("train_ids"):
            assert np.mean(found[name] == expected[name]) >= 0.999
        else:
            assert np.abs(found[name].astype(int) - expected[name]).max() <= 1


def spoil(path: Path, *, header: bool) -> None:
    path.write_bytes(b"no image" if header else path.read_bytes()[:-200])


def whiten(path: Path) -> None:
    pixels = np.array(Image.open(path))
    pixels[0, 0] = 255
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize("in_flight", [0, 2])
def test_images_in_a_row_of_one_size_make_batches(
    label: Label, in_flight: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(pipeline.IN_FLIGHT, "cpu", in_flight)
    label.add(A, A, A, B, A, A, B, B, B, B)
    assert label("single").done == 10
    assert label.batches == [1] * 10
    summary = label("batches", batch_size=3)
    assert (summary.done, summary.failed) == (10, [])
    assert label.batches == [3, 1, 2, 3, 1]
    assert_same(label.masks("batches"), label.masks("single"))
    assert label("batches", batch_size=3).skipped == 10


@pytest.mark.parametrize("in_flight", [0, 2])
def test_images_that_fail_do_not_fail_their_batch(
    label: Label, in_flight: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(pipeline.IN_FLIGHT, "cpu", in_flight)
    files = label.add(*[A] * 9)
    label("whole", batch_size=4)
    expected = label.masks("whole")
    spoil(files[1], header=False)
    spoil(files[4], header=True)
    whiten(files[7])
    advanced: list[None] = []
    summary = label("some", batch_size=4, advance=lambda: advanced.append(None))
    assert [failure.path for failure in summary.failed] == [files[1], files[4], files[7]]
    assert "NaN or infinite" in summary.failed[2].problem
    assert (summary.done, len(advanced)) == (6, 9)
    left = {name: mask for name, mask in expected.items() if name[-6:-4] not in ("01", "04", "07")}
    assert_same(label.masks("some"), left)


def test_batches_that_do_not_fit_go_one_by_one(label: Label) -> None:
    label.add(*[A] * 6)
    label("single")
    summary = label("batches", most=1, batch_size=3)
    assert (summary.done, summary.failed, summary.tiled) == (6, [], 0)
    assert label.batches == [3, *[1] * 6]  # the second batch is not tried
    assert_same(label.masks("batches"), label.masks("single"))


@pytest.mark.parametrize("in_flight", [0, 2])
@pytest.mark.parametrize("budget", [1, 2400, 6000, 10_000])
def test_a_small_budget_makes_small_batches_and_ends(
    label: Label, budget: int, in_flight: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(pipeline.IN_FLIGHT, "cpu", in_flight)
    monkeypatch.setattr(pipeline, "PIXELS_AHEAD", budget)
    monkeypatch.setattr(distributed, "count_cores", lambda: 4)
    label.add(A, A, A, A, A, (120, 100), A, B, B, B, A, A)
    assert label("out", batch_size=8).done == 12
    largest = {1: 1, 2400: 1, 6000: 3, 10_000: 4}[budget]  # of 2400 or 1500 pixels
    assert max(label.batches) == largest


def test_as_many_threads_as_cores_and_a_budget_that_grows_with_them(
    label: Label, monkeypatch: pytest.MonkeyPatch
) -> None:
    label.add(A)
    budgets, threads = [], []
    budget: Callable[[int], Any] = pipeline.PixelBudget
    pool: Callable[[int], Any] = pipeline.Threads
    monkeypatch.setattr(pipeline, "PixelBudget", lambda most: budgets.append(most) or budget(most))
    monkeypatch.setattr(pipeline, "Threads", lambda most: threads.append(most) or pool(most))
    for cores in (2, 8, 16, 24, 96):
        monkeypatch.setattr(distributed, "count_cores", lambda cores=cores: cores)
        label(f"{cores}")
    assert threads == [2, 2, 8, 8, 16, 16, 24, 24, 96, 96]
    assert budgets == [64_000_000, 64_000_000, 128_000_000, 192_000_000, 256_000_000]


@pytest.mark.parametrize("shape", [(1, 1), (300, 700), (1, 65_537)], ids=str)
def test_ids_are_looked_up(shape: Sequence[int]) -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 256, shape, dtype=np.uint8)
    table = rng.permutation(256).astype(np.uint8)
    assert np.array_equal(look_up(table, ids), table[ids])
