"""Shortage of memory: one clear error at every boundary, never a stack trace."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_runs import refused, run, save_noise, written
from PIL import ImageFile
from tiny_data import make_camvid

import dseg
from dseg import distributed, images
from dseg.checkpoints import read_checkpoint
from dseg.data.stream import Stream
from dseg.errors import DsegError
from dseg.memory import is_out_of_memory
from dseg.predict import pipeline, results
from dseg.predict import readahead as ahead
from dseg.predict.readahead import PixelBudget

SHORTAGES = (
    MemoryError(),
    np._core._exceptions._ArrayMemoryError((1 << 40,), np.dtype(np.uint8)),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("could not create a primitive"),
    RuntimeError("could not create a primitive descriptor for a convolution"),
    RuntimeError("can't start new thread"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("unable to mmap 8589934679 bytes from file <x>: Cannot allocate memory (12)"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("Caught MemoryError in DataLoader worker process 0.\nUnable to allocate 9 GiB"),
    OSError(12, "Cannot allocate memory"),
    ImportError("libtorch_cpu.so: failed to map segment from shared object"),
)
OTHERS = (
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    OSError(28, "No space left on device"),
    ValueError("memory format"),
    KeyboardInterrupt(),
    DsegError("This image is out of memory.", hint="none"),
)


@pytest.mark.parametrize("fault", SHORTAGES, ids=lambda fault: str(fault)[:30])
def test_what_libraries_say_of_memory_is_understood(fault: Exception) -> None:
    assert is_out_of_memory(fault)


@pytest.mark.parametrize("fault", OTHERS, ids=lambda fault: str(fault)[:30])
def test_what_is_no_shortage_is_not_taken_for_one(fault: BaseException) -> None:
    assert not is_out_of_memory(fault)


def fail_on(name: str, fault: Exception, then: Callable[..., object]) -> Callable[..., object]:
    def work(path: Path, *others: object) -> object:
        if name in str(path):
            raise fault
        return then(path, *others)

    return work


@pytest.mark.parametrize(("file", "step"), [(ahead, "read_image"), (results, "write_png")])
@pytest.mark.parametrize("fault", [MemoryError(), RuntimeError("could not create a primitive")])
def test_an_image_that_does_not_fit_fails_and_the_others_go_on(
    infer, monkeypatch, file, step, fault
):
    for name in "abc":
        save_noise(f"three/{name}.png", 20, 30)
    monkeypatch.setattr(file, step, fail_on("b.png", fault, getattr(file, step)))
    result = infer("three", "--save", "label_ids")
    assert result.exit_code == 1
    assert "failed: Memory ran out on three/b.png.\nHint: close other programs" in result.stderr
    assert "2 labelled, 0 already there, 1 failed" in result.stderr
    assert written("dseg-out/label_ids") == ["a.png", "c.png"]


def test_a_network_that_does_not_fit_fails_each_image(infer, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("could not create a primitive")

    monkeypatch.setattr("dseg.predict.fusion.Scorer.fused_bands", fail)
    result = infer("img/a.png", "--save", "label_ids")
    assert result.exit_code == 1
    assert "fits into memory" in result.stderr
    assert "Traceback" not in result.output


def test_threads_that_cannot_be_started_are_done_without(infer, monkeypatch):
    start, refused_names = threading.Thread.start, []

    def refuse(thread: threading.Thread) -> None:
        if "ThreadPool" in thread.name and not thread.name.endswith("_0"):
            refused_names.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    for number in range(12):
        save_noise(f"many/{number:02}.png", 16, 16)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(distributed, "count_cores", lambda: 4)
    assert infer("many", "--save", "label_ids").exit_code == 0
    assert len(written("dseg-out/label_ids")) == 12
    assert refused_names


def test_a_shortage_while_decoding_names_the_file(here, monkeypatch):
    save_noise("a.jpg", 8, 8)

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(DsegError, match=r"Memory ran out while a\.jpg was decoded\."):
        images.read_image(Path("a.jpg"))


@pytest.fixture
def camvid_run(here: Path) -> Callable[..., object]:
    make_camvid(Path("camvid"))
    words = ("--out", "run", "--batch-size", 2, "--set", "crop=32x48", "--set", "steps=2", "-q")
    data = ("--model", "DABNet", "--dataset", "camvid", "--data-dir", "camvid", "--device", "cpu")
    return lambda *more: run("train", *words, *data, *more)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_shortage_while_training_data_is_read(here, monkeypatch, camvid_run, workers):
    def fail(*_: object) -> None:
        raise MemoryError("Unable to allocate 9 GiB")

    monkeypatch.setattr(Stream, "crop", fail)
    hint = "use fewer --workers and --resume, or a smaller --batch-size or crop (--set crop=)."
    result = camvid_run("--workers", workers)
    assert (
        f"Error: Memory ran out while a batch was read (--workers {workers}).\nHint: {hint}\n"
        in result.stderr
    )
    assert result.exit_code == 1


@pytest.mark.parametrize("fault", [SHORTAGES[2], SHORTAGES[4], MemoryError()])
def test_a_shortage_while_training_names_what_takes_less(camvid_run, monkeypatch, fault):
    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr("dseg.training.step.TrainStep._backward", fail)
    result = camvid_run("--workers", 0)
    assert result.exit_code == 1
    assert (
        "Error: Memory ran out while dabnet was trained on batches of 2 crops of 32x48, device "
        "cpu.\nHint: use a smaller --batch-size, a smaller crop (--set crop=16x24), more "
        "micro-batches (--set accumulate=2) or --checkpoint-activations (of dense blocks).\n"
    ) in result.stderr


@pytest.mark.parametrize("fault", [MemoryError(), SHORTAGES[1], OSError(12, "Cannot allocate")])
def test_the_command_tells_of_any_other_shortage(here, monkeypatch, fault):
    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr("dseg.predict.find_images", fail)
    refused(run("infer", "img", "--model", "dabnet"), 1, "Memory ran out", "use smaller images")


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_a_checkpoint_larger_than_memory(tmp_path, monkeypatch, suffix):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("unable to mmap 80 bytes from file <x>: Cannot allocate memory (12)")

    file = tmp_path / f"a.{suffix}"
    if suffix == "pth":
        torch.save({"a": torch.ones(2)}, file)
        monkeypatch.setattr(torch, "load", fail)
    else:
        from safetensors.torch import save_file

        save_file({"a": torch.ones(2)}, file)
        monkeypatch.setattr("dseg.checkpoints.read.safe_open", fail)
    with pytest.raises(DsegError, match=r"Memory ran out while .* was read \(0 MB\)\.") as caught:
        read_checkpoint(file)
    assert caught.value.exit_code == 1


LIMITED = """
import resource, sys
import dseg.cli, torch
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (200 << 20), held + (200 << 20)))
dseg.cli.main(sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc")
def test_a_process_with_little_memory_ends_in_two_lines(here, checkpoint):
    with Path("large.safetensors").open("wb") as file:
        header = b'{"a":{"dtype":"U8","shape":[4294967296],"data_offsets":[0,4294967296]}}'
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + (1 << 32))  # a hole, which takes no disk space
    words = (sys.executable, "-c", LIMITED, "inspect", "large.safetensors")
    env = {**os.environ, "PYTHONPATH": str(Path(dseg.__file__).parent.parent)}
    done = subprocess.run(words, capture_output=True, text=True, env=env)
    assert done.stderr == (
        "Error: Memory ran out while large.safetensors was read (4,295 MB).\n"
        "Hint: close other programs, or use a machine with more memory.\n"
    )
    assert done.returncode == 1


def test_the_sizes_of_images_bound_what_is_held(infer, monkeypatch):
    """Alternate tiny images and large ones of three quarters of the budget."""
    monkeypatch.setattr(pipeline, "PIXELS_AHEAD", 4000)
    monkeypatch.setattr(distributed, "count_cores", lambda: 8)
    lock, held, most = threading.Lock(), 0, [0]
    sizes = {}
    for number in range(40):
        sizes[f"{number:02}.png"] = (60, 50) if number % 2 else (4, 4)
        save_noise(f"mixed/{number:02}.png", *sizes[f"{number:02}.png"])
    save_noise("mixed/99.png", 100, 100)
    sizes["99.png"] = (100, 100)
    read, write = ahead.read_image, results.write_png

    def count(path: Path, sign: int) -> None:
        nonlocal held
        with lock:
            held += sign * sizes[path.name][0] * sizes[path.name][1]
            most.append(held)

    def counted_read(path: Path, *others: object) -> object:
        count(path, 1)
        return read(path, *others)

    def slow_write(path: Path, *others: object) -> None:
        threading.Event().wait(0.01)
        write(path, *others)
        count(path, -1)

    monkeypatch.setattr(ahead, "read_image", counted_read)
    monkeypatch.setattr(results, "write_png", slow_write)
    assert infer("mixed", "--save", "label_ids").exit_code == 0
    assert len(written("dseg-out/label_ids")) == 41
    assert sorted(most)[-2:] == [10_000, 10_000] or max(most) == 10_000
    assert max(value for value in most if value != 10_000) <= 4000


def test_a_broken_image_releases_its_pixels(infer, monkeypatch):
    monkeypatch.setattr(pipeline, "PIXELS_AHEAD", 400)
    for number in range(6):
        save_noise(f"cut/{number}.png", 20, 20)
        whole = Path(f"cut/{number}.png").read_bytes()
        if number != 5:
            Path(f"cut/{number}.png").write_bytes(whole[: len(whole) // 2])
    result = infer("cut", "--save", "label_ids")
    assert (result.exit_code, written("dseg-out/label_ids")) == (1, ["5.png"])
    assert result.stderr.count("Hint: ") == 1


def test_the_budget_is_given_in_turn() -> None:
    budget, served = PixelBudget(10), []

    def acquire(turn: int, amount: int) -> None:
        budget.acquire(turn, amount)
        served.append(turn)

    threads = [
        threading.Thread(target=acquire, args=(turn, amount))
        for turn, amount in ((3, 1), (2, 4), (1, 20), (0, 8))
    ]
    for thread in threads:
        thread.start()
    threads[3].join()
    assert served == [0]
    budget.release(8)
    threads[2].join()
    assert served == [0, 1]
    budget.release(20)
    for thread in threads:
        thread.join()
    assert served == [0, 1, 2, 3]
