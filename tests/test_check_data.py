"""dseg check-data: its counts, and each mistake with its hint."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_runs import refused, run
from data_trees import (
    TREES,
    make_camvid,
    make_cityscapes,
    make_folder,
    make_voc,
    save_image,
    save_mask,
    write,
)
from PIL import Image

from dseg.datasets import find_dataset, load_dataset
from dseg.datasets.checks import DataReport, check_dataset, class_weights
from dseg.errors import DsegError


def check(name: str, root: Path, split: str = "train", **options) -> DataReport:
    found = find_dataset(name, root, split)
    return check_dataset(
        found.dataset, unlabelled=found.unlabelled, orphans=found.orphans, workers=2, **options
    )


def kinds(report: DataReport, level: str = "fault") -> dict[str, int]:
    return {fault.kind: fault.count for fault in report.faults if fault.level == level}


def hint(report: DataReport, kind: str) -> str:
    return next(fault.hint for fault in report.faults if fault.kind == kind)


def problem(report: DataReport, kind: str) -> str:
    return next(fault.problem for fault in report.faults if fault.kind == kind)


@pytest.mark.parametrize("name", TREES)
def test_a_sound_data_set_has_no_faults(name, tmp_path) -> None:
    report = check(name, TREES[name](tmp_path))
    assert kinds(report) == {}
    assert report.clean
    assert (report.pairs, report.pixels, report.wrong) == (2, 96, 0)
    report.refuse_faults()


def test_pixels_sizes_and_values_are_counted(tmp_path) -> None:
    root = make_camvid(tmp_path)
    save_image(root / "train/b.jpg", 4, 8)
    save_mask(root / "trainannot/b.png", 3, height=4)
    report = check("camvid", root)
    assert report.sizes == {(6, 8): 1, (4, 8): 1}
    assert report.kinds == {"8 bits": 2}
    assert {v: n for v, n in enumerate(report.values) if n} == {0: 12, 3: 44, 10: 12, 11: 12}
    assert report.class_pixels == (12, 0, 0, 44, 0, 0, 0, 0, 0, 0, 12)
    assert report.images_with == (1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1)
    assert report.pixels_around == (48, 0, 0, 80, 0, 0, 0, 0, 0, 0, 48)
    assert (report.labelled, report.pixels) == (68, 80)
    assert kinds(report, "warning") == {"never seen": 0}
    assert "8 classes never occur: Building, Pole," in problem(report, "never seen")


def test_the_report_does_not_depend_on_the_number_of_threads(tmp_path) -> None:
    root = make_camvid(tmp_path)
    for number in range(20):
        save_image(root / f"train/n{number}.jpg")
        save_mask(root / f"trainannot/n{number}.png", number % 13)
    dataset = load_dataset("camvid", root, "train")
    steps: list[int] = []
    first = check_dataset(dataset, workers=1, advance=lambda: steps.append(1))
    assert len(steps) == 22
    assert check_dataset(dataset, workers=7) == first
    assert kinds(first) == {"values": 1}


# Faults of single files


def test_files_without_a_partner_are_counted(tmp_path) -> None:
    root = make_camvid(tmp_path)
    save_image(root / "train/lonely.png")
    save_mask(root / "trainannot/orphan.png", 0)
    report = check("camvid", root)
    assert kinds(report) == {"no mask": 1}
    assert kinds(report, "warning")["no image"] == 1
    assert (report.unlabelled, report.orphans) == (1, 1)


def test_unequal_sizes_are_a_fault_and_upright_photos_are_not(tmp_path) -> None:
    root = make_camvid(tmp_path)
    rotated = Image.open(root / "train/a.jpg").transpose(Image.Transpose.ROTATE_90)
    exif = rotated.getexif()
    exif[0x0112] = 6
    rotated.save(root / "train/a.jpg", exif=exif)
    assert kinds(check("camvid", root)) == {}
    assert kinds(check("camvid", root, decode_images=True)) == {}
    save_mask(root / "trainannot/a.png", 0, height=5)
    report = check("camvid", root)
    assert kinds(report) == {"size": 1}
    assert "has 8x5 pixels, its image 8x6" in problem(report, "size")
    assert "nearest-neighbour" in hint(report, "size")


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n"])
def test_unreadable_files_are_faults(content, tmp_path) -> None:
    root = make_camvid(tmp_path)
    (root / "trainannot/a.png").write_bytes(content)
    (root / "train/b.jpg").write_bytes(content)
    report = check("camvid", root)
    assert kinds(report) == {"unreadable mask": 1, "unreadable image": 1}
    assert report.pairs == 2


def test_a_cut_off_image_is_found_by_decoding(tmp_path) -> None:
    root = make_camvid(tmp_path)
    save_mask(root / "trainannot/a.png", 0, height=64)
    whole = save_image(root / "train/a.jpg", 64, 8).read_bytes()
    (root / "train/a.jpg").write_bytes(whole[:-200])
    assert kinds(check("camvid", root)) == {}
    assert kinds(check("camvid", root, decode_images=True)) == {"unreadable image": 1}


def test_colours_in_place_of_ids_are_named(tmp_path) -> None:
    root = make_camvid(tmp_path)
    Image.new("RGB", (8, 6), (128, 64, 128)).save(root / "trainannot/a.png")
    report = check("camvid", root)
    assert kinds(report) == {"colours": 1}
    assert "(128, 64, 128) (48 pixels)" in problem(report, "colours")
    assert "transfer-labels" in hint(report, "colours")
    assert report.kinds == {"8 bits": 1, "colours": 1}


def test_invalid_values_are_counted(tmp_path) -> None:
    root = make_camvid(tmp_path)
    save_mask(root / "trainannot/a.png", 0, 12, 77, 200)
    save_mask(root / "trainannot/b.png", 0, 12)
    report = check("camvid", root)
    assert kinds(report) == {"values": 2}
    assert "a.png holds the values 12 (12 pixels), 77 (12 pixels), 200" in (
        problem(report, "values")
    )
    assert report.wrong == 60


def test_instance_files_of_16_bits_are_reported(tmp_path) -> None:
    root = make_cityscapes(tmp_path)
    mask = root / "gtFine/val/ulm/ulm_000002_000019_gtFine_labelIds.png"
    Image.fromarray(np.full((6, 8), 26001, np.uint16)).save(mask)
    report = check("cityscapes", root, "val")
    assert kinds(report) == {"values": 1}
    assert "values above 255 (48 pixels)" in problem(report, "values")
    assert report.kinds == {"16 bits": 1}


def test_blended_masks_are_distinguished_from_single_invalid_values(tmp_path) -> None:
    root = make_folder(tmp_path)
    blended = np.arange(48, dtype=np.uint8).reshape(6, 8)
    Image.fromarray(blended).save(root / "masks/train/a.png")
    report = check("folder", root)
    assert kinds(report) == {"blended values": 1}
    assert "nearest neighbour" in hint(report, "blended values")


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_masks_stored_as_jpeg_are_faults_whatever_their_name(tmp_path, name: str) -> None:
    root = make_folder(tmp_path)
    (root / "masks/train/a.png").unlink()
    Image.new("L", (8, 6)).save(root / "masks/train" / name, format="JPEG")
    report = check("folder", root)
    assert kinds(report)["lossy mask"] == 1
    assert f"{name} is JPEG, which changes values" in problem(report, "lossy mask")


@pytest.mark.parametrize("rotated", ["images", "masks", "both"])
def test_a_pair_with_one_file_rotated_by_exif_gets_a_warning(tmp_path, rotated: str) -> None:
    root = make_folder(tmp_path)
    exif = Image.Exif()
    exif[0x112] = 3
    for kind in ("images", "masks") if rotated == "both" else (rotated,):
        [path] = (root / kind / "train").glob("a.*")
        with Image.open(path) as image:
            image.load()
        image.save(path, exif=exif)
    report = check("folder", root)
    assert report.clean
    expected = {} if rotated == "both" else {"one of a pair turned": 1}
    assert {k: n for k, n in kinds(report, "warning").items() if "turned" in k} == expected


def test_colours_stored_as_grey_are_read_as_colours(tmp_path) -> None:
    colors = [{"name": "a", "color": [128, 64, 128]}, {"name": "b", "color": [128, 128, 128]}]
    root = make_folder(tmp_path, {"mask_colors": True, "class": colors})
    Image.new("RGB", (8, 6), (128, 64, 128)).save(root / "masks/train/a.png")
    Image.new("L", (8, 6), 128).save(root / "masks/train/deep/b.png")
    report = check("folder", root)
    assert report.clean
    assert report.class_pixels == (48, 48)


def test_masks_of_colours_are_checked_against_the_class_file(tmp_path) -> None:
    colors = {"mask_colors": True, "class": [{"name": "a", "color": [0, 0, 9]}]}
    root = make_folder(tmp_path, colors)
    Image.new("RGB", (8, 6), (0, 0, 9)).save(root / "masks/train/a.png")
    half = Image.new("RGB", (8, 6), (0, 0, 9))
    half.paste((1, 2, 3), (0, 0, 2, 6))
    half.save(root / "masks/train/deep/b.png")
    report = check("folder", root)
    assert kinds(report) == {"values": 1}
    assert "unknown colours: (1, 2, 3) (12 pixels)" in problem(report, "values")
    assert (report.labelled, report.wrong) == (84, 12)
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).save(root / "masks/train/a.png")
    assert kinds(check("folder", root))["ids"] == 1
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(noise).save(root / "masks/train/a.png")
    assert kinds(check("folder", root))["blended values"] == 1


def test_a_mask_without_labels_gets_a_warning(tmp_path) -> None:
    root = make_camvid(tmp_path)
    save_mask(root / "trainannot/a.png", 11, 255)
    report = check("camvid", root)
    assert report.clean
    assert kinds(report, "warning")["blank"] == 1


# Faults of a whole split


def test_binary_masks_are_reported_with_a_hint(tmp_path) -> None:
    root = make_camvid(tmp_path)
    for name in ("a", "b"):
        save_mask(root / f"trainannot/{name}.png", 0, 255)
    report = check("camvid", root)  # so few masks can have one class and ignored pixels by chance
    assert report.clean
    assert kinds(report, "warning")["binary masks"] == 0
    assert "ids = [255]" in hint(report, "binary masks")
    save_mask(root / "trainannot/a.png", 0, 255, 3)
    assert kinds(check("camvid", root)) == {}


def test_many_binary_masks_of_two_classes_are_a_fault(tmp_path) -> None:
    root = make_folder(tmp_path, {"class": [{"name": "a", "id": 0}, {"name": "b", "id": 1}]})
    for name in map(str, range(8)):
        Image.new("RGB", (8, 6)).save(root / f"images/train/{name}.png")
    for name in ("a", "deep/b", *map(str, range(8))):
        save_mask(root / f"masks/train/{name}.png", 0, 255)
    assert kinds(check("folder", root)) == {"binary masks": 0}


def test_the_hint_about_binary_masks_works(tmp_path) -> None:
    classes = {"class": [{"name": "ground", "id": 0}, {"name": "crack", "ids": [255]}]}
    root = make_folder(tmp_path, classes)
    for name in ("a", "deep/b"):
        save_mask(root / f"masks/train/{name}.png", 0, 255)
    report = check("folder", root)
    assert kinds(report) == {}
    assert report.class_pixels == (48, 48)


def test_a_split_without_any_label_is_a_fault_unless_it_is_the_test_split(tmp_path) -> None:
    root = make_cityscapes(tmp_path)
    save_mask(root / "gtFine/val/ulm/ulm_000002_000019_gtFine_labelIds.png", 3)
    assert kinds(check("cityscapes", root, "val")) == {"no labels": 0}
    (root / "leftImg8bit/val").rename(root / "leftImg8bit/test")
    (root / "gtFine/val").rename(root / "gtFine/test")
    assert kinds(check("cityscapes", root, "test")) == {}
    shutil.rmtree(root / "gtFine/test")
    report = check("cityscapes", root, "test")
    assert (report.bare, report.pairs, report.faults) == (1, 0, ())


def rename_masks(root: Path, old: str, new: str) -> None:
    for path in list(root.rglob(f"*{old}.png")):
        path.rename(path.with_name(path.name.replace(old, new)))


def test_train_ids_in_files_named_as_label_ids_are_reported(tmp_path) -> None:
    root = make_cityscapes(tmp_path)
    for path in root.rglob("*_labelIds.png"):
        save_mask(path, 0, 8, 255)
    report = check("cityscapes", root)
    assert kinds(report) == {"train ids": 2}
    assert "rename the files to *_labelTrainIds.png" in hint(report, "train ids")
    for path in root.rglob("*_labelIds.png"):
        save_mask(path, 0, 8, 0, 2, 1)
    assert kinds(check("cityscapes", root)) == {"train ids": 0}
    rename_masks(root, "labelIds", "labelTrainIds")
    assert kinds(check("cityscapes", root)) == {}


def test_label_ids_without_sky_are_not_mistaken_for_train_ids(tmp_path) -> None:
    root = make_cityscapes(tmp_path)
    for path in root.rglob("*_labelIds.png"):
        save_mask(path, 7, 11, 0)
    assert kinds(check("cityscapes", root)) == {}


def test_label_ids_in_files_named_as_train_ids_are_reported(tmp_path) -> None:
    root = make_cityscapes(tmp_path)
    rename_masks(root, "labelIds", "labelTrainIds")
    report = check("cityscapes", root)
    assert kinds(report) == {"label ids": 2}
    assert "*_labelIds.png" in hint(report, "label ids")


def test_rare_classes_get_a_warning(tmp_path) -> None:
    root = make_folder(tmp_path)
    save_image(root / "images/train/a.jpg", 100, 100)
    big = np.zeros((100, 100), np.uint8)
    big[0, :5] = 2
    Image.fromarray(big).save(root / "masks/train/a.png")
    save_mask(root / "masks/train/deep/b.png", 1)
    report = check("folder", root)
    assert "car (0.050%)" in problem(report, "rare classes")


def test_refusing_names_the_first_fault_and_counts_the_others(tmp_path) -> None:
    root = make_camvid(tmp_path)
    save_mask(root / "trainannot/a.png", 12)
    save_mask(root / "trainannot/b.png", 12)
    with pytest.raises(DsegError) as caught:
        check("camvid", root).refuse_faults()
    assert "a.png holds the value 12 (48 pixels)" in caught.value.problem
    assert caught.value.problem.endswith("1 more fault.")
    assert "dseg check-data --dataset camvid --data-dir DIR --split train" in caught.value.hint


def test_only_the_first_names_of_a_fault_are_kept(tmp_path) -> None:
    root = make_camvid(tmp_path)
    for number in range(9):
        save_image(root / f"train/n{number}.jpg")
        save_mask(root / f"trainannot/n{number}.png", 99)
    (fault,) = (f for f in check("camvid", root).faults if f.level == "fault")
    assert fault.count == 9
    assert [Path(name).name for name in fault.files] == ["n0.png", "n1.png", "n2.png"]


# Class weights


def test_weights_follow_their_formulas(tmp_path) -> None:
    root = make_folder(tmp_path)
    save_mask(root / "masks/train/a.png", 1)  # 48 road
    save_mask(root / "masks/train/deep/b.png", 0, 1, 2, 2)  # 12 puddle, 12 road, 24 car
    report = check("folder", root)
    assert (report.class_pixels, report.labelled) == ((60, 24, 12), 96)
    expected = [1 / math.log(1.10 + fraction) for fraction in (0.625, 0.25, 0.125)]
    assert class_weights(report, "log") == pytest.approx(expected)
    expected = [1 / math.log(1.02 + fraction) for fraction in (0.625, 0.25, 0.125)]
    assert class_weights(report, "log", 1.02) == pytest.approx(expected)
    # frequencies 60/96, 24/48, 12/48; their median is 0.5
    assert class_weights(report, "median") == pytest.approx((0.8, 1.0, 2.0))


def test_ignored_pixels_do_not_affect_log_weights(tmp_path) -> None:
    report = check("camvid", make_camvid(tmp_path))
    assert (report.labelled, report.pixels) == (72, 96)
    assert class_weights(report, "log")[3] == pytest.approx(1 / math.log(1.10 + 24 / 72))


def test_an_absent_class_has_median_weight_0_and_the_largest_log_weight(tmp_path) -> None:
    root = make_folder(tmp_path)
    for name in ("a", "deep/b"):
        save_mask(root / f"masks/train/{name}.png", 1, 2)
    report = check("folder", root)
    assert class_weights(report, "median") == (1.0, 1.0, 0.0)
    assert class_weights(report, "log")[2] == pytest.approx(10.492, abs=1e-3)


def test_weights_without_labelled_pixels_are_refused(tmp_path) -> None:
    root = make_camvid(tmp_path)
    for name in ("a", "b"):
        save_mask(root / f"trainannot/{name}.png", 11)
    for kind in ("log", "median"):
        with pytest.raises(DsegError, match="No pixel"):
            class_weights(check("camvid", root), kind)
    with pytest.raises(DsegError, match="k=1 is not above 1"):
        class_weights(check("camvid", root, "val"), "log", 1)


# The command


def run_check(name: str, root: Path, *words):
    return run("check-data", "--dataset", name, "--data-dir", root, *words)


def test_the_command_shows_tables_and_ends_with_0(tmp_path) -> None:
    result = run_check("camvid", make_camvid(tmp_path), "--weights", "median")
    assert result.exit_code == 0, result.output
    assert "camvid train" in result.stdout
    assert "camvid val" in result.stdout
    assert "0, 3, 10-11" in result.stdout
    assert "median weight" in result.stdout
    assert "WARNING never seen: 8 classes" in result.stdout
    assert "3 masks read: no faults." in result.stderr


def test_the_command_ends_with_1_where_there_are_faults(tmp_path) -> None:
    root = make_camvid(tmp_path)
    save_mask(root / "trainannot/a.png", 12)
    result = run_check("camvid", root, "-q", "--split", "train")
    assert (result.exit_code, result.stderr) == (1, "")
    assert "FAULT values: " in result.stdout
    assert "  Hint: choose the matching --dataset" in result.stdout
    assert run_check("camvid", root, "-q", "--split", "val").exit_code == 0


def test_json_is_strict_and_alone_on_stdout(tmp_path) -> None:
    root = make_voc(tmp_path)
    result = run_check("voc", root, "--json", "-", "--weights", "log", "-j", 2)
    facts = json.loads(result.stdout)
    assert (facts["clean"], facts["dataset"], facts["label_space"]) == (True, "voc", "voc")
    train = facts["splits"]["train"]
    assert train["sizes"] == [{"height": 6, "width": 8, "images": 2}]
    assert train["mask_kinds"] == {"palette": 2}
    assert train["values"] == {"0": 36, "15": 36, "255": 24}
    assert (train["pixels"], train["pixels_labelled"], train["pixels_ignored"]) == (96, 72, 24)
    assert train["classes"][15] == {"name": "person", "pixels": 36, "images": 2}
    assert len(train["log_weights"]) == 21
    target = tmp_path / "report.json"
    assert run_check("voc", root, "--json", target).exit_code == 0
    assert json.loads(target.read_text())["clean"] is True


def test_weights_of_a_split_without_labels_are_left_out(tmp_path) -> None:
    root = make_camvid(tmp_path)
    for folder in ("test", "testannot"):
        (root / folder).mkdir()
    save_image(root / "test/a.png")
    result = run_check("camvid", root, "--json", "-", "--weights", "median")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["splits"]["test"]["median_weights"] is None


def test_masks_can_be_mapped_before_they_are_counted(tmp_path) -> None:
    result = run_check(
        "camvid", make_camvid(tmp_path), "--label-space", "cityscapes", "--json", "-"
    )
    facts = json.loads(result.stdout)
    assert facts["label_space"] == "cityscapes"
    assert facts["splits"]["train"]["pixels_labelled"] == 48


def test_the_command_refuses_what_it_cannot_check(tmp_path) -> None:
    root = make_camvid(tmp_path / "camvid")
    refused(run_check("voc", root), 2, "is not a voc data set", "--dataset camvid")
    refused(run_check("coco", root), 2, "No data set named 'coco'", "cityscapes, camvid")
    refused(run_check("camvid", root, "--split", "test"), 2, "no split 'test'", "train, val")
    refused(run_check("camvid", root, "--label-space", "x"), 2, "Unknown label space 'x'")
    refused(run_check("folder", root, "--classes", "x.toml"), 2, "The class file x.toml")
    refused(run_check("scenes", tmp_path / "no"), 2, "does not exist", "dseg scenes")


def test_names_with_control_characters_are_shown_escaped(tmp_path) -> None:
    root = make_camvid(tmp_path)
    save_image(root / "train" / "x\x1b[31m\n.png")
    result = run_check("camvid", root, "-q")
    assert result.exit_code == 1
    assert "\\x1b[31m\\n.png has no mask" in result.stdout


def test_class_names_with_brackets_are_shown_as_they_are(tmp_path) -> None:
    root = make_folder(tmp_path, {"class": [{"name": "lane [/x] [red]", "ids": [0, 1, 2, 4]}]})
    assert "lane [/x] [red]" in run_check("folder", root).stdout


def test_a_class_file_can_be_anywhere(tmp_path) -> None:
    root = make_folder(tmp_path / "data")
    moved = tmp_path / "mine.json"
    (root / "classes.json").rename(moved)
    assert run_check("folder", root, "--classes", moved).exit_code == 0
    write(root / "classes.json", "broken")
    assert run_check("folder", root, "--classes", moved).exit_code == 0
