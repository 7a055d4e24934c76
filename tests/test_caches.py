"""Caches of decoded images: the same pixels as from files, rebuilt if stale or damaged."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_data import make_camvid

from dseg import files
from dseg.data.cache import shared as machinecache
from dseg.data.cache.file import CacheFile, find_key, read_all
from dseg.data.cache.shared import Builder, count_bytes, open_cache
from dseg.data.loader import load_batches
from dseg.data.sampler import StepSampler
from dseg.data.stream import Batch, Stream
from dseg.data.transforms import Augmentation
from dseg.datasets.base import Dataset, Encoding, Pair, Sample
from dseg.distributed import Group
from dseg.errors import DsegError
from dseg.labels import LABEL_SPACES
from dseg.locks import locked
from dseg.memory import find_free_memory

SIZES = [(20, 30), (31, 17), (20, 30), (8, 9), (40, 25)]
PIXELS = sum(height * width for height, width in SIZES)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Five images of noise, of four sizes."""
    numbers = np.random.default_rng(0)
    encoding = Encoding(train_ids={value: value for value in range(11)}, allowed="0 to 10")
    samples = []
    for index, size in enumerate(SIZES):
        image, mask = tmp_path / f"{index}.png", tmp_path / f"{index}_mask.png"
        Image.fromarray(numbers.integers(0, 256, (*size, 3), np.uint8)).save(image)
        Image.fromarray(numbers.integers(0, 11, size, np.uint8)).save(mask)
        samples.append(Sample(name=str(index), image=image, mask=mask, encoding=encoding))
    return Dataset(
        name="noise",
        split="train",
        space=LABEL_SPACES["camvid"],
        samples=tuple(samples),
        classes=frozenset(range(11)),
    )


@pytest.fixture
def broken(dataset: Dataset) -> Dataset:
    """The same; sample 3's mask holds a value that no class has."""
    mask = dataset.samples[3].mask
    assert mask is not None
    Image.fromarray(np.full(SIZES[3], 77, np.uint8)).save(mask)
    return dataset


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, empty, with no shared memory."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(machinecache, "SHARED", tmp_path / "there is none")
    monkeypatch.setattr(files, "_cleaned", set())
    return folder


def build(dataset: Dataset, **options: Any) -> Builder:
    @contextmanager
    def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
        yield lambda: None

    return Builder(dataset, **{"threads": 2, "progress": progress, **options})


def on_disk(dataset: Dataset, folder: Path) -> CacheFile:
    return open_cache(lambda: build(dataset), Group(), folder)


def in_memory(dataset: Dataset) -> CacheFile:
    return open_cache(lambda: build(dataset), Group(), None)


def run(dataset: Dataset, workers: int = 0, **options: Any) -> list[Batch]:
    some = Augmentation(crop=(16, 24), scales=(0.5, 2.0), continuous=True, flip=0.5, jitter=0.3)
    stream = Stream(dataset, some, seed=0, fill=(1, 2, 3), **options)
    return list(load_batches(stream, StepSampler(batch=4, last=4), workers=workers))


def same(one: list[Batch], other: list[Batch]) -> bool:
    return all(
        a.names == b.names
        and torch.equal(a.images, b.images)
        and torch.equal(a.train_ids, b.train_ids)
        for a, b in zip(one, other, strict=True)
    )


# Content


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_the_files(dataset: Dataset, tmp_path: Path, workers: int) -> None:
    from_files = run(dataset)
    assert same(from_files, run(dataset, workers, read=in_memory(dataset).read))
    assert same(from_files, run(dataset, workers, read=on_disk(dataset, tmp_path / "c").read))


@pytest.mark.slow
def test_workers_that_are_not_forked_open_the_file(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dseg.data.loader._context", lambda: "spawn")
    assert same(run(dataset), run(dataset, 1, read=on_disk(dataset, tmp_path / "c").read))


def test_pickled_it_is_its_path(dataset: Dataset, tmp_path: Path) -> None:
    cache = on_disk(dataset, tmp_path / "c")
    data = pickle.dumps(cache.read)
    assert len(data) < 1000
    pair = deepcopy(cache).read(1)
    assert np.array_equal(pair.image, dataset.read(1).image)
    assert np.array_equal(pair.train_ids, dataset.read(1).train_ids)


def test_a_bad_sample_is_as_bad_as_its_file(broken: Dataset, tmp_path: Path) -> None:
    cache = on_disk(broken, tmp_path / "c")
    assert list(cache.faults) == [3]
    with pytest.raises(DsegError, match=r"3_mask\.png holds the value 77") as caught:
        run(broken, read=cache.read)
    assert caught.value.exit_code == 1
    skipping = run(broken, read=cache.read, on_bad_data="skip")
    assert same(skipping, run(broken, on_bad_data="skip"))
    assert any(batch.faults for batch in skipping)


def test_few_pairs_are_held_while_a_cache_is_made(dataset: Dataset) -> None:
    begun: list[int] = []

    def prepare(pair: Pair) -> int:
        begun.append(1)
        return 0

    many = replace(dataset, samples=dataset.samples * 20)
    for place, _ in enumerate(read_all(many, 3, prepare)):
        time.sleep(0.001)
        assert len(begun) <= place + 1 + 4
    assert len(begun) == 100


def test_needed_bytes_are_four_a_pixel(dataset: Dataset) -> None:
    assert count_bytes(dataset, 2) == 4 * PIXELS
    dataset.samples[0].image.unlink()
    assert count_bytes(dataset, 2) == 4 * (PIXELS - 20 * 30)


# Kept on disk


def only_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def test_a_cache_is_used_again(dataset: Dataset, tmp_path: Path) -> None:
    on_disk(dataset, tmp_path / "c")
    first = only_file(tmp_path / "c").stat()
    on_disk(dataset, tmp_path / "c")
    again = only_file(tmp_path / "c").stat()
    assert (again.st_ino, again.st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    assert only_file(tmp_path / "c").name.startswith("noise-train-camvid-5-")


def damage(kind: str, file: Path) -> None:
    data = bytearray(file.read_bytes())
    places = {"magic": 3, "header": 20, "pixels": 2000}
    if kind == "cut":
        del data[-1:]
    elif kind == "cut to nothing":
        data.clear()
    elif kind == "another file":
        data = bytearray(b"hello" * 1000)
    elif kind == "index":  # same length, still valid JSON
        assert data.count(b"[[20, 30]") == 1
        data = data.replace(b"[[20, 30]", b"[[30, 20]")
    else:
        data[places[kind]] ^= 1
    file.unlink()  # processes that have mapped it keep it
    file.write_bytes(data)


KINDS = ["cut", "cut to nothing", "another file", "magic", "header", "pixels", "index"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_cache_is_made_anew(dataset: Dataset, tmp_path: Path, kind: str) -> None:
    on_disk(dataset, tmp_path / "c")
    file = only_file(tmp_path / "c")
    whole = file.read_bytes()
    damage(kind, file)
    cache = on_disk(dataset, tmp_path / "c")
    assert only_file(tmp_path / "c").read_bytes() == whole
    assert np.array_equal(cache.read(2).image, dataset.read(2).image)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "pixels"])
def test_a_damaged_cache_is_not_opened(dataset: Dataset, tmp_path: Path, kind: str) -> None:
    on_disk(dataset, tmp_path / "c")
    damage(kind, only_file(tmp_path / "c"))
    with pytest.raises(DsegError, match="cannot be used as a cache") as caught:
        CacheFile(only_file(tmp_path / "c"), find_key(dataset))
    assert "dseg cache" in caught.value.hint


def test_a_changed_image_makes_a_cache_anew(dataset: Dataset, tmp_path: Path) -> None:
    before = on_disk(dataset, tmp_path / "c")
    old = before.read(2)
    other = np.random.default_rng(9).integers(0, 256, (*SIZES[2], 3), np.uint8)
    Image.fromarray(other).save(dataset.samples[2].image)
    assert np.array_equal(on_disk(dataset, tmp_path / "c").read(2).image, other)
    assert only_file(tmp_path / "c")
    # a run that has mapped the old file still reads it
    assert np.array_equal(before.read(2).image, old.image) and not np.array_equal(old.image, other)


def test_other_classes_have_a_cache_of_their_own(dataset: Dataset, tmp_path: Path) -> None:
    on_disk(dataset, tmp_path / "c")
    onto = dataset.samples[0].encoding.map_train_ids([10 - value for value in range(11)])
    mapped = replace(
        dataset, samples=tuple(replace(sample, encoding=onto) for sample in dataset.samples)
    )
    cache = on_disk(mapped, tmp_path / "c")
    assert len(list((tmp_path / "c").iterdir())) == 2
    assert np.array_equal(cache.read(0).train_ids, 10 - dataset.read(0).train_ids)


def test_some_of_the_samples_have_a_cache_of_their_own(dataset: Dataset, tmp_path: Path) -> None:
    on_disk(dataset, tmp_path / "c")
    some = replace(dataset, samples=dataset.samples[1:])
    assert np.array_equal(on_disk(some, tmp_path / "c").read(0).image, dataset.read(1).image)


def test_who_makes_the_same_cache_is_waited_for(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machinecache, "ASK_AGAIN_S", 0.05)
    on_disk(dataset, tmp_path / "c")
    path = only_file(tmp_path / "c")
    held = path.rename(tmp_path / "held")
    found: list[CacheFile] = []
    waiting = threading.Thread(target=lambda: found.append(on_disk(dataset, tmp_path / "c")))
    with locked(path.with_suffix(".lock")):
        waiting.start()
        time.sleep(0.3)
        assert not found and not path.exists()
        inode = held.rename(path).stat().st_ino
    waiting.join()
    assert len(found) == 1 and only_file(tmp_path / "c").stat().st_ino == inode


def test_waiting_for_another_ends_when_told_to_stop(dataset: Dataset, tmp_path: Path) -> None:
    builder = build(dataset, stopping=lambda: True)
    path = tmp_path / "c" / machinecache.name_cache(dataset, builder.key)
    with locked(path.with_suffix(".lock")), pytest.raises(DsegError, match="Stopped") as caught:
        builder.find_or_write(tmp_path / "c")
    assert caught.value.exit_code == 130


def test_a_cache_in_a_folder_to_read_only_is_used(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk(dataset, tmp_path / "c")

    def refuse(*given: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(machinecache, "locked", refuse)
    monkeypatch.setattr(machinecache, "written_whole", refuse)
    assert np.array_equal(on_disk(dataset, tmp_path / "c").read(0).image, dataset.read(0).image)


def test_told_to_stop_nothing_is_left(dataset: Dataset, tmp_path: Path) -> None:
    answers = iter([False, False, True])
    with pytest.raises(DsegError, match="Stopped while images were cached"):
        build(dataset, stopping=lambda: next(answers)).find_or_write(tmp_path / "c")
    assert not list(tmp_path.glob("c/*")) and not list(tmp_path.glob("c/.*"))


# In memory, for one run


def test_it_is_gone_with_who_has_it_open(dataset: Dataset, temporary: Path) -> None:
    cache = in_memory(dataset)
    if sys.platform == "linux":
        assert list(temporary.iterdir()) == []
    assert np.array_equal(cache.read(4).image, dataset.read(4).image)
    del cache
    assert list(temporary.iterdir()) == []


def test_where_workers_need_its_name_it_stays_as_long_as_the_cache(
    dataset: Dataset, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    cache = in_memory(dataset)
    assert only_file(temporary) == cache.path
    del cache
    assert list(temporary.iterdir()) == []


def test_shared_memory_is_used_if_it_has_room(
    dataset: Dataset, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setattr(machinecache, "SHARED", shared)
    for free, folder in ((1 << 40, shared), (1 << 20, temporary)):
        monkeypatch.setattr(machinecache, "find_free_memory", lambda free=free: free)
        assert build(dataset).write_temporary().parent == folder


KILLED = """
import sys, time
from contextlib import nullcontext
from pathlib import Path
from dseg.data.cache import shared
from dseg.datasets import load_dataset

def wait():
    print("begun", flush=True)
    time.sleep(60)

shared.SHARED = Path("/there/is/none")
dataset = load_dataset("camvid", Path(sys.argv[1]), "train")
builder = shared.Builder(dataset, threads=1, progress=lambda *_: nullcontext(wait))
builder.write_temporary()
"""


@pytest.mark.skipif(os.name != "posix", reason="processes are looked up by number")
def test_what_a_killed_process_left_is_removed_by_the_next(
    dataset: Dataset, temporary: Path, tmp_path: Path
) -> None:
    data = make_camvid(tmp_path / "camvid", train=2, val=1)
    words = [sys.executable, "-c", KILLED, str(data)]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None and process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGKILL)
    assert only_file(temporary)
    in_memory(dataset)
    assert list(temporary.iterdir()) == []


# Free space


def test_too_little_room_is_told_before_it_begins(
    dataset: Dataset, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(tmp_path)._replace(free=9000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)
    monkeypatch.setattr(machinecache, "write_cache", None)
    for folder, remedy in ((None, "--cache disk"), (tmp_path / "c", "--cache-dir")):
        with pytest.raises(DsegError) as caught:
            open_cache(lambda: build(dataset), Group(), folder)
        assert f"The cache of 5 images takes {4 * PIXELS:,} bytes, but" in caught.value.problem
        assert "has 9,000 free" in caught.value.problem
        assert remedy in caught.value.hint
        assert caught.value.exit_code == 1


def test_a_folder_that_cannot_be_written_is_told(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "c").write_text("")
    with pytest.raises(DsegError, match="cannot be written"):
        on_disk(dataset, tmp_path / "c")


@pytest.mark.parametrize(
    ("limit", "free"), [("max", 8192_000), ("1000000", 650_000), ("300000", 0)]
)
def test_free_memory_is_what_system_and_cgroup_leave(tmp_path: Path, limit: str, free: int) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    8000 kB\nX: 1 kB\n")
    (tmp_path / "cgroup").write_text("0::/job\n")
    job = tmp_path / "cgroups" / "job"
    job.mkdir(parents=True)
    (job / "memory.max").write_text(f"{limit}\n")
    (job / "memory.current").write_text("400000\n")
    (job / "memory.stat").write_text("anon 5\ninactive_file 50000\nactive_file 7\n")
    found = find_free_memory(tmp_path / "meminfo", tmp_path / "cgroups", tmp_path / "cgroup")
    assert found == free


def test_free_memory_is_nothing_where_nobody_says(tmp_path: Path) -> None:
    assert find_free_memory(tmp_path / "a", tmp_path / "b", tmp_path / "c") == 0
