"""Curves, confusion matrix and drawn predictions of a run, compared as pixels."""

from __future__ import annotations

import logging
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runs import pixels, written

from dseg.errors import DsegError
from dseg.labels import LabelSpace, find_label_space, unnamed_label_space
from dseg.training import plots
from dseg.training.plots import (
    write_confusion_plot,
    write_iou_plot,
    write_loss_plot,
    write_miou_plot,
)
from dseg.training.sheets import write_predictions

CITYSCAPES = find_label_space("cityscapes")
BLUE, ORANGE, RED = (31, 119, 180), (255, 127, 14), (214, 39, 40)  # training, validation, best
GREY = (216, 216, 216)  # a class without pixels
DARK, LIGHT = (8, 48, 107), (247, 251, 255)  # 100 % and 0 % of a class


def train_row(step: int, **more: Any) -> dict[str, Any]:
    row = {"kind": "train", "step": step, "epoch": step / 10, "loss": 2.0 / step, "lr": 1e-3}
    return row | {"images_per_s": 9.0, "seconds": 1.0} | more


def val_row(step: int, miou: float | None, **more: Any) -> dict[str, Any]:
    row = {"kind": "val", "step": step, "epoch": step / 10, "loss": None, "miou": miou}
    return row | {"pixel_accuracy": 0.9, "class_iou": {"road": 0.9}} | more


ROWS = [train_row(1), train_row(2), val_row(2, 0.2), train_row(3), val_row(3, 0.6), val_row(4, 0.4)]


def has_color(path: Path, color: tuple[int, int, int]) -> bool:
    return bool((pixels(path)[..., :3] == color).all(-1).any())


def test_the_training_loss_is_drawn_and_the_validation_loss_if_there_is_one(
    tmp_path: Path,
) -> None:
    write_loss_plot(ROWS, tmp_path / "a" / "loss.png")
    assert has_color(tmp_path / "a" / "loss.png", BLUE)
    assert not has_color(tmp_path / "a" / "loss.png", ORANGE)
    write_loss_plot([*ROWS, val_row(5, 0.4, loss=0.7)], tmp_path / "b" / "loss.png")
    assert has_color(tmp_path / "b" / "loss.png", ORANGE)
    assert written(tmp_path) == ["a/loss.png", "b/loss.png"]


def test_the_best_miou_is_marked(tmp_path: Path) -> None:
    write_miou_plot(ROWS, tmp_path / "miou.png")
    image = pixels(tmp_path / "miou.png")[..., :3]
    assert has_color(tmp_path / "miou.png", ORANGE)
    curves, legend = image[:450], image[480:]
    height, width = image.shape[:2]
    assert (height, width) == (540, 900)
    rows, columns = np.nonzero((curves == RED).all(-1))
    # 60 % at epoch 0.3 of 0 to 0.41: the circle's middle
    assert (rows.min() + rows.max()) / 2 == pytest.approx(193, abs=6)
    assert (columns.min() + columns.max()) / 2 == pytest.approx(660, abs=25)
    assert (legend == RED).all(-1).any()


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [train_row(1, loss=None), val_row(1, None)],
        [train_row(1, loss=float("nan")), val_row(1, float("inf"))],
        [train_row(1, loss="much"), val_row(1, 0.5, epoch=None)],
        [{"kind": "train", "step": 1}, {"kind": "val", "step": 1}, {"step": 2}],
    ],
    ids=["no rows", "null", "not a number", "text", "bare"],
)
def test_without_finite_values_nothing_is_written(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    write_loss_plot(rows, tmp_path / "loss.png")
    write_miou_plot(rows, tmp_path / "miou.png")
    assert written(tmp_path) == []


@pytest.mark.parametrize("loss", [0.0, 1e30, 1e-30])
def test_one_row_of_any_size_can_be_drawn(tmp_path: Path, loss: float) -> None:
    write_loss_plot([train_row(1, loss=loss, lr=0.0, epoch=0.0)], tmp_path / "loss.png")
    write_miou_plot([val_row(1, 0.0, pixel_accuracy=None)], tmp_path / "miou.png")
    assert written(tmp_path) == ["loss.png", "miou.png"]


def test_one_outlier_does_not_change_the_smooth_curve() -> None:
    values = np.ones(1000)
    values[400] = 1e6
    epochs, smooth = plots._smooth(np.arange(1000.0), values)
    assert len(epochs) == 500
    assert (epochs[0], epochs[-1]) == (0, 999)
    assert (smooth == 1).all()


def test_the_smooth_curve_of_few_values_is_the_curve() -> None:
    epochs, smooth = plots._smooth(np.array([1.0, 2.0, 3.0]), np.array([5.0, 9.0, 1.0]))
    assert epochs.tolist() == [1, 2, 3]
    assert smooth.tolist() == [5, 9, 1]


def test_each_row_of_the_confusion_matrix_is_shown_in_percent_of_its_class(tmp_path: Path) -> None:
    matrix = np.array([[7, 0, 0], [0, 0, 0], [0, 900, 0]])  # class 1 is absent
    write_confusion_plot(matrix, unnamed_label_space(3), tmp_path / "confusion.png")
    image = pixels(tmp_path / "confusion.png")[..., :3]
    filled = (image == DARK).all(-1) | (image == GREY).all(-1)
    lines = np.nonzero(filled.sum(1) > 40)[0]  # text has fewer pixels of these colours
    top, left = int(lines[0]), int(np.nonzero(filled.sum(0) > 40)[0][0])
    cell = (int(lines[-1]) + 1 - top) / 3
    corners = [  # a cell's middle holds its number
        [tuple(image[int(top + (row + 0.2) * cell), int(left + (column + 0.2) * cell)].tolist())
         for column in range(3)]
        for row in range(3)
    ]  # fmt: skip
    assert corners == [[DARK, LIGHT, LIGHT], [GREY, GREY, GREY], [LIGHT, DARK, LIGHT]]


@pytest.mark.parametrize("count", [1, 19, 124])
def test_a_confusion_matrix_of_any_size_is_drawn_without_a_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], count: int
) -> None:
    space = unnamed_label_space(count)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_confusion_plot(np.eye(count, dtype=np.int64), space, tmp_path / "confusion.png")
    assert max(pixels(tmp_path / "confusion.png").shape) < 3000
    assert capfd.readouterr() == ("", "")


def test_a_class_s_name_is_never_a_formula_nor_a_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    odd = ("$x^$", "\u65e5\u672c", "a\nb", "\x07", "very " * 90)
    space = replace(unnamed_label_space(5), names=odd)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_confusion_plot(np.eye(5, dtype=np.int64), space, tmp_path / "confusion.png")
    assert capfd.readouterr() == ("", "")


def test_plots_leave_matplotlib_s_global_state_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import matplotlib

    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    monkeypatch.setitem(matplotlib.rcParams, "figure.facecolor", "red")
    log = logging.getLogger("matplotlib")
    monkeypatch.setattr(log, "level", logging.INFO)
    before = matplotlib.rcParams.copy()
    write_loss_plot(ROWS, tmp_path / "loss.png")
    assert "matplotlib.pyplot" not in sys.modules
    assert repr(matplotlib.rcParams.copy()) == repr(before)
    assert log.level == logging.INFO
    assert pixels(tmp_path / "loss.png")[0, 0].tolist() == [255] * 4  # our own style


def test_a_plot_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        DsegError, match=r"loss.png cannot be written: one of its parent folders is"
    ):
        write_loss_plot(ROWS, tmp_path / "file" / "loss.png")


def make_sample(name: str, height: int, width: int) -> tuple[str, Any, Any, Any]:
    image = np.full((height, width, 3), 100, np.uint8)
    truth = np.zeros((height, width), np.uint8)  # road
    truth[: height // 2] = 255
    return name, image, truth, np.full((height, width), 10, np.uint8)  # sky


def test_image_truth_and_prediction_are_side_by_side_below_captions(tmp_path: Path) -> None:
    write_predictions([make_sample("a", 64, 100)], CITYSCAPES, tmp_path)
    sheet = pixels(tmp_path / "a.png")
    assert sheet.shape == (22 + 64, 4 * 100 + 3 * 4, 3)
    row = sheet[22 + 60]
    tint = {"road": (158, 104, 158), "sky": (91, 143, 185)}  # of a grey of 100
    assert row[[50, 101, 154, 205, 258]].tolist() == [
        [100] * 3, [255] * 3, list(tint["road"]), [255] * 3, list(tint["sky"])
    ]  # fmt: skip
    assert sheet[22, 154].tolist() == [100] * 3  # not scored: the image
    assert sheet[:22].min() < 50  # text


@pytest.mark.parametrize(
    ("height", "width", "shape"),
    [
        (1024, 2048, (22 + 298, 2400, 3)),
        (1, 5000, (23, 2400, 3)),
        (3, 1, (25, 16, 3)),
        (300, 597, (322, 2400, 3)),
    ],
)
def test_a_sheet_is_at_most_2400_pixels_wide(
    tmp_path: Path, height: int, width: int, shape: tuple[int, ...]
) -> None:
    write_predictions([make_sample("a", height, width)], CITYSCAPES, tmp_path)
    assert pixels(tmp_path / "a.png").shape == shape


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("aachen/aachen_000000_000019", "aachen-aachen_000000_000019.png"),
        ("../../etc/passwd", "etc-passwd.png"),
        ("..", "image.png"),
        ("", "image.png"),
        ("a\nb:c*?\udcff", "a-b-c---.png"),
        ("x" * 300, "x" * 50 + ".png"),
        ("\U00020000" * 300, "\U00020000" * 50 + ".png"),
    ],
)
def test_a_sample_s_name_becomes_a_file_s_name_inside_the_folder(
    tmp_path: Path, name: str, file: str
) -> None:
    write_predictions([make_sample(name, 8, 8)], CITYSCAPES, tmp_path / "predictions")
    assert written(tmp_path) == [f"predictions/{file}"]


def test_samples_with_the_same_file_name_are_all_kept(tmp_path: Path) -> None:
    names = ["A/B", "A-B", "a-b", "a-b-2"]
    write_predictions([make_sample(name, 8, 8) for name in names], CITYSCAPES, tmp_path)
    assert written(tmp_path) == ["A-B-2.png", "A-B.png", "a-b-2-2.png", "a-b-3.png"]


def test_errors_have_the_predicted_class_s_colour_and_void_is_untouched(tmp_path: Path) -> None:
    name, image, truth, prediction = make_sample("a", 64, 100)
    truth[40:], prediction[40:] = 10, 10  # right below row 40; above row 32 no class
    write_predictions([(name, image, truth, prediction)], CITYSCAPES, tmp_path)
    errors = pixels(tmp_path / "a.png")[22:, 3 * 104 + 50]
    assert errors[10].tolist() == [100, 100, 100]  # no true class: the image
    assert errors[36].tolist() == [89, 146, 194]  # road taken for sky: sky's colour, lighter
    assert errors[50].tolist() == [201, 201, 201]  # right: grey and faded


def test_each_class_has_a_bar_as_long_as_its_iou(tmp_path: Path) -> None:
    space = replace(unnamed_label_space(3), colors=((255, 0, 0), (0, 255, 0), (0, 0, 255)))
    iou = {"0": 0.8, "1": 0.4, "2": float("nan")}
    write_iou_plot(iou, 0.6, 3.0, space, tmp_path / "iou.png")
    image = pixels(tmp_path / "iou.png")[..., :3]
    red, green = ((image == color).all(-1).any(0).sum() for color in space.colors[:2])
    assert red / green == pytest.approx(2.0, abs=0.03)
    assert not has_color(tmp_path / "iou.png", (0, 0, 255))
    assert has_color(tmp_path / "iou.png", ORANGE)  # the mean


def test_iou_bars_of_many_odd_names_are_drawn_without_a_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    names = ["$x^$", "a\nb", "very " * 90, *map(str, range(197))]
    write_iou_plot(
        dict.fromkeys(names, 0.5), float("nan"), 1.0, unnamed_label_space(200), tmp_path / "iou.png"
    )
    assert max(pixels(tmp_path / "iou.png").shape) < 6000
    assert capfd.readouterr() == ("", "")


def test_without_samples_there_is_no_folder(tmp_path: Path) -> None:
    write_predictions([], CITYSCAPES, tmp_path / "predictions")
    assert written(tmp_path) == []


def test_a_space_of_255_classes_is_drawn(tmp_path: Path) -> None:
    space: LabelSpace = unnamed_label_space(255)
    name, image, _, _ = make_sample("a", 130, 200)
    ids = np.arange(130 * 200, dtype=np.int64).reshape(130, 200) % 256
    write_predictions([(name, image, ids.astype(np.uint8), ids.astype(np.uint8))], space, tmp_path)
    assert written(tmp_path) == ["a.png"]
