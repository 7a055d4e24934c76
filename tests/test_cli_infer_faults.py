"""Errors of ``dseg infer``: wrong options, wrong weights, broken images."""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_runs import NOT_UTF8, contents, misused, refused, run, save_noise, written
from PIL import Image

# Errors before the run


def test_a_wrong_networks_name_brings_the_nearest(here):
    misused(run("infer", "img", "--model", "DenseASSP-161"), "Did you mean denseaspp161")


def test_missing_weights_name_the_file_its_source_and_its_place(here):
    refused(
        run("infer", "img", "--model", "DenseASPP161"),
        3,
        "No weights for denseaspp161 in weights, ",
        "get denseASPP161.pkl from ",
    )
    result = run("infer", "img", "--model", "DenseASPP161")
    assert "put it at weights/denseASPP161.pkl" in result.stderr.splitlines()[1]
    refused(
        run("infer", "img", "--model", "mobilenetdenseaspp", "-w", "gone.pth"),
        3,
        "Checkpoint gone.pth does not exist.",
    )
    assert not Path("dseg-out").exists()


def test_a_checkpoint_of_another_network_is_refused_by_name(here, checkpoint):
    refused(
        run("infer", "img", "--model", "DenseASPP121", "-w", checkpoint),
        3,
        "does not fit denseaspp121: ",
        "try --model mobilenetdenseaspp.",
    )
    assert not Path("dseg-out").exists()


class Bomb:
    def __reduce__(self):
        return os.system, ("touch was-run",)


@pytest.mark.parametrize("name", ["truncated", "empty", "text", "code", "folder"])
def test_files_that_are_not_checkpoints_are_refused(here, checkpoint, name):
    broken = Path(f"{name}.pth")
    if name == "truncated":
        broken.write_bytes(checkpoint.read_bytes()[:100_000])
    elif name == "code":
        torch.save({"state_dict": Bomb()}, broken)
    elif name == "folder":
        broken.mkdir()
    else:
        broken.write_text("" if name == "empty" else "hello")
    problem = {
        "code": "contains code (posix.system), not only tensors; it was rejected",
        "folder": "Checkpoint folder.pth does not exist.",
    }.get(name, f"{name}.pth is not a complete checkpoint: ")
    refused(run("infer", "img", "--model", "mobilenetdenseaspp", "-w", broken), 3, problem)
    assert not Path("was-run").exists()
    assert not Path("dseg-out").exists()


@pytest.mark.parametrize(
    ("words", "problem", "hint"),
    [
        ([], "No images are named.", "--img-dir DIR"),
        (["--img-dir", "empty"], "No image in 'empty'.", "*.png *.jpg"),
        (["nowhere"], "nowhere does not exist.", "spelling"),
        (["two\nlines"], r"two\nlines does not exist.", "spelling"),
        (["img", "-o", "img"], "img is the folder of the images.", "name another --out"),
        (["--img-dir", "link", "-o", "img/"], "img is the folder of the images.", "--out"),
        (
            ["img/color", "-o", "img"],
            "img/color is in a folder to which results of img are written.",
            "--out",
        ),
        (["img", "--device", "cuda:99"], "no device 'cuda:99'", "choose auto or one of: cpu"),
        (["img", "--device", "gpu"], "no device 'gpu'", "choose auto or one of: cpu"),
        (["img", "--tile", "8x8"], "A tile of 8x8 is too small.", "at least 32"),
        (["img", "--overlap", "1"], "An overlap of 1.0 is not a fraction", "0 to below 1"),
    ],
)
def test_wrong_options_are_refused_in_two_lines(infer, words, problem, hint):
    Path("empty").mkdir()
    Path("link").symlink_to("img")
    save_noise("img/color/c.png", 16, 16)
    before = contents("img")
    refused(infer(*words), 2, problem, hint)
    assert contents("img") == before
    assert not Path("dseg-out").exists()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--tile", "64x"], "'64x' is not a size like 1024x2048"),
        (["--tile", "64x64x3"], "is not a size"),
        (["--tile", "-64"], "is not a size"),
        (["--tile", "\N{SUPERSCRIPT TWO}00"], "is not a size"),
        (["--overlap", "1/0"], "'1/0' is not a fraction like 0.25 or 1/3"),
        (["--overlap", "half"], "'half' is not a fraction"),
        (["--overlap", "nan"], "'nan' is not a finite number"),
        (["--opacity", "nan"], "'nan' is not a finite number"),
        (["--fps", "inf"], "'inf' is not a finite number"),
        (["--save", "colours"], "'colours' is not one of "),
        (["--save", ""], "'' is not one of "),
        (["--max-pixels", "0"], "0 is not in the range x>=1"),
        (["--amp", "int4"], "'int4' is not one of"),
        (["--colour"], "No such option"),
    ],
)
def test_bad_values_are_refused(infer, words, problem):
    misused(infer("img", *words), problem)


@pytest.mark.parametrize("scales", ["", "1,", "big", "1;2"])
def test_bad_lists_of_scales_are_refused(infer, scales):
    misused(infer("img", "--scales", scales, command="multiscale-infer"), "is not a list of scales")


@pytest.mark.parametrize("scales", ["0", "-1", "9"])
def test_scales_out_of_range_are_refused(infer, scales):
    refused(infer("img", "--scales", scales, command="multiscale-infer"), 2, "cannot be used.")


# Bad images


def write_bad_images() -> dict[str, str]:
    """Write files that cannot be labelled; return the message for each."""
    folder = Path("img")
    whole = (folder / "a.png").read_bytes()
    (folder / "truncated.png").write_bytes(whole[:4000])
    (folder / "text.png").write_text("not an image")
    (folder / "empty.jpg").touch()
    (folder / "two words.png").touch()
    (folder / "Größe 車.png").touch()
    (folder / NOT_UTF8).touch()
    (folder / "gone.png").symlink_to("nowhere")
    header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    check = struct.pack(">I", zlib.crc32(header))
    (folder / "bomb.png").write_bytes(
        whole[:8] + struct.pack(">I", 13) + header + check + whole[33:]
    )
    return {
        "truncated.png": "cannot be decoded: image file is truncated",
        "text.png": "cannot be decoded: it is not one of PNG",
        "empty.jpg": "cannot be decoded: the file is empty.",
        "two words.png": "cannot be decoded: the file is empty.",
        "Größe 車.png": "cannot be decoded: the file is empty.",
        NOT_UTF8: "cannot be decoded: the file is empty.",
        "gone.png": "does not exist.",
        "bomb.png": "has 30000x30000 pixels, more than 200,000,000.",
    }


def test_broken_images_are_listed_and_the_others_are_done(infer):
    said = write_bad_images()
    Image.fromarray(np.full((20, 30), 40_000, np.uint16)).save("img/deep.png")
    Image.new("CMYK", (30, 20), (0, 99, 99, 0)).save("img/print.jpg")
    Image.new("1", (30, 20), 1).save("img/bits.tif")
    result = infer("img", "--json", "-", "--save", "label_ids")
    assert result.exit_code == 1
    facts = json.loads(result.stdout)
    assert (facts["done"], facts["skipped"]) == (5, 0)
    good = ["a.png", "bits.png", "deep.png", "print.png", "sub/b.png"]
    assert written("dseg-out/label_ids") == good
    problems = {Path(entry["file"]).name: entry["problem"] for entry in facts["failed"]}
    assert problems.keys() == said.keys()
    for name, problem in said.items():
        assert problem in problems[name]
    assert "5 labelled, 0 already there, 8 failed" in result.stderr
    assert "failed: img/two words.png cannot be decoded: the file is empty." in result.stderr
    assert "failed: img/Größe 車.png cannot be decoded" in result.stderr
    assert r"failed: img/\udcff\udcfe.png cannot be decoded" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Next:" not in result.stderr


def test_json_has_names_of_any_bytes_and_needs_no_more_than_ascii_on_stdout(infer):
    write_bad_images()
    infer("img", "--json", "facts.json")
    names = {entry["file"] for entry in json.loads(Path("facts.json").read_text())["failed"]}
    assert f"img/{NOT_UTF8}" in names and "img/Größe 車.png" in names
    result = infer("img", "--json", "-")
    assert result.stdout.isascii()
    assert {entry["file"] for entry in json.loads(result.stdout)["failed"]} == names


def test_only_broken_images_is_a_failed_run_too(infer):
    Path("bad").mkdir()
    Path("bad/a.png").touch()
    result = infer("bad")
    assert result.exit_code == 1
    assert "0 labelled, 0 already there, 1 failed" in result.stderr


def test_max_pixels_lets_larger_images_fail(infer):
    result = infer("img", "--max-pixels", "2000")
    assert result.exit_code == 1
    assert "failed: img/a.png has 64x48 pixels, more than 2,000." in result.stderr
    assert written("dseg-out/label_ids") == ["sub/b.png"]


def test_line_breaks_and_terminal_codes_in_names_are_shown_escaped(infer):
    Path("img/a\n\x1b[2J.png").touch()
    result = infer("img")
    assert r"failed: img/a\n\x1b[2J.png cannot be decoded: the file is empty." in (
        result.stderr.splitlines()
    )
