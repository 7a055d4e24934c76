"""``dseg init``: folders of people who know nothing of class files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_runs import misused, refused, run
from data_trees import save_image, save_mask
from PIL import Image

from dseg.datasets import find_splits, load_dataset

NAMES = "abcdef"


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_pairs(image: str, mask: str, *values: int, names: str = NAMES) -> None:
    """Write images and masks at the places that patterns with ``*`` name."""
    for name in names:
        save_image(Path(image.replace("*", name)))
        save_mask(Path(mask.replace("*", name)), *values)


def init(*words: object) -> dict:
    result = run("init", "data", *words, "--json", "-")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def row_of(split: str = "all") -> list[int]:
    return load_dataset("folder", "data", split).read(0).train_ids[0].tolist()


def test_a_class_file_stands_in_for_dataset_in_every_command() -> None:
    make_pairs("data/images/*.jpg", "data/masks/*.png", 0, 1, 255)
    words = ("--data-dir", "data")
    problem = "--dataset is missing, and data has no class file"
    refused(run("check-data", *words), 2, problem, "for own images and masks: dseg init")
    init("--names", "road,car")
    checked = run("check-data", *words, "--split", "all")
    assert (checked.exit_code, "6 masks read: no faults." in checked.stderr) == (0, True)
    cached = run("cache", *words, "--split", "all", "--out", "caches")
    assert cached.exit_code == 0, cached.output
    scored = run("eval", *words, "--pred-dir", "data/masks", "--split", "all", "--json", "-")
    assert scored.exit_code == 0, scored.output
    assert json.loads(scored.stdout)["dataset"] == "folder"


def test_ids_in_flat_folders(tmp_path) -> None:
    make_pairs("data/images/*.jpg", "data/masks/*.png", 0, 1, 2, 255)
    found = init("--names", "road,car,sky")
    assert found["classes"] == ["road", "car", "sky"]
    assert (found["masks_hold"], found["splits"]) == ("ids", {"all": 6})
    assert [value["fraction"] for value in found["values"]] == [0.25] * 4
    assert row_of() == [0, 0, 1, 1, 2, 2, 255, 255]
    assert find_splits("folder", Path("data")) == ("train", "val")


def test_0_and_255_need_one_name() -> None:
    make_pairs("data/photos/*.jpg", "data/gt/*_mask.png", 0, 255)
    assert init("--names", "crack")["classes"] == ["background", "crack"]
    assert row_of() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_colours_are_listed_by_area() -> None:
    colors = np.zeros((6, 8, 3), np.uint8)
    colors[:, :5], colors[:, 5:7] = (128, 64, 128), (0, 0, 142)
    for name in NAMES:
        save_image(Path(f"data/imgs/{name}.png"))
        Path("data/labels").mkdir(exist_ok=True)
        Image.fromarray(colors).save(f"data/labels/{name}_L.png")
    found = init("--names", "road,car,ignore")
    assert [value["value"] for value in found["values"]] == ["128 64 128", "0 0 142", "0 0 0"]
    assert row_of() == [0, 0, 0, 0, 0, 1, 1, 255]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("data/train/images/*.jpg", "data/train/masks/*.png"),
        ("data/images/train/*.jpg", "data/annotations/train/*.png"),
        ("data/train/*.jpg", "data/trainannot/*.png"),
        ("data/train/rgb/*_rgb.png", "data/train/gt/*_gt.png"),
        ("data/img_train/*.jpg", "data/seg_train/*.png"),
        ("data/training/x/*_leftImg8bit.png", "data/training_gt/x/*_gtFine_labelIds.png"),
    ],
)
def test_splits_are_found_in_folders(image, mask) -> None:
    for split in ("train", "val"):
        other = "training" if "training" in image and split == "train" else split
        places = [
            place.replace("training", "train").replace("train", other) for place in (image, mask)
        ]
        make_pairs(*places, 0, 1)
    found = run("init", "data", "--names", "road,car", "--json", "-")
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["splits"] == {"train": 6, "val": 6}
    assert row_of("train") == row_of("val") == [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("data/*.jpg", "data/*.png"),
        ("data/*.png", "data/*_mask.png"),
        ("data/day/*.jpg", "data/day/*_seg.png"),
    ],
)
def test_images_and_masks_lie_in_one_folder(image, mask) -> None:
    make_pairs(image, mask, 0, 1)
    assert init("--names", "road,car")["splits"] == {"all": 6}
    assert len(load_dataset("folder", "data", "all")) == 6


def test_a_table_in_the_folder_names_the_classes() -> None:
    make_pairs("data/images/*.jpg", "data/masks/*.png", 0, 1)
    Path("data/classes.csv").write_text("name,id\nroad,0\ncar,1\nbus,2\n")
    assert init()["classes"] == ["road", "car", "bus"]
    Path("other.tsv").write_text("name\tid\nroad\t0\n")
    result = run("init", "data", "--labels", "other.tsv", "--overwrite")
    refused_with = "other.tsv lacks 1 values of the masks: 1."
    assert (result.exit_code, refused_with in result.stderr) == (2, True)


def test_the_name_of_a_label_space_names_its_ids() -> None:
    make_pairs("data/images/*.jpg", "data/masks/*.png", 7, 26, 0)
    assert len(init("--names", "cityscapes")["classes"]) == 19
    assert row_of() == [0, 0, 0, 13, 13, 13, 255, 255]


def test_without_names_the_classes_are_numbered() -> None:
    make_pairs("data/images/*.jpg", "data/masks/*.png", 3, 5, 9)
    result = run("init", "data")
    assert result.exit_code == 0, result.output
    assert "the classes are called class 0, class 1, class 2" in result.stderr
    assert "Next: dseg train --data-dir data --out run" in result.stderr
    assert load_dataset("folder", "data", "all").space.label_ids == (3, 5, 9)
    assert load_dataset("folder", "data", "all").read(0).train_ids[0].tolist() == [
        *(0, 0, 0, 1, 1, 1, 2, 2)
    ]


def test_equal_names_join_values_and_a_dash_ignores_one() -> None:
    make_pairs("data/images/*.jpg", "data/masks/*.png", 0, 1, 2, 3)
    assert init("--names", "road,car,car,-")["classes"] == ["road", "car"]
    assert row_of() == [0, 0, 1, 1, 1, 1, 255, 255]


def test_the_class_file_has_a_comment_for_each_field() -> None:
    make_pairs("data/images/*.jpg", "data/masks/*_m.png", 0, 1)
    init("--names", "road,car")
    lines = Path("data/classes.toml").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("mask_suffix"))
    assert line.split("#")[0].strip() == 'mask_suffix = "_m"'
    assert line.endswith("# end of the masks' names, before the extension")
    assert "id = 1  # 50.00% of the pixels, in 6 of 6 masks" in lines
    assert max(map(len, lines)) <= 100


def test_the_contact_sheet_shows_images_beside_their_masks() -> None:
    make_pairs("data/images/*.jpg", "data/masks/*.png", 0, 1)
    found = init("--names", "road,car")
    with Image.open(found["contact_sheet"]) as sheet:
        assert sheet.width == 1280
        colors = {color for _, color in sheet.convert("RGB").getcolors(1 << 24)}
    space = load_dataset("folder", "data", "all").space
    assert set(space.colors) <= colors


def test_what_cannot_be_described_is_refused_in_two_lines() -> None:
    refused(run("init", "gone"), 2, "gone does not exist.", "name the folder")
    Path("data").mkdir()
    refused(run("init", "data"), 2, "data holds no images", "name the folder that holds images")
    for name in NAMES:
        save_image(Path(f"data/{name}.jpg"), 64, 64)
    refused(run("init", "data"), 2, "holds 6 images, but no masks", "dseg infer")
    for name in NAMES:
        save_image(Path(f"data/masks/{name}.jpg"), 64, 64)
    refused(run("init", "data"), 2, "JPEG changes values", "export them as PNG")


def test_wrong_names_are_refused_and_nothing_is_written() -> None:
    make_pairs("data/images/*.jpg", "data/masks/*.png", 0, 1, 2)
    result = run("init", "data", "--names", "road,car")
    assert result.exit_code == 2
    assert "2 names are given, but the masks hold 3 ids: 0, 1, 2." in result.stderr
    assert "All values are ignored." in run("init", "data", "--names", "-,-,-").stderr
    assert not Path("data/classes.toml").exists()
    misused(run("init"), "FOLDER")
    both = run("init", "data", "--names", "a,b,c", "--table", "idd")
    refused(both, 2, "--names and --table both name the classes.", "give one of them")


def test_an_existing_class_file_is_not_lost() -> None:
    make_pairs("data/images/*.jpg", "data/masks/*.png", 0, 1)
    Path("data/classes.toml").write_text("mine")
    refused(run("init", "data", "--names", "a,b"), 2, "already exists", "--overwrite")
    assert Path("data/classes.toml").read_text() == "mine"
    assert run("init", "data", "--names", "a,b", "--out", "other.toml").exit_code == 0
    assert load_dataset("folder", "data", "all", class_file="other.toml").space.names == ("a", "b")


def test_files_without_partner_are_counted() -> None:
    make_pairs("data/images/*.jpg", "data/masks/*.png", 0, 1)
    save_image(Path("data/images/alone.jpg"))
    save_mask(Path("data/masks/lonely.png"), 0)
    found = init("--names", "a,b")
    assert (found["images_without_mask"], found["masks_without_image"]) == (1, 1)


def test_a_data_set_that_needs_no_class_file_is_named() -> None:
    make_pairs("data/train/*.jpg", "data/trainannot/*.png", 0, 1)
    refused(run("init", "data"), 2, "has the layout of the data set camvid", "--dataset camvid")


def write_labelme(path: Path, *shapes: dict) -> None:
    save_image(path, 6, 8)
    facts = {"version": "5", "imagePath": path.name, "shapes": list(shapes), "imageData": None}
    path.with_suffix(".json").write_text(json.dumps(facts))


def test_polygons_of_labelme_become_masks() -> None:
    Path("data").mkdir()
    left = {"label": "road", "points": [[0, 0], [3, 0], [3, 5], [0, 5]], "shape_type": "polygon"}
    box = {"label": "car", "points": [[2, 0], [5, 5]], "shape_type": "rectangle"}
    line = {"label": "wire", "points": [[0, 0], [5, 5]], "shape_type": "line"}
    for name in NAMES:
        write_labelme(Path(f"data/{name}.jpg"), left, box, line)
    result = run("init", "data")
    assert result.exit_code == 0, result.output
    assert "Drawn from the annotations: 6 masks" in result.stderr
    assert Path("data/labels.csv").read_text() == 'name,id\n"background",0\n"car",1\n"road",2\n'
    dataset = load_dataset("folder", "data", "all")
    assert (len(dataset), dataset.space.names) == (6, ("background", "car", "road"))
    assert row_of() == [2, 2, 1, 1, 1, 1, 0, 0]


def test_a_damaged_annotation_is_refused() -> None:
    Path("data").mkdir()
    write_labelme(Path("data/a.jpg"), {"label": "road", "points": "x"})
    refused(run("init", "data"), 2, "data/a.json has a damaged shape", "save it again")
    write_labelme(Path("data/a.jpg"))
    refused(run("init", "data"), 2, "The annotations in data have no regions", "draw polygons")
    Path("data/a.jpg").unlink()
    refused(run("init", "data"), 2, "belongs to the image a.jpg, which is not in", "beside")


def write_coco(root: Path) -> None:
    annotations = []
    for at, name in enumerate(NAMES, 1):
        save_image(root / f"images/{name}.jpg", 6, 8)
        polygon = [0, 0, 3, 0, 3, 5, 0, 5]
        facts = {"image_id": at, "id": at, "area": 20, "bbox": [0, 0, 4, 6], "iscrowd": 0}
        annotations.append({**facts, "category_id": 9, "segmentation": [polygon]})
    images = [
        {"id": at, "file_name": f"{name}.jpg", "width": 8, "height": 6}
        for at, name in enumerate(NAMES, 1)
    ]
    categories = [{"id": 9, "name": "road"}, {"id": 4, "name": "car"}]
    (root / "annotations").mkdir()
    facts = {"images": images, "categories": categories, "annotations": annotations}
    (root / "annotations/instances_default.json").write_text(json.dumps(facts))


def test_an_export_of_coco_is_read_by_datumaro() -> None:
    pytest.importorskip("datumaro")
    write_coco(Path("data"))
    assert run("init", "data").exit_code == 0
    assert row_of() == [1, 1, 1, 1, 0, 0, 0, 0]


def test_without_datumaro_an_export_of_coco_names_the_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "datumaro", None)
    write_coco(Path("data"))
    refused(run("init", "data"), 2, "which are read by Datumaro", "pip install 'dseg[formats]'")


def test_masks_below_the_images_are_no_images() -> None:
    make_pairs("data/*.jpg", "data/masks/*.png", 0, 1)
    assert init("--names", "a,b")["splits"] == {"all": 6}
    assert len(load_dataset("folder", "data", "all")) == 6


def test_at_a_terminal_the_values_are_drawn_before_they_are_named(monkeypatch) -> None:
    make_pairs("data/images/*.jpg", "data/masks/*.png", 0, 1, 2)
    monkeypatch.setattr(sys.modules["dseg.cli.init"], "at_terminal", lambda: True)
    drawn = []
    monkeypatch.setattr(
        "click.prompt", lambda text, **_: drawn.append(Path("data-overview.png").exists()) or "x"
    )
    result = run("init", "data")
    assert result.exit_code == 0, result.output
    assert drawn == [True] * 3
    assert load_dataset("folder", "data", "all").space.names == ("x",)


def test_a_picture_of_the_user_is_not_replaced_by_the_contact_sheet() -> None:
    make_pairs("data/images/*.jpg", "data/masks/*.png", 0, 1)
    save_image(Path("data-overview.png"), 30, 40)
    mine = Path("data-overview.png").read_bytes()
    for _ in range(2):  # our own is replaced
        assert init("--names", "a,b", "--overwrite")["contact_sheet"] == "data-overview-dseg.png"
    assert Path("data-overview.png").read_bytes() == mine
    found = {path.name for path in Path().glob("*.png")}
    assert found == {"data-overview.png", "data-overview-dseg.png"}


def test_a_folder_with_a_class_file_needs_no_dataset() -> None:
    make_pairs("data/images/*.jpg", "data/masks/*.png", 0, 1)
    init("--names", "a,b")
    words = ("--data-dir", "data", "--out", "run", "--dry-run", "--device", "cpu", "-j", 0)
    assert run("train", *words).exit_code == 0
    make_pairs("other/images/*.jpg", "other/masks/*.png", 0, 1)
    assert run("train", "--data-dir", "other", "--out", "run").exit_code == 2


def test_folders_for_each_site_are_all_used() -> None:
    make_pairs("data/siteA/*.jpg", "data/siteA/*.png", 0, 1, names="ab")
    make_pairs("data/siteB/*.jpg", "data/siteB/*.png", 0, 1, names="ab")
    assert init("--names", "a,b")["splits"] == {"all": 4}
    assert len(load_dataset("folder", "data", "all")) == 4


def test_folders_of_images_and_masks_for_each_site_are_all_used() -> None:
    make_pairs("data/siteX/images/*.jpg", "data/siteX/masks/*.png", 0, 1, names="ab")
    make_pairs("data/siteY/images/*.jpg", "data/siteY/masks/*.png", 0, 1, names="abc")
    assert init("--names", "a,b")["splits"] == {"all": 5}
    assert [sample.name for sample in load_dataset("folder", "data", "all").samples] == [
        *("siteX/a", "siteX/b", "siteY/a", "siteY/b", "siteY/c")
    ]


def test_results_of_dseg_are_not_masks_and_unused_files_are_listed() -> None:
    make_pairs("data/images/*.jpg", "data/masks/*.png", 0, 1)
    make_pairs("data/images/*.jpg", "data/dseg-out/label_ids/*.png", 7, 11)
    make_pairs("data/images/*.jpg", "data/depth/*_d.png", 3, names="a")
    Path("data/dseg-out/dseg-run.json").write_text("{}")
    result = run("init", "data", "--names", "a,b")
    assert result.exit_code == 0, result.output
    assert row_of() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert "depth (*.png): 1" in result.stdout


@pytest.mark.parametrize("count", [2, 5, 10, 12, 20])
def test_masks_beside_images_are_found_whatever_their_number(count) -> None:
    make_pairs("data/*.png", "data/*_mask.png", 0, 1, names="abcdefghijklmnopqrst"[:count])
    assert init("--names", "a,b")["splits"] == {"all": count}


@pytest.mark.parametrize("names", ["a", "abc"])
def test_photos_with_a_common_ending_only_have_no_masks(names) -> None:
    for name in names:
        save_image(Path(f"data/{name}_leftImg8bit.png"), 64, 64)
    refused(run("init", "data"), 2, "but no masks that correspond", "dseg infer")
    for name in names:
        Path(f"data/{name}_leftImg8bit.png").unlink()
        save_mask(Path(f"data/{name}_mask.png"), 0, 1)
    refused(run("init", "data"), 2, "but no masks that correspond", "dseg infer")


def test_a_class_file_that_could_not_be_read_replaces_none() -> None:
    make_pairs("data/images/*.jpg", "data/masks/*.png", 0, 1)
    init("--names", "a,b")
    before = Path("data/classes.toml").read_text()
    assert "the same name" in run("init", "data", "--names", "a,A", "--overwrite").stderr
    assert Path("data/classes.toml").read_text() == before
    refused(
        run("init", "data", "--out", "x.json"), 2, "x.json is not named .toml", "--out FILE.toml"
    )
