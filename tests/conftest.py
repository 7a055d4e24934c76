"""Fixtures used by several test files."""

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
    """Use one thread, also in session fixtures; restore SIGINT; make cuBLAS deterministic.

    A background job of a shell ignores SIGINT, and so would the processes that tests start.
    """
    torch.set_num_threads(1)
    os.environ.setdefault("DSEG_RUNTIME", "torch")  # others convert each network first
    os.environ["DSEG_OFFLINE"] = "1"  # tests of downloads serve files on this machine
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA is used
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


SIGNALS = "stops processes by signals"
UNIX = {  # files and tests that are skipped on Windows, and what it lacks
    "test_resume.py": "forks processes",
    "test_resume_data.py": "forks processes",
    "test_resume_options.py": "forks processes",
    "test_train_ranks.py": SIGNALS,
    "test_gpu_jobs.py": SIGNALS,
    "test_a_killed_holder_blocks_nobody": SIGNALS,
    "test_of_two_trainings_in_one_folder_one_is_done_and_a_kill_blocks_nothing": SIGNALS,
    "test_ctrl_c_saves_first_and_a_second_one_ends_at_once": SIGNALS,
    "test_signals_are_recorded_and_their_handlers_restored": SIGNALS,
    "test_sigterm_for_all_processes_of_a_job_leaves_the_workers_to_their_parent": SIGNALS,
    "test_a_stopped_run_keeps_its_patience": SIGNALS,
    "test_a_run_that_is_killed_leaves_whole_files_and_the_next_one_ends_it": SIGNALS,
    "test_ctrl_c_of_a_process_ends_it_with_130_and_whole_files": SIGNALS,
    "test_what_a_killed_process_left_is_removed": "finds processes by their number",
    "test_a_link_in_the_place_of_a_lock_is_not_followed": "opens files but no links",
    "test_a_file_that_may_not_be_read_is_refused": "takes permissions away",
    "test_what_is_no_folder_is_refused": "takes permissions away",
    "test_pipes_folders_and_missing_files_are_left_to_pillow": "makes a pipe",
}
LONGEST = ("test_resume.py", "test_zoo.py", "test_train_ranks.py", "test_authors_masks.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slowest files first, so that the processes end at about the same time.

    On Windows skip what needs Unix.
    """
    for item in items if os.name == "nt" else ():
        reason = UNIX.get(item.path.name) or UNIX.get(item.name.partition("[")[0])
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=f"needs Unix: {reason}"))
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(LONGEST)))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A safetensors file of MobileNetDenseASPP with fixed random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "mobile.safetensors"
    save_model(build_model("mobilenetdenseaspp"), path)
    return path


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread, which labels small images many times faster than several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def state() -> dict[str, Tensor]:
    """A state dict of a network, not to be changed in place."""
    return make_state()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with two images, of 48x64 and 40x50 pixels, in ``img``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DSEG_WEIGHTS", raising=False)
    save_noise("img/a.png", 48, 64)
    save_noise("img/sub/b.jpg", 40, 50)
    return tmp_path


@pytest.fixture
def infer(here: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """A function that runs ``dseg infer`` with the checkpoint and more arguments."""
    monkeypatch.setattr("dseg.device.has_bf16", lambda device: False)  # gives no advice to use it
    monkeypatch.setattr("dseg.device.check_bf16", lambda precision, device: None)

    def run_infer(*words: object, command: str = "infer", **options: Any) -> Result:
        return run(command, "-w", checkpoint, "--device", "cpu", *words, **options)

    return run_infer
