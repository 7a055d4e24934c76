"""Folders as people have them, from ``dseg init`` to what training reads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_runs import refused, run, save_noise
from data_trees import save_image, save_mask, write
from PIL import Image

from dseg.datasets import find_splits, load_dataset
from dseg.training.overlap import describe_overlap, find_overlap

NAMES = ("a1", "a2", "b3", "c4")
RED, BLUE = (200, 0, 0), (0, 0, 200)


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_pairs(image: str, mask: str, *values: int, names: tuple[str, ...] = NAMES) -> None:
    for name in names:
        save_image(Path(image.replace("*", name)))
        save_mask(Path(mask.replace("*", name)), *values)


def init(*words: object) -> str:
    """Return what is printed, with single spaces."""
    result = run("init", "data", *words)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def names_of(split: str) -> list[str]:
    return [sample.name for sample in load_dataset("folder", "data", split).samples]


def row_of(split: str = "all") -> list[int]:
    return load_dataset("folder", "data", split).read(0).train_ids[0].tolist()


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("data/images/*.jpg", "data/labels/mask_*.png"),
        ("data/images/img_*.jpg", "data/masks/mask_*.png"),
        ("data/img_*.jpg", "data/mask_*.png"),
        ("data/img_*.png", "data/mask_*.png"),
        ("data/*.png", "data/mask_*.png"),
        ("data/images/x/image-*.jpg", "data/masks/x/seg-*_l.png"),
    ],
)
def test_names_can_differ_by_their_beginnings(image, mask) -> None:
    make_pairs(image, mask, 0, 1)
    init("--names", "a,b")
    folder = "x/" if "/x/" in image else ""
    assert names_of("all") == [folder + name for name in NAMES]
    assert row_of() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_numbers_behind_image_and_mask_correspond() -> None:
    for at in (1, 2, 10, 11):
        make_pairs(f"data/images/image{at}.jpg", f"data/masks/mask{at}.png", 0, 1, names=("",))
    init("--names", "a,b")
    assert names_of("all") == ["1", "10", "11", "2"]


def test_several_images_have_one_mask_and_stay_in_one_split() -> None:
    for name in NAMES:
        for density in ("0.01", "0.02"):
            save_image(Path(f"data/images/{name}_foggy_beta_{density}.png"))
        save_mask(Path(f"data/masks/{name}.png"), 0, 1)
    assert "pairs all 8" in init("--names", "a,b")
    assert (len(names_of("train")), len(names_of("val"))) == (6, 2)
    assert len({name.partition("_")[0] for name in names_of("val")}) == 1


def test_smoothed_masks_of_0_and_255_are_read_by_halves() -> None:
    make_pairs("data/images/*.jpg", "data/masks/*.png", 0, 0, 0, 0, 255, 255, 255, 255)
    near = np.repeat(np.array([0, 0, 0, 3, 252, 255, 255, 255], np.uint8)[None], 6, axis=0)
    Image.fromarray(near).save("data/masks/a1.png")
    assert "values below 128 count as 0, others as 255" in init("--names", "crack")
    assert row_of() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert load_dataset("folder", "data", "all").space.label_ids == (0, 255)


def test_jpeg_masks_of_0_and_255_are_trained_on() -> None:
    for name in NAMES:
        save_image(Path(f"data/images/{name}.jpg"), 64, 64)
        mask = np.zeros((64, 64), np.uint8)
        mask[:, 27:] = 255
        mask[20:24, 40:44] = 128
        Path("data/masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(f"data/masks/{name}.jpg", quality=90)
    init("--names", "crack")
    assert run("check-data", "--dataset", "folder", "--data-dir", "data").exit_code == 0
    masks = {name: np.zeros((64, 64), np.uint8) for name in NAMES}
    for name, mask in masks.items():
        mask[:, 27:] = 255
        Path("found").mkdir(exist_ok=True)
        Image.fromarray(mask).save(f"found/{name}.png")
    words = ("--dataset", "folder", "--data-dir", "data", "--split", "all", "--json", "-")
    scored = run("eval", "--pred-dir", "found", *words)
    assert scored.exit_code == 0, scored.output
    assert row_of()[:20] + row_of()[34:] == [0] * 20 + [1] * 30


def test_rare_blended_colours_are_ignored_and_reported() -> None:
    rng = np.random.default_rng(0)
    for name in NAMES:
        save_image(Path(f"data/images/{name}.png"), 100, 200)
        colors = np.zeros((100, 200, 3), np.uint8)
        colors[:, :100], colors[:, 100:] = RED, BLUE
        colors[rng.integers(1, 100, 20), 100] = rng.integers(1, 199, (20, 3))
        colors[0, 0] = (100, 0, 100)
        Path("data/masks").mkdir(exist_ok=True)
        Image.fromarray(colors).save(f"data/masks/{name}.png")
    assert "look like smoothed edges" in init("--names", "a,b")
    row = row_of()
    assert (row[0], set(row[1:100]), set(row[101:])) == (255, {0}, {1})
    assert run("check-data", "--dataset", "folder", "--data-dir", "data").exit_code == 0


def save_palette(path: str, *colors: tuple[int, int, int]) -> None:
    Path(path).parent.mkdir(exist_ok=True)
    image = Image.fromarray(np.repeat([[0, 1]], 6, axis=0).repeat(4, axis=1).astype(np.uint8))
    image.putpalette([channel for color in colors for channel in color])
    image.save(path)


def test_palettes_that_differ_are_read_by_colour() -> None:
    for name in NAMES:
        save_image(Path(f"data/images/{name}.jpg"))
        save_palette(f"data/masks/{name}.png", *((BLUE, RED) if name == "b3" else (RED, BLUE)))
    said = init("--names", "a,b")
    assert "The palettes of the masks differ (in masks/b3.png)" in said
    dataset = load_dataset("folder", "data", "all")
    assert len({dataset.read(at).train_ids.tobytes() for at in (0, 1, 3)}) == 1
    assert (dataset.read(2).train_ids == 1 - dataset.read(0).train_ids).all()


def test_palettes_that_differ_are_a_fault_where_masks_are_read_by_index() -> None:
    write("data/classes.toml", 'classes = ["a", "b"]')
    for name in NAMES:
        save_image(Path(f"data/images/{name}.jpg"))
        save_palette(f"data/masks/{name}.png", *((BLUE, RED) if name == "b3" else (RED, BLUE)))
    result = run("check-data", "--dataset", "folder", "--data-dir", "data", "--split", "all")
    assert result.exit_code == 1
    assert (
        "FAULT palettes: data/masks/b3.png shows the value 0 as (0, 0, 200), data/masks/a1.png as "
        "(200, 0, 0)." in result.stdout
    )
    words = ("--dataset", "folder", "--data-dir", "data", "--out", "run", "--device", "cpu")
    refused(run("train", *words, "-q"), 2, "b3.png shows the value 0 as", "mask_colors = true")


@pytest.mark.parametrize(
    ("masks", "what"),
    [
        ("data/masks/*_mask{}.png", "one for each object"),
        ("data/*_{}.png", "one for each object"),
        ("data/masks/class{}/*.png", "one for each class, in the folders class0, class1, class2"),
    ],
)
def test_several_masks_of_one_image_are_refused(masks, what) -> None:
    for at in range(3):
        make_pairs("data/images/*.jpg", masks.format(at), 0, 255)
    if "data/*" in masks:
        for name in NAMES:
            shutil.move(f"data/images/{name}.jpg", f"data/{name}.jpg")
    refused(run("init", "data"), 2, what, "one mask for each image")
    assert not Path("data/classes.toml").exists()


def test_masks_as_ids_and_as_colours_beside_each_other_are_one_mask() -> None:
    make_pairs("data/*.png", "data/*_gt.png", 0, 1, 2)
    for name in NAMES:
        Image.fromarray(np.full((6, 8, 3), RED, np.uint8)).save(f"data/{name}_gt_color.png")
    said = init("--names", "a,b,c")
    assert "not used *_gt_color.png: 4" in said
    assert "without mask" not in said
    assert len(names_of("all")) == 4


def test_lists_divide_own_classes_in_the_layout_of_voc() -> None:
    make_pairs("data/JPEGImages/*.jpg", "data/SegmentationClass/*.png", 0, 1, 30)
    write("data/ImageSets/Segmentation/train.txt", "a1\nb3.jpg\r\nc4\n")
    write("data/ImageSets/Segmentation/val.txt", "a2\n")
    assert "pairs train 3, val 1" in init("--names", "a,b,c")
    assert find_splits("folder", Path("data")) == ("train", "val")
    assert (names_of("train"), names_of("val")) == (["a1", "b3", "c4"], ["a2"])
    assert len(names_of("all")) == 4
    write("data/ImageSets/Segmentation/val.txt", "a2\ngone\n")
    checked = run("check-data", "--dataset", "folder", "--data-dir", "data", "--split", "val")
    refused(checked, 2, "val.txt, line 2: there is no image gone.", "one image per line")


def test_lists_beside_the_folders_are_not_those_of_camvid() -> None:
    make_pairs("data/images/*.jpg", "data/masks/*.png", 0, 1)
    write("data/train.txt", "a1\na2\nb3\n")
    write("data/valid.txt", "c4\n")
    init("--names", "a,b")
    assert names_of("val") == ["c4"]


def test_images_without_a_mask_are_left_out() -> None:
    make_pairs("data/images/*.jpg", "data/masks/*.png", 0, 1)
    save_image(Path("data/images/alone.jpg"))
    assert "Images without a mask (1) are left out" in init("--names", "a,b")
    assert len(names_of("train")) + len(names_of("val")) == 4
    text = Path("data/classes.toml").read_text().replace('"skip"', '"refuse"')
    Path("data/classes.toml").write_text(text)
    words = ("--data-dir", "data", "--out", "run", "--device", "cpu")
    refused(run("train", *words), 2, "of the split train", 'without_mask = "skip"')


def test_odd_values_and_sizes_are_reported() -> None:
    names = tuple("abcdefghijkl")
    make_pairs("data/images/*.png", "data/masks/*.png", 0, 1, names=names)
    for name in names[1:]:
        save_image(Path(f"data/images/{name}.png"), 60, 80)
        save_mask(Path(f"data/masks/{name}.png"), 0, 1, height=60)
        wide = np.asarray(Image.open(f"data/masks/{name}.png")).repeat(10, axis=1)
        Image.fromarray(wide).save(f"data/masks/{name}.png")
    mask = np.array(Image.open("data/masks/c.png"))
    mask[0, 0] = 77
    Image.fromarray(mask).save("data/masks/c.png")
    save_image(Path("data/images/a.png"), 12, 16)
    said = init("--names", "a,b,-")
    assert "Only one mask holds the value 77 (1 pixel in data/masks/c.png)" in said
    assert "Masks that differ in size from their images: 1 (first: data/masks/a.png)." in said


def test_255_is_a_class_if_there_is_only_one_other() -> None:
    make_pairs("data/images/*.jpg", "data/masks/*.png", 1, 255)
    init("--names", "a,b")
    assert row_of() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_ids_above_255_are_refused_with_what_to_do() -> None:
    for name in NAMES:
        save_image(Path(f"data/images/{name}.jpg"))
        Path("data/masks").mkdir(exist_ok=True)
        mask = np.repeat(np.array([[0, 200, 400, 51_000]], np.uint16), 6, axis=0).repeat(2, axis=1)
        Image.fromarray(mask).save(f"data/masks/{name}.png")
    result = run("init", "data")
    assert result.exit_code == 2
    assert "Error: The masks hold 4 values up to 51000, for example data/masks/" in result.stderr
    assert "save these values as 0, 1, 2 and so on" in result.stderr


def test_a_single_class_is_not_trained() -> None:
    make_pairs("data/images/*.jpg", "data/masks/*.png", 0, 1)
    assert "WARNING: There is one class only" in init("--names", "road,-")
    words = ("--data-dir", "data", "--out", "run", "--device", "cpu", "-q")
    refused(run("train", *words), 2, "folder has one class, road", "give the other pixels a class")


def test_one_image_is_trained_on_without_validation() -> None:
    make_pairs("data/images/*.jpg", "data/masks/*.png", 0, 1, names=("a",))
    said = init("--names", "a,b")
    assert "There is only one image, so none is held back" in said
    assert "--data-dir data --split all --val-split none --out run" in said
    assert find_splits("folder", Path("data")) == ("train",)
    words = ("--data-dir", "data", "--out", "run", "--device", "cpu")
    refused(run("train", *words), 2, "has no split 'val'", "--split all --val-split none")


def test_without_a_val_split_its_option_is_named() -> None:
    make_pairs("data/train/images/*.jpg", "data/train/masks/*.png", 0, 1)
    assert "--data-dir data --val-split 0.2 --out run" in init("--names", "a,b")
    words = ("--data-dir", "data", "--out", "run", "--device", "cpu")
    refused(run("train", *words), 2, "has no split 'val'", "--val-split 0.2")


def make_different_pairs() -> None:
    make_pairs("data/images/*.png", "data/masks/*.png", 0, 1)
    for seed, name in enumerate(NAMES):
        save_noise(Path(f"data/images/{name}.png"), 6, 8, seed)


def test_images_that_are_trained_and_validated_on_are_reported() -> None:
    make_different_pairs()
    init("--names", "a,b")
    words = ("--data-dir", "data", "--out", "run", "--device", "cpu", "--dry-run", "-j", 0)
    result = run("train", *words, "--split", "all")
    assert result.exit_code == 0, result.output
    said = " ".join(result.stderr.split())
    assert "WARNING: 1 of the 1 validation images is also trained on, the first: data/" in said
    assert "would be that of images seen in training" in said


def test_the_same_files_and_copies_are_found_in_two_splits() -> None:
    make_different_pairs()
    init("--names", "a,b")
    train, val = (load_dataset("folder", "data", split) for split in ("train", "val"))
    assert describe_overlap(train, val) == describe_overlap(train, None) == ""
    assert "WARNING: 3 of the 3 validation images are also" in describe_overlap(train, train)
    whole = load_dataset("folder", "data", "all")
    assert find_overlap(train, whole) == [sample.image for sample in train.samples]
    shutil.copy(train.samples[1].image, val.samples[0].image)
    assert find_overlap(train, val) == [val.samples[0].image]


def test_a_missing_table_of_labels_is_named() -> None:
    make_pairs("data/images/*.jpg", "data/masks/*.png", 0, 1)
    refused_with = run("init", "data", "--labels", "gone.csv")
    assert refused_with.exit_code == 2
    assert "Error: gone.csv does not exist." in refused_with.stderr
    Path("x.csv").write_bytes(b"PK\3\4\xff\xfe")
    assert "x.csv cannot be read as text." in run("init", "data", "--labels", "x.csv").stderr


def test_what_both_prefixes_share_is_no_part_of_them() -> None:
    make_pairs("data/images/img_0001_*.jpg", "data/masks/gt_0001_*.png", 0, 1)
    init("--names", "a,b")
    save_image(Path("data/images/img_0002_a.jpg"))
    save_mask(Path("data/masks/gt_0002_a.png"), 0, 1)
    assert "0002_a" in names_of("all")


def test_ranges_in_the_map_of_a_class_file() -> None:
    make_pairs("data/images/*.jpg", "data/masks/*.png", 7, 9, 11)
    text = (
        'images = "images"\nmasks = "masks"\nclasses = ["a", "b"]\n[map]\n"7-9" = "a"\n"11" = "b"\n'
    )
    Path("data/classes.toml").write_text(text)
    found = load_dataset("folder", "data", "all").read(0).train_ids[0]
    assert set(found.tolist()) == {0, 1}


def test_a_ready_made_table_that_finds_nothing_is_refused_and_one_that_fits_badly_noted() -> None:
    make_pairs(
        "data/leftImg8bit/train/0/*_leftImg8bit.png",
        "data/gtFine/train/0/*_gtFine_labelids.png",
        0,
        1,
    )
    said = init()
    assert "WARNING: In " in said and " classes occur" in said
    before = Path("data/classes.toml").read_bytes()
    result = run("init", "data", "--table", "idd-level3", "--overwrite")
    refused(
        result, 2, "The class file idd-level3 finds no image with a mask in data.", "--table list"
    )
    assert Path("data/classes.toml").read_bytes() == before
    assert "idd-level3" in run("init", "--table", "list").stdout


def test_damaged_and_other_shapes_of_labelme_are_reported() -> None:
    for name in "abc":
        save_image(Path(f"data/{name}.jpg"), 40, 30)
        shapes = [
            {"label": "car", "points": [[2, 2], [20, 2], [20, 20]], "shape_type": "polygon"},
            {"label": "kerb", "points": [[2, 2], [20, 2]], "shape_type": "line"},
        ]
        fields = {"shapes": shapes, "imagePath": f"{name}.jpg", "imageHeight": 40, "imageWidth": 30}
        Path(f"data/{name}.json").write_text(json.dumps(fields))
    Path("data/d.json").write_text('{"shapes": [')
    save_image(Path("data/d.jpg"), 40, 30)
    refused(run("init", "data"), 2, "data/d.json cannot be read as JSON.", "save it again")
    Path("data/d.json").unlink()
    Path("data/c.json").write_text(json.dumps({**fields, "imageHeight": 400}))
    refused(run("init", "data"), 2, "data/c.json is of an image of 30x400 pixels", "annotated")
    Path("data/c.json").write_text(json.dumps(fields))
    said = init("--names", "-,car")
    assert "WARNING: 3 shapes of the type line left out; polygons, rectangles and circles" in said


def test_a_list_with_a_mistake_is_reported() -> None:
    make_pairs("data/images/*.jpg", "data/masks/*.png", 0, 1)
    Path("data/train.txt").write_text("a1\na2\nb3\n")
    Path("data/val.txt").write_text("c4\nmissing\n")
    said = init("--names", "a,b")
    assert "WARNING: A list is not used: " in said and "val.txt, line 2: " in said
