"""``dseg infer`` and ``dseg multiscale-infer``: their files and messages for good images."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_runs import NOT_UTF8, contents, pixels, refused, run, save_noise, written
from PIL import Image

from dseg.checkpoints import save_model
from dseg.cli import console
from dseg.models import build_model
from dseg.predict import readahead as ahead
from dseg.predict import results
from dseg.predict.inputs import describe_unread

LABEL_IDS = {7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33}
COLOR_OF = {  # of label ids, from the Cityscapes paper's table
    7: (128, 64, 128),
    8: (244, 35, 232),
    11: (70, 70, 70),
    12: (102, 102, 156),
    13: (190, 153, 153),
    17: (153, 153, 153),
    19: (250, 170, 30),
    20: (220, 220, 0),
    21: (107, 142, 35),
    22: (152, 251, 152),
    23: (70, 130, 180),
    24: (220, 20, 60),
    25: (255, 0, 0),
    26: (0, 0, 142),
    27: (0, 0, 70),
    28: (0, 60, 100),
    31: (0, 80, 100),
    32: (0, 0, 230),
    33: (119, 11, 32),
}


# Files


def test_every_kind_is_written_at_the_images_size_in_the_images_tree(infer):
    result = infer("img", "--save", "label_ids,train_ids,color,overlay,confidence")
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    kinds = ("color", "confidence", "label_ids", "overlay", "train_ids")
    files = [f"{kind}/{name}.png" for kind in kinds for name in ("a", "sub/b")]
    assert written() == sorted([*files, "dseg-run.json", "overview.jpg"])
    for kind in kinds:
        depth = (3,) if kind == "overlay" else ()
        assert pixels(f"dseg-out/{kind}/a.png").shape == (48, 64, *depth)
        assert pixels(f"dseg-out/{kind}/sub/b.png").shape == (40, 50, *depth)
        assert pixels(f"dseg-out/{kind}/a.png").dtype == np.uint8


def test_ids_and_colours_are_those_of_cityscapes(infer):
    infer("img", "--save", "ids,train_ids,colour")
    label_ids = pixels("dseg-out/label_ids/a.png")
    train_ids = pixels("dseg-out/train_ids/a.png")
    present = set(np.unique(label_ids).tolist())
    assert len(present) > 5 and present <= LABEL_IDS
    np.testing.assert_array_equal(np.array(sorted(LABEL_IDS))[train_ids], label_ids)
    with Image.open("dseg-out/color/a.png") as image:
        assert (image.format, image.mode) == ("PNG", "P")
        np.testing.assert_array_equal(np.asarray(image), train_ids)
        colors = np.asarray(image.convert("RGB"))
    for label_id in present:
        assert np.unique(colors[label_ids == label_id], axis=0).tolist() == [
            list(COLOR_OF[label_id])
        ]


def test_at_opacity_1_the_overlay_shows_the_colours_and_at_0_the_image(infer):
    infer("img/a.png", "--save", "overlay,color", "--opacity", 1, "--legend", "none")
    with Image.open("dseg-out/color/a.png") as image:
        colors = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(pixels("dseg-out/overlay/a.png"), colors)
    infer("img/a.png", "-o", "zero", "--save", "overlay", "--opacity", 0, "--legend", "none")
    np.testing.assert_array_equal(pixels("zero/overlay/a.png"), pixels("img/a.png"))


@pytest.mark.parametrize(
    ("save", "folders"),
    [
        ("label_ids", ["label_ids"]),
        ("IDs", ["label_ids"]),
        ("color, overlay", ["color", "overlay"]),
        ("train-ids,colour,color", ["color", "train_ids"]),
        ("conf", ["confidence"]),
        (None, ["color", "label_ids", "overlay"]),
    ],
)
def test_save_chooses_the_kinds(infer, save, folders):
    result = infer("img/a.png", *([] if save is None else ["--save", save]))
    assert result.exit_code == 0, result.output
    assert written() == sorted(["dseg-run.json", *(f"{folder}/a.png" for folder in folders)])


def test_the_ancestors_spelling_of_options_is_understood(here, checkpoint):
    for number, words in enumerate(
        [
            ["--model_name", "MobileNet-DenseASPP", "--model_path", checkpoint, "--img_dir", "img"],
            ["--model-name", "mobilenetdenseaspp", "--model-path", checkpoint, "--img-dir", "img"],
            ["--model", "MOBILENETDENSEASPP", "--checkpoint", checkpoint, "img"],
        ]
    ):
        result = run("infer", *words, "--out", f"out{number}", "--device", "cpu")
        assert result.exit_code == 0, result.output
        assert contents(f"out{number}") == contents("out0")
    assert "label_ids/sub/b.png" in written("out0")


def test_two_runs_write_the_same_bytes(infer):
    for out in ("one", "two"):
        assert infer("img", "-o", out, "--save", "label_ids,overlay,conf").exit_code == 0
    assert len(written("one")) == 8
    assert contents("one") == contents("two")


def test_torchs_own_file_works_as_well(here):
    torch.save(build_model("mobilenetdenseaspp").state_dict(), "w.pth")
    words = ("--model", "mobilenetdenseaspp", "-w", "w.pth", "--device", "cpu")
    assert run("infer", "img", *words).exit_code == 0
    assert "label_ids/a.png" in written()
    found = run("infer", "img", *words[2:])
    assert found.exit_code == 0
    assert (
        "The network is assumed to be mobilenetdenseaspp; the keys also fit "
        "mobilenetdenseaspp_os16 (choose with --model)." in found.stderr
    )


def test_weights_are_found_by_the_networks_name(here, checkpoint):
    Path("weights").mkdir()
    Path("weights/mobilenetdenseaspp.safetensors").write_bytes(checkpoint.read_bytes())
    result = run("infer", "img", "--model", "mobilenetdenseaspp", "--device", "cpu")
    assert result.exit_code == 0, result.output


def test_images_listed_on_standard_input(infer):
    save_noise("img/with space/ä.png", 33, 33)
    result = infer("-", input="img/with space/ä.png\r\n\nimg/a.png\n")
    assert result.exit_code == 0, result.output
    assert written("dseg-out/label_ids") == ["a.png", "ä.png"]
    save_noise(f"img/{NOT_UTF8}", 33, 33)
    for number, mark in enumerate((b"\xef\xbb\xbf", b"")):  # as Windows programs write it
        result = infer("-", "-o", f"bom{number}", input=mark + b"img/a.png\r\n")
        assert result.exit_code == 0, result.output
    result = infer("-", "-o", "utf16", input="img/a.png\r\n".encode("utf-16"))
    assert result.exit_code == 0, result.output
    result = infer("-", "-o", "two", input=b"img/a.png\0img/\xff\xfe.png\0")
    assert result.exit_code == 0, result.output
    assert len(written("two/label_ids")) == 2
    refused(infer("-", input="\n"), 2, "No images are named.")


def test_two_folders_with_the_same_names_do_not_overwrite_each_other(infer):
    save_noise("other/a.png", 20, 30)
    assert infer("img", "other").exit_code == 0
    assert pixels("dseg-out/label_ids/img/a.png").shape == (48, 64)
    assert pixels("dseg-out/label_ids/other/a.png").shape == (20, 30)


def test_a_network_of_other_classes_writes_their_numbers(here):
    torch.manual_seed(0)
    save_model(build_model("mobilenetdenseaspp", num_classes=3), Path("three.safetensors"))
    result = run("infer", "img", "-w", "three.safetensors", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert set(np.unique(pixels("dseg-out/label_ids/a.png"))) <= {0, 1, 2}
    assert "dseg eval" not in result.stderr  # that scores Cityscapes


def test_extreme_sizes_are_labelled(infer):
    sizes = {"dot": (1, 1), "row": (1, 30_000), "column": (3000, 1), "odd": (17, 31)}
    for name, (height, width) in sizes.items():
        save_noise(f"odd/{name}.png", height, width)
    result = infer("odd")
    assert result.exit_code == 0, result.output
    for name, size in sizes.items():
        assert pixels(f"dseg-out/label_ids/{name}.png").shape == size


def test_an_image_rotated_by_exif_gives_an_upright_mask(infer):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (64, 48), (90, 90, 90)).save("rotated.jpg", exif=exif)
    assert infer("rotated.jpg").exit_code == 0
    assert pixels("dseg-out/label_ids/rotated.png").shape == (64, 48)


# Messages


def test_the_summary_is_on_stderr_with_the_next_command(infer):
    result = infer("img")
    assert result.stdout == ""
    first, second = result.stderr.splitlines()
    assert re.fullmatch(
        r"2 labelled, 0 already there, 0 failed in \d+\.\d s, \d[\d.e+]* (images/s|s/image) on cpu "
        r"\(PyTorch, float32\)\. Protocol: plain \(whole image once\)\. Results: dseg-out",
        first,
    )
    assert second == "Look first at: dseg-out/overview.jpg"


def test_scoring_is_suggested_for_cityscapes_and_one_overlay_is_named(infer):
    save_noise("data/leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png", 32, 48)
    lines = infer("data/leftImg8bit/val").stderr.splitlines()
    assert lines[1:] == [
        "Look first at: dseg-out/overlay/ulm/ulm_000000_000019_leftImg8bit.png",
        "Next: dseg eval --pred-dir dseg-out/label_ids --gt-dir data/gtFine/val",
    ]
    assert not Path("dseg-out/overview.jpg").exists()
    lines = infer("data/leftImg8bit/val", "-o", "ids", "--save", "train_ids").stderr.splitlines()
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("save", "first"),
    [
        ("label_ids,entropy,color", "color/a.png"),
        ("train_ids,entropy", "entropy/a.png"),
        ("label_ids,mask:sky", "mask/sky/a.png"),
        ("coco,areas", "areas.csv"),
        ("coco", "coco.json"),
    ],
)
def test_the_result_that_shows_most_is_named_without_overlays(infer, save, first):
    assert infer("img", "--save", save).stderr.splitlines()[1:] == [
        f"Look first at: dseg-out/{first}"
    ]
    Path("img/a.png").write_bytes(b"")
    result = infer("img/a.png", "--save", save, "-o", "new")
    assert (result.exit_code, "Look" in result.stderr) == (1, False)


def test_quiet_prints_nothing_but_what_failed(infer):
    result = infer("img", "--quiet")
    assert (result.exit_code, result.output) == (0, "")
    Path("img/bad.png").write_bytes(b"")
    result = infer("img", "-q")
    assert (result.exit_code, result.stdout) == (1, "")
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == ["failed", "Hint"]


def test_batches_and_the_precision_are_named(infer):
    for number in range(3):
        save_noise(f"row/{number}.png", 40, 50, number)
    assert infer("row", "-o", "single", "--save", "label_ids").exit_code == 0
    result = infer("row", "--batch-size", 2, "--amp", "bf16", "--save", "label_ids", "--json", "-")
    assert "on cpu (PyTorch, bf16). Protocol" in result.stderr
    assert json.loads(result.stdout)["precision"] == "bf16"
    assert infer("row", "-o", "batches", "--batch-size", 2, "--save", "label_ids").exit_code == 0
    for number in range(3):
        single, batch = (pixels(f"{out}/label_ids/{number}.png") for out in ("single", "batches"))
        assert np.mean(single == batch) >= 0.999


def test_a_network_that_cannot_be_compiled_ends_the_run(infer, monkeypatch):
    def broken(_):
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found.\nLong advice")

    monkeypatch.setattr("torch.compile", lambda *_, **__: broken)
    problem = "cannot be compiled by torch.compile here: InvalidCxxCompiler: No working C++"
    refused(infer("img", "--compile", "-q"), 2, problem, "leave --compile away")


def test_progress_off_a_terminal_is_plain_lines(infer, monkeypatch):
    monkeypatch.setattr(console, "PLAIN_EVERY_S", 0.0)
    save_noise("img/c.png", 16, 16)
    lines = infer("img").stderr.splitlines()
    for done, line in enumerate(lines[:2], start=1):
        speed = r"\d[\d.e+]* (images/s|s/image)"
        assert re.fullmatch(rf"labelled: {done}/3, {speed}, \d+ s left", line)
    assert lines[2].startswith("3 labelled") and len(lines) == 4


def test_json_alone_is_on_stdout(infer, checkpoint):
    result = infer("img", "--json", "-")
    facts = json.loads(result.stdout)
    assert (facts["done"], facts["skipped"], facts["failed"]) == (2, 0, [])
    assert facts["device"] == "cpu"
    assert facts["settings"]["network"] == "mobilenetdenseaspp"
    assert facts["settings"]["weights"] == checkpoint.name
    assert facts["settings"]["scales"] == [1.0]
    assert json.loads(Path("dseg-out/dseg-run.json").read_text()) == facts["settings"]


def test_help_needs_no_torch():
    code = (
        "import sys; from dseg.cli import main\n"
        "for words in (['--help'], ['infer', '--help'], ['multiscale-infer', '-h']):\n"
        "    main(words, standalone_mode=False)\n"
        "print('heavy:', [m for m in ('torch', 'numpy', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("Usage: ") == 3
    assert done.stdout.endswith("heavy: []\n")


# Order and threads


def test_overlays_are_jpegs_on_request_and_nothing_else_is(infer):
    assert infer("img", "--overlay-format", "jpg").exit_code == 0
    overlays = [name for name in written() if name.startswith("overlay/")]
    assert overlays == ["overlay/a.jpg", "overlay/sub/b.jpg"]
    assert Image.open("dseg-out/overlay/a.jpg").format == "JPEG"
    assert Image.open("dseg-out/color/a.png").format == "PNG"
    assert "0 labelled, 2 already there" in infer("img", "--overlay-format", "jpg").stderr
    assert infer("img", "--overwrite").exit_code == 0
    assert [n for n in written() if n.startswith("overlay/")] == [
        "overlay/a.png",
        "overlay/sub/b.png",
    ]


def test_a_checkpoint_that_fits_in_part_is_used_with_consent_and_a_warning(here):
    model = build_model("mobilenetdenseaspp")
    state = model.state_dict()
    del state["classifier.bias"]
    torch.save(state, "part.pth")
    words = ("infer", "img", "--model", "mobilenetdenseaspp", "-w", "part.pth", "--device", "cpu")
    refused(run(*words), 3, "1 missing (first classifier.bias)")
    result = run(*words, "--partial")
    assert result.exit_code == 0
    first = result.stderr.splitlines()[0]
    assert first.startswith("WARNING: the checkpoint fits only in part: ")
    assert "1 missing (first classifier.bias)" in first


def test_norms_of_in_place_training_are_read_and_recorded_as_such(here):
    model = build_model("mobilenetdenseaspp")
    torch.save(model.state_dict(), "theirs.pth")
    words = ("infer", "img", "--model", "mobilenetdenseaspp", "-w", "theirs.pth", "--device", "cpu")
    assert run(*words, "--inplace-abn", "--out", "out").exit_code == 0
    assert json.loads(Path("out/dseg-run.json").read_text())["inplace_abn"] is True
    refused(run(*words, "--out", "out"), 2, "another run (inplace_abn: True, now False)")
    save_model(model, Path("ours.safetensors"))
    own = run("infer", "img", "-w", "ours.safetensors", "--device", "cpu", "--inplace-abn")
    refused(own, 3, "was written by dseg")


def test_reading_does_not_run_ahead_of_writing(infer, monkeypatch):
    for number in range(40):
        save_noise(f"many/{number:02}.png", 16, 16)
    lock, alive, most = threading.Lock(), 0, 0
    read, write = ahead.read_image, results.write_png

    def count(step: int) -> None:
        nonlocal alive, most
        with lock:
            alive += step
            most = max(most, alive)

    def counted_read(*args):
        count(1)
        return read(*args)

    def slow_write(*args):
        threading.Event().wait(0.02)
        write(*args)
        count(-1)

    monkeypatch.setattr(ahead, "read_image", counted_read)
    monkeypatch.setattr(results, "write_png", slow_write)
    assert infer("many", "--save", "label_ids").exit_code == 0
    assert len(written("dseg-out/label_ids")) == 40
    assert 2 <= most <= 10


def test_several_scales_and_fusion(infer):
    result = infer(
        "img", "--scales", "0.5,1", "--no-flip", "--fusion", "prob", command="multiscale-infer"
    )
    assert result.exit_code == 0, result.output
    settings = json.loads(Path("dseg-out/dseg-run.json").read_text())
    assert settings["scales"] == [0.5, 1.0]
    assert (settings["flip"], settings["fusion"]) == (False, "prob")
    assert pixels("dseg-out/label_ids/sub/b.png").shape == (40, 50)
    infer("img", "-o", "flipped", "--scales", "0.5,1", command="multiscale-infer")
    infer("img", "-o", "single")
    maps = [contents(out)["label_ids/a.png"] for out in ("dseg-out", "flipped", "single")]
    assert len(set(maps)) == 3


def test_one_scale_without_flip_equals_infer(infer):
    infer("img", "-o", "ms", "--scales", "1", "--no-flip", command="multiscale-infer")
    infer("img", "-o", "one")
    assert contents("ms") == contents("one")


def test_the_published_protocol_is_the_default(infer):
    infer("img/sub", command="multiscale-infer")
    settings = json.loads(Path("dseg-out/dseg-run.json").read_text())
    assert settings["scales"] == [0.5, 0.75, 1.0, 1.25, 1.5, 1.8]
    assert (settings["flip"], settings["fusion"]) == (True, "logprob")


def test_tiles_and_overlap(infer):
    result = infer("img", "--tile", "32x40", "--overlap", "1/4")
    assert result.exit_code == 0, result.output
    settings = json.loads(Path("dseg-out/dseg-run.json").read_text())
    assert (settings["tile"], settings["overlap"]) == ([32, 40], 0.25)
    infer("img", "-o", "whole", "--tile", "64x64", "--overlap", "1/4")  # as large as the image
    infer("img", "-o", "plain")
    assert pixels("dseg-out/label_ids/a.png").shape == (48, 64)
    maps = [contents(out)["label_ids/a.png"] for out in ("dseg-out", "whole", "plain")]
    assert maps[1] == maps[2] != maps[0]


def test_files_of_other_formats_are_counted_and_images_with_pages_named(infer):
    for name in ("x.gif", "x.jp2", "x.psd", "y.GIF"):
        Path("img", name).write_bytes(b"")
    image = Image.new("RGB", (60, 50))
    image.save("img/sub/pages.tif", save_all=True, append_images=[image])
    result = infer("img", "--json", "facts.json")
    assert result.exit_code == 0
    assert (
        "note: img/sub/pages.tif has several pages or frames; the first is read." in result.stderr
    )
    assert "Files of unsupported formats: 2 .gif, 1 .jp2, 1 .psd." in result.stderr
    facts = json.loads(Path("facts.json").read_text())
    assert facts["not_read"] == {".gif": 2, ".jp2": 1, ".psd": 1}
    Path("others").mkdir()
    Path("others/x.gif").write_bytes(b"")
    refused(infer("others"), 2, "No image in 'others'; not read: 1 .gif.")


def test_heic_is_named_with_what_reads_it():
    assert (
        describe_unread(Counter({".heic": 2}))
        == "2 .heic (HEIC is read with: pip install 'dseg[heic]')"
    )
