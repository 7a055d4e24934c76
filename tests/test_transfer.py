"""Label transfer: exact in every direction, with errors for unknown colours and ids."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dseg.errors import DsegError
from dseg.images import MaskFile
from dseg.labels import find_label_space
from dseg.transfer import Coding, detect_ids, find_jobs, transfer_mask

SPACE = find_label_space("cityscapes")
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
IGNORED = {  # colour -> label id, of all that are neither trained nor scored
    (0, 0, 0): 0,
    (111, 74, 0): 5,
    (81, 0, 81): 6,
    (250, 170, 160): 9,
    (230, 150, 140): 10,
    (180, 165, 180): 14,
    (150, 100, 100): 15,
    (150, 120, 90): 16,
    (0, 0, 90): 29,
    (0, 0, 110): 30,
}
TRAIN_IDS = np.array([[*range(19), 255]], np.uint8)
WANTED = np.array([[*LABEL_IDS, 0]], np.uint8)
COLORS = np.array([[*SPACE.colors, (0, 0, 0)]], np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


# ---- one mask


@pytest.mark.parametrize(
    ("values", "source"), [(COLORS, "color"), (TRAIN_IDS, "train-ids"), (WANTED, "label-ids")]
)
def test_all_classes_in_every_direction(values: np.ndarray, source: Coding) -> None:
    mask = MaskFile(values, None)
    assert transfer_mask(mask, SPACE, source, "label-ids").tolist() == WANTED.tolist()
    assert transfer_mask(mask, SPACE, source, "train-ids").tolist() == TRAIN_IDS.tolist()
    assert transfer_mask(mask, SPACE, source, "color").tolist() == TRAIN_IDS.tolist()


def test_ignored_colours_become_their_label_id_and_255() -> None:
    mask = MaskFile(np.array([list(IGNORED)], np.uint8), None)
    assert transfer_mask(mask, SPACE, "color", "label-ids").tolist() == [list(IGNORED.values())]
    assert transfer_mask(mask, SPACE, "color", "train-ids").tolist() == [[255] * len(IGNORED)]


def test_ignored_label_ids_become_255() -> None:
    ids = [n for n in range(34) if n not in LABEL_IDS]
    mask = MaskFile(np.array([ids], np.uint8), None)
    assert transfer_mask(mask, SPACE, "label-ids", "label-ids").tolist() == [ids]
    assert transfer_mask(mask, SPACE, "label-ids", "color").tolist() == [[255] * 15]


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (200, 333)])
def test_every_size_agrees_with_comparing_colours(size: tuple[int, int]) -> None:
    train_ids = np.random.default_rng(1).integers(0, 19, size)
    colors = np.array(SPACE.colors, np.uint8)[train_ids]
    for pixels in (colors, colors[:, ::-1]):  # the second is not contiguous
        result = transfer_mask(MaskFile(pixels, None), SPACE, "color", "train-ids")
        assert result.shape == size and result.dtype == np.uint8
        assert (np.array(SPACE.colors)[result] == pixels).all()


@pytest.mark.parametrize("at", [0, 2, 5])
def test_an_unknown_colour_is_found_in_every_place(at: int) -> None:
    colors = np.zeros((2, 3, 3), np.uint8)
    colors.reshape(-1, 3)[at] = (0, 0, 1)
    with pytest.raises(DsegError, match=r"1 pixel of colour \(0, 0, 1\)"):
        transfer_mask(MaskFile(colors, None), SPACE, "color", "label-ids")
    result = transfer_mask(MaskFile(colors, None), SPACE, "color", "label-ids", unknown=26)
    assert np.flatnonzero(result == 26).tolist() == [at]


def test_ids_of_more_than_eight_bits() -> None:
    for kind in (np.uint16, np.int32):
        mask = MaskFile(np.array([[7, 33]], kind), None)
        assert transfer_mask(mask, SPACE, "label-ids", "train-ids").tolist() == [[0, 18]]
    for value in (26001, -1):
        with pytest.raises(DsegError, match=f"1 pixel of id {value}"):
            mask = MaskFile(np.array([[7, value]], np.int32), None)
            transfer_mask(mask, SPACE, "label-ids", "train-ids")


def test_other_label_spaces() -> None:
    camvid, voc = find_label_space("camvid"), find_label_space("voc")
    sky_and_void = MaskFile(np.array([[(128, 128, 128), (0, 0, 0)]], np.uint8), None)
    assert transfer_mask(sky_and_void, camvid, "color", "label-ids").tolist() == [[0, 11]]
    ids = MaskFile(np.array([[0, 20, 255]], np.uint8), None)
    for target in ("label-ids", "train-ids", "color"):
        assert transfer_mask(ids, voc, "train-ids", target).tolist() == [[0, 20, 255]]


# ---- detection of the coding


@pytest.mark.parametrize(
    ("sets", "wanted"),
    [
        ([{0, 1, 255}], "train-ids"),
        ([{7, 11}, {8, 255}], "train-ids"),
        ([{7, 11}, {0, 2, 10}], "train-ids"),  # 10: sky; no set of masks has only rail tracks
        ([{7, 11}, {7, 26}], "label-ids"),
        ([{0, 1, 2, 3, 19}], "label-ids"),
        ([{33, 255}], "label-ids"),
        ([{7, 11}], None),
        ([{0, 1, 8, 13}], None),
        ([{0}], None),
    ],
)
def test_ids_are_detected_from_all_values(
    tmp_path: Path, sets: list[set[int]], wanted: str | None
) -> None:
    files = [
        save(tmp_path / f"{n}.png", np.array([sorted(values)], np.uint8))
        for n, values in enumerate(sets)
    ]
    if wanted:
        assert detect_ids(files, SPACE) == wanted
        return
    with pytest.raises(DsegError, match="can be train ids or label ids") as fault:
        detect_ids(files, SPACE)
    assert "--from train-ids or --from label-ids" in fault.value.hint
    assert detect_ids(files, find_label_space("voc")) == "label-ids"  # where both are the same


# ---- files


def test_two_inputs_never_have_the_same_output(tmp_path: Path) -> None:
    sources = [save(tmp_path / f"{n}/x.png", COLORS).parent for n in "ab"]
    with pytest.raises(DsegError, match="would both be written to"):
        find_jobs(sources, "label-ids", SPACE, out=tmp_path / "out")


def test_torch_is_not_needed() -> None:
    code = "import sys, dseg.transfer, dseg.render, dseg.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
