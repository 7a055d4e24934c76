"""Fixtures that several test files share."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_files import make_state
from cli_runs import run, save_noise
from click.testing import Result
from torch import Tensor

from dseg.checkpoints import save_model
from dseg.models import build_model


def pytest_configure() -> None:
    """Compute with one thread, in fixtures of whole files too; let Ctrl-C reach the processes.

    A shell's background job would ignore it. cuBLAS computes deterministically if asked to.
    """
    torch.set_num_threads(1)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA is used
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


LONGEST = ("test_resume.py", "test_zoo.py", "test_train_ranks.py", "test_authors_masks.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no process is left alone with one."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(LONGEST)))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of our own format: MobileNetDenseASPP with random weights, always the same."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "mobile.safetensors"
    save_model(build_model("mobilenetdenseaspp"), path)
    return path


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Images this small are labelled many times faster by one thread than by several that wait."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def state() -> dict[str, Tensor]:
    """A network's state dict, which nobody changes in place."""
    return make_state()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in that has two images, of 48x64 and 40x50 pixels, below ``img``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DSEG_WEIGHTS", raising=False)
    save_noise("img/a.png", 48, 64)
    save_noise("img/sub/b.jpg", 40, 50)
    return tmp_path


@pytest.fixture
def infer(here: Path, checkpoint: Path) -> Callable[..., Result]:
    """Run ``dseg infer`` with the checkpoint and more words."""

    def run_infer(*words: object, command: str = "infer", **options: Any) -> Result:
        return run(command, "-w", checkpoint, "--device", "cpu", *words, **options)

    return run_infer
