"""Synthetic street scenes: reproducible, with valid labels, in Cityscapes' layout."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from cli_runs import contents, pixels, refused, run, written
from click.testing import Result

from dseg.errors import DsegError
from dseg.labels import find_label_space
from dseg.synth import draw_scene, write_scenes
from dseg.synth.camera import LABEL_IDS
from dseg.synth.depth_order import GroundBox, order_far_first
from dseg.synth.write import scene_files

SPACE = find_label_space("cityscapes")
WITH_INSTANCES = {24, 25, 26, 27, 28, 31, 32, 33}
SIZE = (96, 192)


@pytest.fixture(scope="module")
def drawn() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Forty scenes of 128x256 pixels."""
    return [draw_scene(0, index, (128, 256)) for index in range(40)]


def test_the_same_numbers_give_the_same_scene() -> None:
    first, again = (draw_scene(3, 7, SIZE) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("other", [(4, 7), (3, 8), (7, 3)])
def test_other_numbers_give_another_scene(other: tuple[int, int]) -> None:
    (image, labels, _), (other_image, other_labels, _) = (
        draw_scene(*numbers, SIZE) for numbers in ((3, 7), other)
    )
    assert (image != other_image).mean() > 0.5
    assert (labels != other_labels).mean() > 0.1


def test_drawing_leaves_the_global_random_state_unchanged() -> None:
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    draw_scene(0, 0, (64, 64))
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.parametrize("size", [(64, 64), (65, 131), (64, 2048), (700, 90), (200, 200)])
def test_any_size_is_drawn(size: tuple[int, int]) -> None:
    image, label_ids, instance_ids = draw_scene(0, 11, size)
    assert (image.shape, image.dtype) == ((*size, 3), np.uint8)
    assert (label_ids.shape, label_ids.dtype) == (size, np.uint8)
    assert (instance_ids.shape, instance_ids.dtype) == (size, np.uint16)
    assert image.flags.c_contiguous and image.flags.writeable


@pytest.mark.parametrize("size", [(63, 128), (128, 63), (2049, 64), (64, 4096), (0, 0), (-64, 64)])
def test_a_size_out_of_range_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(DsegError, match=f"{size[0]}x{size[1]}.*\n.*64 to 2048"):
        draw_scene(0, 0, size)


@pytest.mark.parametrize("numbers", [(-1, 0), (0, -1)])
def test_negative_numbers_are_refused(numbers: tuple[int, int]) -> None:
    with pytest.raises(DsegError, match="cannot be drawn"):
        draw_scene(*numbers, (64, 64))


def test_each_class_occurs_and_the_rare_ones_in_many_scenes(drawn) -> None:
    found: Counter[int] = Counter()
    for _, label_ids, _ in drawn:
        counts = np.bincount(label_ids.ravel(), minlength=256)
        found.update(np.flatnonzero(counts >= 6).tolist())
    fractions = {name: found[i] / 40 for name, i in zip(SPACE.names, SPACE.label_ids, strict=True)}
    assert min(fractions.values()) >= 0.15, fractions
    assert all(fractions[name] == 1 for name in ("road", "sidewalk", "building", "sky"))
    assert all(found[LABEL_IDS[name]] for name in ("ego", "out of roi", "rail track"))


def test_labels_and_instances_agree(drawn) -> None:
    for _, label_ids, instance_ids in drawn:
        assert set(np.unique(label_ids).tolist()) <= set(LABEL_IDS.values())
        single = instance_ids >= 1000
        assert (instance_ids[single] // 1000 == label_ids[single]).all()
        assert (instance_ids[~single] == label_ids[~single]).all()
        assert (np.isin(label_ids, list(WITH_INSTANCES)) == single).all()


def test_instances_of_one_class_have_different_ids(drawn) -> None:
    most = max(len({i for i in np.unique(ids).tolist() if i // 1000 == 26}) for _, _, ids in drawn)
    assert most >= 8


def test_a_rider_has_something_to_ride(drawn) -> None:
    for _, label_ids, _ in drawn:
        if (label_ids == 25).sum() > 80:
            assert np.isin(label_ids, (32, 33)).sum() > 10


def test_the_sky_is_above_the_road(drawn) -> None:
    for _, label_ids, _ in drawn:
        rows = np.arange(128)[:, None]
        sky, road = (np.broadcast_to(rows, label_ids.shape)[label_ids == i] for i in (23, 7))
        assert sky.max() < np.percentile(road, 25)


def test_surfaces_have_grain_and_scenes_differ_in_light(drawn) -> None:
    rough = []
    for image, label_ids, _ in drawn:
        road = image.astype(float).mean(axis=2)
        step = np.abs(np.diff(road, axis=1))[(label_ids[:, 1:] == 7) & (label_ids[:, :-1] == 7)]
        rough.append(step.mean())
    assert min(rough) > 0.3
    light = [image.mean() for image, _, _ in drawn]
    assert max(light) > 2 * min(light)


def test_an_object_is_drawn_after_those_that_it_hides() -> None:
    wall, man_before, man_behind = (
        GroundBox(4, 5, 3, 20),
        GroundBox(2, 3, 10, 10.3),
        GroundBox(6, 7, 10, 10.3),
    )
    far_house = GroundBox(4, 14, 25, 40)
    order = order_far_first([wall, man_before, man_behind, far_house])
    assert order[0] == 3
    assert order.index(2) < order.index(0) < order.index(1)
    left = [GroundBox(-b, -a, near, far) for a, b, near, far in (wall, man_before, man_behind)]
    assert order_far_first(left) == [2, 0, 1]


def test_boxes_in_a_cycle_and_an_empty_list_are_ordered() -> None:
    assert order_far_first([]) == []
    assert sorted(order_far_first([GroundBox(0, 1, 0, 9)] * 5)) == [0, 1, 2, 3, 4]


def test_scenes_are_written_in_the_layout_of_cityscapes(tmp_path: Path) -> None:
    assert write_scenes(tmp_path, 2, split="val", size=(64, 96), seed=5, start=9, workers=1) == 2
    names = [name for name in written(tmp_path) if "000009" in name]
    assert names == [
        "gtFine/val/dsegville/dsegville_000009_000019_gtFine_color.png",
        "gtFine/val/dsegville/dsegville_000009_000019_gtFine_instanceIds.png",
        "gtFine/val/dsegville/dsegville_000009_000019_gtFine_labelIds.png",
        "leftImg8bit/val/dsegville/dsegville_000009_000019_leftImg8bit.png",
    ]
    image, label_ids, instance_ids = draw_scene(5, 9, (64, 96))
    files = scene_files(tmp_path, "val", 9)
    assert (pixels(files.image) == image).all()
    assert (pixels(files.label_ids) == label_ids).all()
    assert (pixels(files.instance_ids) == instance_ids).all()
    road = pixels(files.color)[label_ids == 7]
    assert (road == (128, 64, 128)).all() and len(road)


def test_several_processes_write_the_same_files_as_one(tmp_path: Path) -> None:
    done: list[None] = []
    for folder, workers in (("one", 1), ("two", 2)):
        write_scenes(
            tmp_path / folder, 3, size=(64, 64), workers=workers, advance=lambda: done.append(None)
        )
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(done) == 6


def test_a_second_run_draws_only_what_is_missing(tmp_path: Path) -> None:
    write_scenes(tmp_path, 3, size=(64, 64), workers=1)
    before = contents(tmp_path)
    kept, lost = scene_files(tmp_path, "train", 0), scene_files(tmp_path, "train", 1)
    for path in (kept.image, kept.label_ids):
        os.utime(path, (1, 1))
    lost.instance_ids.unlink()
    done: list[None] = []
    args = {"size": (64, 64), "workers": 1, "advance": lambda: done.append(None)}
    assert write_scenes(tmp_path, 4, **args) == 2
    assert len(done) == 4
    assert kept.image.stat().st_mtime == kept.label_ids.stat().st_mtime == 1
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("other", [{"size": (64, 96)}, {"seed": 1}])
def test_scenes_of_two_kinds_are_not_mixed(tmp_path: Path, other: dict) -> None:
    write_scenes(tmp_path, 1, size=(64, 64), workers=1)
    with pytest.raises(DsegError, match="use a separate folder"):
        write_scenes(tmp_path, 1, **{"size": (64, 64), "workers": 1, **other})


def test_scenes_are_not_written_among_other_images(tmp_path: Path) -> None:
    (tmp_path / "leftImg8bit/train").mkdir(parents=True)
    with pytest.raises(DsegError, match=r"no scenes\.txt"):
        write_scenes(tmp_path, 1, size=(64, 64), workers=1)
    assert written(tmp_path) == []


@pytest.mark.parametrize("count", [0, -3])
def test_a_count_below_1_is_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(DsegError, match="1 or more"):
        write_scenes(tmp_path, count)
    assert written(tmp_path) == []


def test_a_number_beyond_the_names_digits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DsegError, match="Scene 1000000 does not fit"):
        write_scenes(tmp_path, 2, start=999_999)


def command(*words: object) -> Result:
    return run("scenes", *words)


def test_the_command_writes_two_splits_and_names_the_next_step(tmp_path: Path) -> None:
    out = tmp_path / "my streets"
    result = command("--out", out, "-n", 2, "--size", "64x96", "-j", 1)
    assert (result.exit_code, result.stdout) == (0, "")
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"2 training scenes and 1 validation scene in {out}. Next: dseg train")
    assert f"--data-dir '{out}'" in last
    train, val = (
        sorted((out / "leftImg8bit" / s / "dsegville").iterdir()) for s in ("train", "val")
    )
    assert (len(train), len(val)) == (2, 1)
    assert "--val-split" not in last
    alone = command("--out", tmp_path / "s", "-n", 1, "--val", 0, "--size", "64x96", "-j", 1)
    assert alone.stderr.rstrip().endswith("--out run --val-split none")
    assert not {path.name for path in train} & {path.name for path in val}
    again = command("--out", out, "-n", 3, "--val", 1, "--size", "64x96", "-j", 1, "-q")
    assert "(3 of them already existed)" in again.stderr


def test_the_ground_truth_evaluated_against_itself_is_perfect(tmp_path: Path) -> None:
    assert command("--out", tmp_path / "s", "-n", 1, "--val", 3, "--size", "96x192").exit_code == 0
    preds = tmp_path / "preds"
    preds.mkdir()
    for path in (tmp_path / "s/gtFine/val").rglob("*_labelIds.png"):
        (preds / path.name).write_bytes(path.read_bytes())
    score = tmp_path / "score.json"
    result = run(
        "eval", "--pred-dir", preds, "--data-dir", tmp_path / "s", "--split", "val", "-q",
        "--fail-under", "100", "--json", score,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert '"averageScoreInstClasses": 1.0' in score.read_text(), score.read_text()[:1500]


@pytest.mark.parametrize(
    "words",
    [("-n", 0), ("-n", -2), ("-n", "x"), ("-n", 500_001), ("-n", 1, "--val", -1),
     ("-n", 1, "--size", "big"), ("-n", 1, "--seed", -1), ("-n", 1, "-j", 0), ()],
)  # fmt: skip
def test_options_out_of_range_are_refused(tmp_path: Path, words: tuple[object, ...]) -> None:
    result = command("--out", tmp_path / "s", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert not (tmp_path / "s").exists()


def test_a_size_that_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    result = command("--out", tmp_path / "s", "-n", 1, "--size", "32x64", "-q")
    refused(result, 2, "32x64 (height x width)", "64 to 2048")
    assert not (tmp_path / "s").exists()


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = command("--out", tmp_path / "file" / "s", "-n", 1, "--size", "64x64", "-q")
    refused(result, 1, "scenes.txt cannot be written", "name a folder")


def test_help_has_an_example() -> None:
    result = command("--help")
    assert result.exit_code == 0 and "dseg scenes --out streets -n 200" in result.stdout
