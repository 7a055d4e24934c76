"""The rows of a run: written completely, read after a kill, removed for a resumed run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from dseg.errors import DsegError
from dseg.training.loggers import TensorBoard
from dseg.training.metrics import MetricsFile

resource = pytest.importorskip("resource", reason="needs Unix: limits the size of files")


def train_row(step: int, **more: Any) -> dict[str, Any]:
    return {"kind": "train", "step": step, "epoch": step / 10, "loss": 0.1 + step} | more


VAL_ROW = {"kind": "val", "step": 5, "epoch": 0.5, "loss": None, "miou": 0.4, "seconds": 2.0}


@pytest.fixture
def metrics(tmp_path: Path) -> MetricsFile:
    return MetricsFile(tmp_path / "run" / "metrics.jsonl")


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """Limit the size of files: the kernel then writes incompletely, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_rows_are_written_one_per_line_and_read_back(metrics: MetricsFile) -> None:
    metrics.write(train_row(1))
    metrics.write(VAL_ROW)
    assert metrics.path.read_text() == (
        '{"kind": "train", "step": 1, "epoch": 0.1, "loss": 1.1}\n'
        '{"kind": "val", "step": 5, "epoch": 0.5, "loss": null, "miou": 0.4, "seconds": 2.0}\n'
    )
    assert metrics.read() == [train_row(1), VAL_ROW]


def test_a_missing_file_has_no_rows_and_is_not_created(metrics: MetricsFile) -> None:
    metrics.cut_after(3)
    assert metrics.read() == []
    assert not metrics.path.exists()


def test_nan_and_infinity_are_null_at_any_depth(metrics: MetricsFile) -> None:
    nan, inf = float("nan"), float("inf")
    numbers = {"road": np.float64("nan"), "car": np.float64(0.5)}
    metrics.write({"kind": "val", "step": 1, "loss": nan, "class_iou": numbers, "more": [inf, 1]})
    expected = {"loss": None, "class_iou": {"road": None, "car": 0.5}, "more": [None, 1]}
    assert json.loads(metrics.path.read_text(), parse_constant=pytest.fail) == (
        {"kind": "val", "step": 1} | expected
    )


def test_an_incomplete_line_is_left_out_and_later_rows_are_read(
    metrics: MetricsFile,
) -> None:
    metrics.write(train_row(1))
    with metrics.path.open("a") as file:
        file.write('{"kind": "train", "st')
    assert metrics.read() == [train_row(1)]
    metrics.write(train_row(2))
    assert metrics.read() == [train_row(1), train_row(2)]


def test_lines_that_are_not_rows_are_left_out(metrics: MetricsFile) -> None:
    metrics.path.parent.mkdir()
    metrics.path.write_bytes(
        b'\n[1]\n{"step": "2", "kind": "train"}\n{"step": 3}\n\xff\x00\n{"kind":"val","step":4}\n'
    )
    assert metrics.read() == [{"kind": "val", "step": 4}]


def test_a_resumed_run_s_file_equals_an_uninterrupted_one_s(tmp_path: Path) -> None:
    whole, resumed = MetricsFile(tmp_path / "a"), MetricsFile(tmp_path / "b")
    for step in range(1, 9):
        whole.write(train_row(step))
    for step in range(1, 7):
        resumed.write(train_row(step))
    with resumed.path.open("a") as file:
        file.write('{"kind": "tra')
    resumed.cut_after(4)
    for step in range(5, 9):
        resumed.write(train_row(step))
    assert resumed.path.read_bytes() == whole.path.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_validation_to_be_repeated_is_removed_but_its_step_is_kept(
    metrics: MetricsFile,
) -> None:
    rows = [train_row(4), {"kind": "val", "step": 4}, train_row(5), VAL_ROW, train_row(6)]
    for row in rows:
        metrics.write(row)
    metrics.cut_after(5, validated_at=4)
    assert metrics.read() == rows[:3]


def test_cutting_before_the_first_row_leaves_an_empty_file(metrics: MetricsFile) -> None:
    metrics.write(train_row(1))
    metrics.cut_after(0)
    assert metrics.path.read_bytes() == b""


def test_a_full_disk_is_reported_and_leaves_no_incomplete_line(metrics: MetricsFile) -> None:
    metrics.write(train_row(1))
    before = metrics.path.read_bytes()
    with disk_of(len(before) + 10), pytest.raises(DsegError) as caught:
        metrics.write(train_row(2))
    assert "metrics.jsonl cannot be written: File too large" in caught.value.problem
    assert "--resume" in caught.value.hint
    assert metrics.path.read_bytes() == before


def test_a_disk_too_full_to_rewrite_leaves_the_rows_unchanged(metrics: MetricsFile) -> None:
    for step in range(1, 5):
        metrics.write(train_row(step))
    before = metrics.path.read_bytes()
    with disk_of(10), pytest.raises(DsegError, match="cannot be written"):
        metrics.cut_after(3)
    assert metrics.path.read_bytes() == before
    assert list(metrics.path.parent.iterdir()) == [metrics.path]


def test_a_folder_in_place_of_the_file_is_reported(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path)
    with pytest.raises(DsegError, match="cannot be written: Is a directory"):
        metrics.write(train_row(1))
    with pytest.raises(DsegError, match="cannot be read: Is a directory"):
        metrics.read()


class Writer:
    """Replaces TensorBoard's writer."""

    made: tuple[str, int | None]
    scalars: list[tuple[str, float, int]]
    closed = False

    def __init__(self, folder: str, purge_step: int | None = None):
        if Path(folder).is_file():
            raise FileExistsError(17, "File exists")
        Writer.made, Writer.scalars, Writer.closed = (folder, purge_step), [], False

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def close(self) -> None:
        Writer.closed = True


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)


@pytest.mark.usefixtures("stand_in")
def test_tensorboard_gets_the_finite_values_of_a_row(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path, purge_step=5)
    board.write({"kind": "train", "step": 5, "loss": 0.5, "lr": float("nan")})
    board.write(VAL_ROW | {"class_iou": {"road": 0.9, "train": None, "bus": float("nan")}})
    board.close()
    assert Writer.made == (str(tmp_path), 5)
    assert Writer.scalars == [
        ("train/loss", 0.5, 5),
        ("val/epoch", 0.5, 5),
        ("val/miou", 0.4, 5),
        ("val/seconds", 2.0, 5),
        ("class_iou/road", 0.9, 5),
    ]
    assert Writer.closed


@pytest.mark.usefixtures("stand_in")
def test_a_file_in_place_of_tensorboard_s_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "board").write_text("")
    with pytest.raises(DsegError, match="board cannot be written: File exists"):
        TensorBoard(tmp_path / "board")


def test_without_tensorboard_the_hint_names_the_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(DsegError) as caught:
        TensorBoard(tmp_path)
    assert caught.value.problem.startswith("TensorBoard cannot be imported: ")
    assert "pip install 'dseg[tensorboard]'" in caught.value.hint
