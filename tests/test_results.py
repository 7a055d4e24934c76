"""Results of ``dseg infer`` besides ids and colours: masks, COCO, areas, entropy, contact sheet."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from cli_runs import contents, misused, pixels, refused, save_noise, written
from PIL import Image

from dseg.predict.coco import compress_counts, encode_classes
from dseg.predict.masks import folder_of

NAMES = ("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign",
         "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train",
         "motorcycle", "bicycle")  # fmt: skip


def decode(segmentation: dict) -> np.ndarray:
    """Read compressed run lengths as the COCO API documents them, one character at a time."""
    counts: list[int] = []
    text, at = segmentation["counts"], 0
    while at < len(text):
        value = shift = 0
        while True:
            group = ord(text[at]) - 48
            value |= (group & 31) << shift
            at, shift = at + 1, shift + 5
            if not group & 32:
                break
        if group & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
    height, width = segmentation["size"]
    inside = np.repeat(np.arange(len(counts)) % 2, counts)
    return inside.reshape(width, height).T.astype(bool)


# Binary masks


def test_masks_are_255_where_a_class_is(infer):
    save = "train_ids,mask:sky,traffic light+Traffic-Sign,color"
    result = infer("img", "--save", save)
    assert result.exit_code == 0, result.output
    folders = ("color", "mask/sky", "mask/traffic_light+traffic_sign", "train_ids")
    files = [f"{folder}/{name}.png" for folder in folders for name in ("a", "sub/b")]
    assert written() == sorted([*files, "dseg-run.json"])
    train_ids = pixels("dseg-out/train_ids/a.png")
    sky = pixels("dseg-out/mask/sky/a.png")
    signs = pixels("dseg-out/mask/traffic_light+traffic_sign/a.png")
    assert sky.dtype == np.uint8 and set(np.unique(sky)) <= {0, 255}
    np.testing.assert_array_equal(sky == 255, train_ids == 10)
    np.testing.assert_array_equal(signs == 255, (train_ids == 6) | (train_ids == 7))
    Path("dseg-out/mask/sky/a.png").unlink()
    assert "1 labelled, 1 already there" in infer("img", "--save", save).stderr


def test_an_unknown_class_or_kind_is_refused_with_the_known_ones(infer):
    refused(infer("img", "--save", "mask:car,persn"), 2, "no class 'persn'", "did you mean person?")
    refused(infer("img", "--save", "mask:xyz"), 2, "no class 'xyz'", "use one of road, sidewalk,")
    misused(infer("img", "--save", "masks"), "'masks' is not one of areas, coco, ")
    misused(infer("img", "--save", "mask:"), "'mask:' is not one of ")
    misused(infer("img", "--save", "mask:car,"), "'' is not one of ")


def test_a_mask_folder_is_always_below_the_results():
    assert folder_of("mask:../../Traffic light+a/b") == "mask/______traffic_light+a_b"
    assert folder_of("color") == "color"


def test_an_overwrite_removes_the_masks_of_other_options_too(infer):
    infer("img", "--save", "mask:sky")
    assert infer("img", "--save", "mask:car", "--tile", "32", "--overwrite").exit_code == 0
    assert written() == ["dseg-run.json", "mask/car/a.png", "mask/car/sub/b.png"]


# COCO


def test_coco_run_lengths_are_those_of_the_published_format():
    assert compress_counts(np.array([0, 1, 3])) == "013"
    assert compress_counts(np.array([6, 1, 40, 4, 5, 4, 5, 4, 21])) == "61X13mN000`0"
    mask = np.zeros((3, 4), np.uint8)
    mask[1:, 1] = 1
    found = {key: value["segmentation"]["counts"] for key, value in encode_classes(mask, 2)}
    assert found == {0: "0422", 1: "426"}
    mask[0, 3] = 2
    for train_id, facts in encode_classes(mask, 3):
        np.testing.assert_array_equal(decode(facts["segmentation"]), mask == train_id)


def test_coco_is_one_file_of_all_images_of_all_runs(infer):
    infer("img/a.png", "--save", "coco,train_ids")
    assert len(json.loads(Path("dseg-out/coco.json").read_text())["images"]) == 1
    result = infer("img", "--save", "coco,train_ids")
    assert "1 labelled, 1 already there" in result.stderr
    found = json.loads(Path("dseg-out/coco.json").read_text())
    assert [category["name"] for category in found["categories"]] == list(NAMES)
    assert found["images"] == [
        {"id": 1, "file_name": "a.png", "width": 64, "height": 48},
        {"id": 2, "file_name": "sub/b.jpg", "width": 50, "height": 40},
    ]
    label_ids = [category["id"] for category in found["categories"]]
    annotations = found["annotations"]
    assert [one["id"] for one in annotations] == list(range(1, len(annotations) + 1))
    for number, name in ((1, "a"), (2, "sub/b")):
        train_ids = pixels(f"dseg-out/train_ids/{name}.png")
        ours = [one for one in annotations if one["image_id"] == number]
        assert len(ours) == len(np.unique(train_ids)) > 2
        for one in ours:
            mask = train_ids == label_ids.index(one["category_id"])
            np.testing.assert_array_equal(decode(one["segmentation"]), mask)
            rows, columns = np.nonzero(mask)
            width, height = columns.max() - columns.min() + 1, rows.max() - rows.min() + 1
            assert one["bbox"] == [columns.min(), rows.min(), width, height]
            assert one["area"] == mask.sum()


def test_several_runs_over_other_images_give_the_files_of_one_run(infer):
    save_noise("img/sub/c.png", 40, 50)
    save = ("--save", "overlay,coco,areas")
    for images in ("img/sub", "img/a.png"):
        assert infer(images, *save, "-o", "parts").exit_code == 0
    Path("flat").mkdir()
    for name in ("a.png", "sub/b.jpg", "sub/c.png"):
        (Path("flat") / Path(name).name).write_bytes((Path("img") / name).read_bytes())
    assert infer("flat", *save, "-o", "whole").exit_code == 0
    assert contents("parts") == contents("whole")
    with Path("parts/areas.csv").open(newline="") as file:
        assert [row[0] for row in csv.reader(file)] == ["file", "a.png", "b.jpg", "c.png"]
    assert pixels("parts/overview.jpg").shape[1] == 2 * 328 + 8


def test_files_of_the_user_stay_where_results_have_their_names(infer):
    save_noise("x/overview.jpg", 40, 50)
    Path("x/coco.json").write_text('{"images": []}')
    Path("x/areas.csv").write_text("file;size")
    mine = contents("x")
    save = ("--save", "overlay,coco,areas", "-o", "x")
    result = infer("img", *save)
    assert result.exit_code == 0
    for name, used in (("coco.json", "coco-dseg.json"), ("areas.csv", "areas-dseg.csv"),
                       ("overview.jpg", "overview-dseg.jpg")):  # fmt: skip
        note = f"note: x/{name} was not written by dseg and is kept; {used} is written instead.\n"
        assert note in result.stderr
    assert result.stderr.endswith("Look first at: x/overview-dseg.jpg\n")
    written_first = contents("x")
    assert {name: data for name, data in written_first.items() if name in mine} == mine
    assert infer("img", "x/overview.jpg", *save).exit_code == 0  # more is written over our own
    assert {name: contents("x")[name] for name in mine} == mine
    assert set(contents("x")) - set(written_first) == {
        "overlay/overview.png",
        "coco/overview.json",
        "areas/overview.json",
    }


def test_a_damaged_part_of_a_joined_file_is_named(infer):
    infer("img", "--save", "coco")
    Path("dseg-out/coco/a.json").write_text("{")
    Path("dseg-out/coco.json").unlink()
    refused_words = infer("img", "--save", "coco")
    assert refused_words.exit_code == 2
    assert "Error: dseg-out/coco/a.json is damaged" in refused_words.stderr
    assert refused_words.stderr.endswith("Hint: remove it, and run again.\n")


# Tables and heat maps


def test_areas_are_the_fractions_of_the_classes(infer):
    infer("img", "--save", "areas,train_ids")
    with Path("dseg-out/areas.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["file", "width", "height", *NAMES]
    assert [row[:3] for row in rows] == [["a.png", "64", "48"], ["sub/b.jpg", "50", "40"]]
    train_ids = pixels("dseg-out/train_ids/a.png")
    for index, fraction in enumerate(rows[0][3:]):
        assert float(fraction) == pytest.approx((train_ids == index).mean(), abs=1e-6)


def test_entropy_is_a_heat_map_whose_values_are_fractions_of_the_largest_entropy(infer):
    infer("img", "--save", "entropy,confidence")
    with Image.open("dseg-out/entropy/a.png") as image:
        assert image.mode == "P"
        assert image.getpalette()[:3] == [0, 0, 3] and image.getpalette()[-3:] == [252, 254, 164]
        entropy = np.asarray(image).astype(float) / 255
    best = pixels("dseg-out/confidence/a.png").astype(float) / 255
    # between one other class with the whole rest, and the rest evenly over all 18 others
    rest = np.clip(1 - best, 1e-6, 1)
    own = -best * np.log(best)
    lower = (own - rest * np.log(rest)) / np.log(19)
    upper = (own - rest * np.log(rest / 18)) / np.log(19)
    at = best > 0.5
    assert (entropy <= upper + 0.02).all() and (entropy[at] >= lower[at] - 0.02).all()
    assert entropy.std() > 0.01


# The overlay's options, and the contact sheet


def test_options_of_overlays_are_those_of_the_folder(infer):
    infer("img", "--save", "label_ids")
    assert "overlay" not in json.loads(Path("dseg-out/dseg-run.json").read_text())
    result = infer("img", "--save", "overlay", "--opacity", "0.8", "--side-by-side")
    assert result.exit_code == 0, result.output
    settings = json.loads(Path("dseg-out/dseg-run.json").read_text())
    assert settings["overlay"] == {"opacity": 0.8, "legend": "strip", "side_by_side": True}
    assert pixels("dseg-out/overlay/a.png").shape == (48 + 21, 128, 3)
    assert infer("img", "--save", "label_ids").exit_code == 0
    problem = "dseg-out holds results of another run (side-by-side: True, now False)."
    refused(infer("img", "--save", "overlay", "--opacity", "0.8"), 2, problem, "--overwrite")


def test_an_opacity_above_1_is_refused(infer):
    misused(infer("img", "--opacity", "1.2"), "1.2 is not in the range 0<=x<=1.")


def test_the_contact_sheet_shows_images_of_earlier_runs_too(infer):
    infer("img/a.png")
    assert not Path("dseg-out/overview.jpg").exists()
    infer("img")
    first = pixels("dseg-out/overview.jpg")
    infer("img", "-o", "again")
    both = pixels("again/overview.jpg")
    assert first.shape == both.shape and first.shape[1] == 2 * 328 + 8
    assert np.abs(first.astype(int) - both).mean() < 1
    before = contents("dseg-out")
    assert "0 labelled" in infer("img").stderr
    assert contents("dseg-out") == before


def test_the_contact_sheet_is_no_input(infer):
    save_noise("photos/x.png", 30, 40)
    save_noise("photos/y.png", 30, 40)
    for _ in range(2):
        result = infer("photos", "-o", "photos")
    refused(result, 2, "photos is the folder of the images.")
    for _ in range(2):
        assert infer("photos", "-o", "photos/out").exit_code == 0
    assert "0 labelled, 2 already there" in infer("photos", "-o", "photos/out").stderr
    result = infer("photos/**/*.*g", "photos/*.png", "-o", "photos/out")
    assert "0 labelled, 2 already there" in result.stderr
