"""The stream of training samples: the same numbers in any arrangement of processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dseg.data.cache.device import DeviceCache, load_device_batches
from dseg.data.loader import choose_workers, load_batches, prefetch
from dseg.data.sampler import StepSampler
from dseg.data.stream import Batch, Stream
from dseg.data.transforms import Augmentation
from dseg.datasets.base import Dataset, Encoding, Sample
from dseg.errors import DsegError
from dseg.labels import LABEL_SPACES

SPACE = LABEL_SPACES["camvid"]
ENCODING = Encoding(train_ids={value: value for value in range(11)}, allowed="0 to 10")
AUGMENTATION = Augmentation(crop=(16, 24), scales=(0.5, 2.0), continuous=True, flip=0.5, jitter=0.3)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Seven images of noise; sample 3's mask holds a value that no class has."""
    numbers = np.random.default_rng(0)
    samples = []
    for index in range(7):
        image, mask = tmp_path / f"{index}.png", tmp_path / f"{index}_mask.png"
        Image.fromarray(numbers.integers(0, 256, (20, 30, 3), np.uint8)).save(image)
        Image.fromarray(numbers.integers(0, 11, (20, 30), np.uint8)).save(mask)
        samples.append(Sample(name=str(index), image=image, mask=mask, encoding=ENCODING))
    return Dataset(
        name="noise",
        split="train",
        space=SPACE,
        samples=tuple(samples),
        classes=frozenset(range(11)),
    )


@pytest.fixture
def broken(dataset: Dataset) -> Dataset:
    mask = dataset.samples[3].mask
    assert mask is not None
    Image.fromarray(np.full((20, 30), 77, np.uint8)).save(mask)
    return dataset


def make_stream(dataset: Dataset, seed: int = 0, **options: object) -> Stream:
    return Stream(dataset, AUGMENTATION, seed=seed, fill=(0, 0, 0), **options)  # type: ignore[arg-type]


def run(dataset: Dataset, plan: StepSampler, workers: int = 0, **options: object) -> list[Batch]:
    return list(load_batches(make_stream(dataset, **options), plan, workers=workers))


def same(first: Iterator[Batch] | list[Batch], second: list[Batch]) -> bool:
    return all(
        a.names == b.names
        and torch.equal(a.images, b.images)
        and torch.equal(a.train_ids, b.train_ids)
        for a, b in zip(first, second, strict=True)
    )


def test_every_epoch_holds_each_sample_once_in_another_order(dataset: Dataset) -> None:
    stream = make_stream(dataset)
    epochs = [[stream.place(7 * epoch + i) for i in range(7)] for epoch in range(3)]
    orders = [[index for _, index in epoch] for epoch in epochs]
    assert [sorted(order) for order in orders] == [[0, 1, 2, 3, 4, 5, 6]] * 3
    assert [{number for number, _ in epoch} for epoch in epochs] == [{0}, {1}, {2}]
    assert orders[0] != orders[1] != orders[2]


def test_a_sample_looks_different_in_each_epoch_and_with_each_seed(dataset: Dataset) -> None:
    stream = make_stream(dataset)
    first = stream.crop(0)
    again = next(stream.crop(p) for p in range(7, 14) if stream.place(p)[1] == stream.place(0)[1])
    assert first.name == again.name and not torch.equal(first.image, again.image)
    assert torch.equal(first.image, make_stream(dataset).crop(0).image)
    assert make_stream(dataset, seed=1).place(0) != stream.place(0) or not torch.equal(
        make_stream(dataset, seed=1).crop(0).image, first.image
    )


def test_workers_change_nothing(dataset: Dataset) -> None:
    plan = StepSampler(batch=4, last=5)
    assert same(run(dataset, plan), run(dataset, plan, workers=2))


def test_a_cache_on_the_device_cuts_the_same_crops(dataset: Dataset) -> None:
    plan = StepSampler(batch=4, accumulate=2, last=5)
    cache = DeviceCache(dataset, torch.device("cpu"), threads=3)
    found = list(load_device_batches(make_stream(dataset), plan, cache))
    for ours, plain in zip(found, run(dataset, plan), strict=True):
        assert ours.names == plain.names
        assert torch.equal(ours.train_ids, plain.train_ids)
        assert int((ours.images.int() - plain.images.int()).abs().max()) <= 1


def test_a_cache_on_the_device_refuses_images_of_several_sizes(dataset: Dataset) -> None:
    Image.fromarray(np.zeros((21, 30, 3), np.uint8)).save(dataset.samples[5].image)
    mask = dataset.samples[5].mask
    assert mask is not None
    Image.fromarray(np.zeros((21, 30), np.uint8)).save(mask)
    with pytest.raises(DsegError, match="5 has 30x21 pixels, 0 30x20"):
        DeviceCache(dataset, torch.device("cpu"))


def test_a_bad_sample_on_the_device_stops_or_is_skipped(broken: Dataset) -> None:
    cache = DeviceCache(broken, torch.device("cpu"))
    plan = StepSampler(batch=7, last=1)
    with pytest.raises(DsegError, match=r"3_mask\.png holds the value 77"):
        list(load_device_batches(make_stream(broken), plan, cache))
    skipping = make_stream(broken, on_bad_data="skip")
    (batch,) = load_device_batches(skipping, plan, cache)
    assert sorted(batch.names) == ["0", "1", "2", "4", "4", "5", "6"]
    assert [name for name, _ in batch.faults] == ["3"]


def test_a_run_from_the_middle_sees_what_follows_there(dataset: Dataset) -> None:
    whole = run(dataset, StepSampler(batch=3, last=8))
    assert same(whole[5:], run(dataset, StepSampler(batch=3, first=5, last=8)))


def test_processes_and_micro_batches_divide_one_batch(dataset: Dataset) -> None:
    whole = run(dataset, StepSampler(batch=8, last=2))
    names = [set(batch.names) for batch in whole]
    shares = [
        run(dataset, StepSampler(batch=8, accumulate=2, rank=rank, world_size=2, last=2))
        for rank in (0, 1)
    ]
    assert [len(share) for share in shares] == [4, 4]
    for step in (0, 1):
        parts = [part for share in shares for part in share[2 * step : 2 * step + 2]]
        assert [len(part.names) for part in parts] == [2, 2, 2, 2]
        assert {name for part in parts for name in part.names} == names[step]
        pixels = sum(int(part.images.long().sum()) for part in parts)
        assert pixels == int(whole[step].images.long().sum())


def test_a_batch_larger_than_the_data_set_goes_on_with_the_next_epoch(dataset: Dataset) -> None:
    (batch,) = run(dataset, StepSampler(batch=16, last=1))
    assert len(batch.names) == 16 and len(set(batch.names)) == 7


def test_a_batch_that_cannot_be_dealt_out_is_refused_with_one_that_can(dataset: Dataset) -> None:
    with pytest.raises(DsegError, match="batch=12"):
        run(dataset, StepSampler(batch=10, accumulate=2, world_size=2, last=1))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_sample_stops_the_run_by_name(broken: Dataset, workers: int) -> None:
    with pytest.raises(DsegError) as caught:
        run(broken, StepSampler(batch=7, last=1), workers=workers)
    assert "3_mask.png holds the value 77 (600 pixels)" in caught.value.problem
    assert "--on-bad-data skip" in caught.value.hint
    assert caught.value.exit_code == 1


def test_a_bad_sample_is_replaced_by_the_next_and_told(broken: Dataset) -> None:
    (batch,) = run(broken, StepSampler(batch=7, last=1), on_bad_data="skip")
    assert sorted(batch.names) == ["0", "1", "2", "4", "4", "5", "6"]
    assert [name for name, _ in batch.faults] == ["3"]


def test_data_that_is_bad_throughout_stops_in_any_case(dataset: Dataset) -> None:
    for sample in dataset.samples:
        sample.image.unlink()
    with pytest.raises(DsegError, match="7 samples in a row cannot be read"):
        run(dataset, StepSampler(batch=1, last=1), on_bad_data="skip")


def test_too_little_shared_memory_is_told_with_its_remedy(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bus_error(*args: object, **kwargs: object) -> Iterator[Batch]:
        raise RuntimeError(
            "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that "
            "dataloader's workers are out of shared memory."
        )

    monkeypatch.setattr("torch.utils.data.DataLoader.__iter__", bus_error)
    with pytest.raises(DsegError, match="too little shared memory"):
        run(dataset, StepSampler(batch=1, last=1), workers=2)


def test_more_workers_than_shared_memory_holds_are_refused_before_they_start(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Small:
        f_bavail, f_frsize = 100, 4096  # 400 kB; a batch and its names take 67 kB

    monkeypatch.setattr("dseg.data.loader.SHARED", Path("/"))
    monkeypatch.setattr("os.statvfs", lambda path: Small())
    with pytest.raises(DsegError, match="use --workers 1"):
        run(dataset, StepSampler(batch=1, last=1), workers=2)
    assert len(run(dataset, StepSampler(batch=1, last=1), workers=1)) == 1


@pytest.mark.parametrize(
    ("cores", "cuda", "workers"), [(24, True, 24), (1, True, 1), (24, False, 1), (1, False, 0)]
)
def test_a_gpu_gets_a_worker_for_each_core(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, cores: int, cuda: bool, workers: int
) -> None:
    monkeypatch.setattr("dseg.data.loader.SHARED", Path("/there/is/none"))
    plan = StepSampler(batch=1, last=1)
    assert choose_workers(make_stream(dataset), plan, cores=cores, cuda=cuda) == workers


def test_little_shared_memory_limits_the_workers(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Small:
        f_bavail, f_frsize = 100, 4096  # 400 kB; a batch and its names take 67 kB

    monkeypatch.setattr("dseg.data.loader.SHARED", Path("/"))
    monkeypatch.setattr("os.statvfs", lambda path: Small())
    stream = make_stream(dataset)
    assert choose_workers(stream, StepSampler(batch=1, last=1), cores=24, cuda=True) == 1
    shared = StepSampler(batch=1, last=1, local_size=2)  # with another process
    assert choose_workers(stream, shared, cores=24, cuda=True) == 0


def make_batch(name: str) -> Batch:
    return Batch(torch.zeros(1), torch.zeros(1), [name], [])


def test_batches_for_the_cpu_are_passed_through() -> None:
    batches = [make_batch("a"), make_batch("b")]
    assert list(prefetch(iter(batches), torch.device("cpu"))) == batches


def test_a_gpu_is_given_the_next_batch_before_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def read() -> Iterator[Batch]:
        yield from (make_batch("a"), make_batch("b"))
        raise DsegError("c is broken", hint="mend it")

    def copy(batch: Batch, *given: object) -> tuple[Batch, None]:
        done.append(f"copy {batch.names[0]}")
        return batch, None

    monkeypatch.setattr("torch.cuda.Stream", lambda device: None)
    monkeypatch.setattr("dseg.data.loader._copy", copy)
    monkeypatch.setattr("dseg.data.loader._hand_over", lambda batch, *given: batch)
    monkeypatch.setattr("dseg.data.loader._mark", lambda device: None)
    with pytest.raises(DsegError, match="c is broken"):
        for batch in prefetch(read(), torch.device("cuda")):
            done.append(f"compute {batch.names[0]}")
    assert done == ["copy a", "copy b", "compute a", "compute b"]


def test_a_host_ahead_of_its_gpu_waits_for_the_fifth_step_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []

    class Event:
        def __init__(self) -> None:
            self.after = done[-1]

        def synchronize(self) -> None:
            done.append(f"wait for {self.after}")

    monkeypatch.setattr("torch.cuda.Stream", lambda device: None)
    monkeypatch.setattr("dseg.data.loader._copy", lambda batch, *given: (batch, None))
    monkeypatch.setattr("dseg.data.loader._hand_over", lambda batch, *given: batch)
    monkeypatch.setattr("dseg.data.loader._mark", lambda device: Event())
    for batch in prefetch(map(make_batch, "abcdef"), torch.device("cuda")):
        done += batch.names
    assert done == ["a", "b", "c", "d", "e", "wait for a", "f", "wait for b"]
