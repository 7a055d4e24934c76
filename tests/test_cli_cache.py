"""``dseg cache`` and ``dseg train --cache``: what is written, reused, refused and reported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_runs import refused, run, written
from PIL import Image
from ranks import exit_code, own_words, torchrun
from tiny_data import make_camvid

TINY = (
    *("train", "--model", "dabnet_camvid", "--dataset", "camvid", "--data-dir", "camvid"),
    *("--batch-size", 2, "--set", "crop=32x48", "--set", "steps=3", "--device", "cpu", "-j", 0),
    *("--log-every", 1, "--validate-every", 0, "--draw", 0, "--no-check", "--deterministic", "-q"),
)
CACHE = ("cache", "--dataset", "camvid", "--data-dir", "camvid", "--split", "train")


@pytest.fixture(autouse=True)
def camvid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return make_camvid(Path("camvid"))


def train(out: str, *words: object):
    return run(*TINY, "--out", out, *words)


def only_file(folder: str) -> Path:
    (name,) = written(folder)
    return Path(folder, name)


def test_it_says_where_the_file_is_and_how_to_use_it(camvid) -> None:
    result = run(*CACHE, "--out", "my caches")
    assert (result.exit_code, result.stdout) == (0, "")
    file = only_file("my caches")
    assert file.name.startswith("camvid-train-camvid-6-") and file.suffix == ".dseg-cache"
    size = file.stat().st_size
    assert 6 * 4 * 40 * 56 < size < 6 * 4 * 40 * 56 + 1000
    assert result.stderr.splitlines()[-1] == (
        f"6 images in {file}, {size:,} bytes. Next: dseg train --cache disk --cache-dir 'my caches'"
    )
    assert run(*CACHE, "--out", "my caches", "-q").stderr == ""


def test_an_image_that_cannot_be_read_is_named(camvid) -> None:
    data = Path("camvid/train/2.png").read_bytes()
    Path("camvid/train/2.png").write_bytes(data[:300])
    result = run(*CACHE, "--out", "c", "-q")
    refused(result, 1, "1 image cannot be read, the first: ")
    assert "2.png" in result.stderr
    assert only_file("c")


def test_what_is_no_folder_is_refused(camvid) -> None:
    Path("c").mkdir()
    Path("c").chmod(0o755)
    Path("c/file").write_text("")
    refused(run(*CACHE, "--out", "c/file/d"), 1, "cannot be written")
    refused(run(*CACHE, "--out", "c", "--split", "nowhere"), 2, "nowhere")


def test_every_cache_gives_the_same_weights(camvid) -> None:
    assert run(*CACHE, "--out", "c").exit_code == 0
    before = only_file("c").stat()
    options = {
        "none": (),
        "ram": ("--cache", "ram"),
        "disk": ("--cache", "disk", "--cache-dir", "c"),
        "own": ("--cache", "disk"),
    }
    for out, words in options.items():
        assert train(out, *words).exit_code == 0
    weights = {Path(out, "last.safetensors").read_bytes() for out in options}
    assert len(weights) == 1
    after = only_file("c").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert only_file("own/cache").name == only_file("c").name
    assert not Path("disk/cache").exists() and not Path("ram/cache").exists()


def test_a_resumed_run_keeps_its_cache(camvid) -> None:
    assert train("run", "--cache", "disk", "--cache-dir", "c").exit_code == 0
    file = only_file("c")
    file.unlink()
    facts = json.loads(Path("run/run.json").read_text())["conditions"]
    assert (facts["cache"], facts["cache_dir"]) == ("disk", "c")
    Image.fromarray(np.zeros((40, 56, 3), np.uint8)).save("camvid/train/0.png")
    words = ("--out", "run", "--set", "steps=4", "--accept-data", "-q")
    assert run("train", "--resume", *words).exit_code == 0
    assert only_file("c").name == file.name


def test_a_folder_without_its_cache_is_refused(camvid) -> None:
    refused(train("run", "--cache", "ram", "--cache-dir", "c"), 2, "--cache-dir", "leave out")
    assert not Path("run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_two_processes_read_one_cache(camvid, kind: str) -> None:
    for out, words in (("none", ()), (kind, ("--cache", kind))):
        result = torchrun("-m", "dseg", *TINY, "--out", out, *words)
        assert result.returncode == 0, result.stderr
    weights = {Path(out, "last.safetensors").read_bytes() for out in ("none", kind)}
    assert len(weights) == 1


@pytest.mark.slow
def test_a_cache_that_cannot_be_made_is_told_once_and_ends_both(camvid) -> None:
    Path("c").write_text("")
    words = ("--out", "run", "--cache", "disk", "--cache-dir", "c/d")
    result = torchrun("-m", "dseg", *TINY, *words)
    assert exit_code(result) == 1
    told = [line for line in own_words(result) if line.startswith(("Error:", "Hint:"))]
    assert len(told) == 2 and "cannot be written" in told[0], result.stderr
