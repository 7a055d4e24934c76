"""``dseg infer`` that is run again, stopped, or without disk space."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from cli_runs import contents, misused, pixels, refused, run, save_noise, written

from dseg import files
from dseg.files import written_whole
from dseg.images import writing
from dseg.models import build_model
from dseg.predict import readahead as ahead
from dseg.predict import runs

# Results that exist, or cannot be written


def test_a_second_run_touches_nothing_and_makes_again_what_was_deleted(infer):
    infer("img")
    before = contents("dseg-out")
    for name in before:
        os.utime(Path("dseg-out") / name, (1, 1))
    result = infer("img", "--json", "-")
    assert result.exit_code == 0
    assert "0 labelled, 2 already there, 0 failed" in result.stderr
    assert json.loads(result.stdout)["skipped"] == 2
    assert {p.stat().st_mtime for p in Path("dseg-out").rglob("*.*")} == {1.0}
    Path("dseg-out/color/sub/b.png").unlink()
    assert "1 labelled, 1 already there" in infer("img").stderr
    assert contents("dseg-out") == before
    assert Path("dseg-out/color/a.png").stat().st_mtime == 1.0


def test_results_of_different_options_do_not_mix(infer):
    infer("img")
    before = contents("dseg-out")
    problem = "dseg-out holds results of another run (tile: None, now [32, 32])."
    refused(infer("img", "--tile", "32"), 2, problem, "--overwrite")
    assert contents("dseg-out") == before
    assert infer("img", "--tile", "32", "--overwrite").exit_code == 0
    assert json.loads(Path("dseg-out/dseg-run.json").read_text())["tile"] == [32, 32]
    assert contents("dseg-out")["label_ids/a.png"] != before["label_ids/a.png"]
    refused(infer("img"), 2, "another run (tile: [32, 32], now None)")


def test_an_overwrite_of_some_images_does_not_mix_with_the_others_results(infer):
    infer("img")
    before = contents("dseg-out")
    problem = "is a result of another run (tile: None, now [32, 32])"
    refused(infer("img/a.png", "--tile", "32", "--overwrite"), 2, problem, "another --out")
    assert contents("dseg-out") == before
    assert infer("img/a.png", "--overwrite").exit_code == 0  # allowed with the same options
    assert contents("dseg-out") == before


def test_the_checkpoint_counts_by_its_bytes_and_not_by_its_name(here, infer, checkpoint):
    infer("img")
    Path("renamed.safetensors").write_bytes(checkpoint.read_bytes())
    result = run("infer", "img", "-w", "renamed.safetensors", "--device", "cpu")
    assert "0 labelled, 2 already there" in result.stderr
    torch.manual_seed(1)
    torch.save(build_model("mobilenetdenseaspp").state_dict(), "renamed.pth")
    result = infer("img", "--model", "mobilenetdenseaspp", "-w", "renamed.pth")
    refused(result, 2, "results of another run (of mobilenetdenseaspp from ")


def test_results_without_a_manifest_are_not_continued(infer):
    infer("img")
    Path("dseg-out/dseg-run.json").unlink()
    refused(infer("img"), 2, "results of another run (it has no dseg-run.json)")
    Path("dseg-out/dseg-run.json").write_text('{"network": "dfanet", "sha256": "0"}')
    refused(infer("img"), 2, "results of another run (of dfanet from ?, now ")
    assert infer("img", "--overwrite").exit_code == 0


def test_an_overwrite_that_is_stopped_leaves_no_old_results(infer, monkeypatch):
    infer("img", "--save", "label_ids,confidence")

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ahead, "read_image", stop)
        assert infer("img", "--tile", "32", "--overwrite").exit_code == 130
    assert written() == ["dseg-run.json"]
    assert "2 labelled, 0 already there" in infer("img", "--tile", "32").stderr


def test_results_within_the_images_are_not_inputs(infer):
    for out in ("img/out", "img/out", "img/other"):
        result = infer("img", "-o", out)
        assert result.exit_code == 0
        assert re.search("2 labelled|2 already there", result.stderr), result.stderr
    assert written("img/other/label_ids") == ["a.png", "sub/b.png"]
    result = infer("img/**/*.png", "-o", "img/out")
    assert "0 labelled, 1 already there" in result.stderr
    Path("img/out/dseg-run.json").unlink()  # unknown results in our output folders
    assert "2 labelled" in infer("img", "-o", "img/out", "--overwrite").stderr


@pytest.mark.parametrize("out", ["/proc/dseg-out", "file/below"])
@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_an_output_that_cannot_be_written_is_refused(infer, out, overwrite):
    Path("file").write_text("a regular file")
    refused(infer("img", "-o", out, *overwrite), 1, "cannot be written: ", "name a folder")


def test_json_that_cannot_be_written_does_not_hide_what_was_done(infer):
    Path("img/file").write_text("a regular file")
    result = infer("img", "--json", "img/file/facts.json")
    assert (result.exit_code, result.stdout) == (1, "")
    first, _, problem, hint = result.stderr.splitlines()
    assert first.startswith("2 labelled, ")
    assert problem == (
        "Error: img/file/facts.json cannot be written: one of its parent folders is a file."
    )
    assert hint.startswith("Hint: ")


def test_out_that_is_a_file_is_refused(infer):
    Path("file").write_text("a regular file")
    misused(infer("img", "-o", "file"), "'file' is a file")
    assert Path("file").read_text() == "a regular file"


def test_a_full_disk_stops_the_run_and_what_is_written_is_whole(infer, monkeypatch):
    for number in range(9):
        save_noise(f"img/more/{number}.png", 32, 32)
    encode = writing.encode_png
    room = threading.Semaphore(4)

    def fill_up(*given):
        if not room.acquire(blocking=False):
            yield b"\x89PNG half"
            raise OSError(errno.ENOSPC, "No space left on device")
        yield from encode(*given)

    with monkeypatch.context() as patch:
        patch.setattr(writing, "encode_png", fill_up)
        refused(infer("img"), 1, "cannot be written: No space left on device.", "make room")
    files = written()
    assert len(files) == 5 and "dseg-run.json" in files
    for name in set(files) - {"dseg-run.json"}:
        assert pixels(f"dseg-out/{name}").ndim >= 2
    result = infer("img")
    assert result.exit_code == 0
    assert len(written()) == 2 + 3 * 11


def test_a_fault_of_the_system_is_two_lines_too(infer, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error", "img/a.png")

    monkeypatch.setattr(runs, "claimed_folder", lambda *_, **__: fail())
    refused(infer("img"), 2, "img/a.png: Input/output error.")


def test_ctrl_c_ends_with_130_and_one_line(infer, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("dseg.predict.Predictor.begin", stop)
    result = infer("img")
    assert (result.exit_code, result.stdout) == (130, "")
    assert (
        result.stderr
        == "Interrupted. All files that were written are complete. Run again to continue.\n"
    )
    assert written() == ["dseg-run.json"]


# A real process that is stopped


def start_and_stop(checkpoint: Path, number: int, sent: signal.Signals) -> tuple[int, str]:
    """Label the same image ``number`` times, send a signal after a few; return code and stderr."""
    Path("many").mkdir()
    for index in range(number):
        os.link("img/a.png", f"many/{index:04}.png")
    words = [sys.executable, "-m", "dseg", "infer", "many", "-w", checkpoint, "--device", "cpu"]
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    end = time.monotonic() + 60
    while len(list(Path("dseg-out").rglob("*.png"))) < 10 and time.monotonic() < end:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.send_signal(sent)
    stdout, stderr = process.communicate(timeout=60)
    assert stdout == ""
    return process.returncode, stderr


def check_whole() -> int:
    """Decode every PNG of the results; return how many there are."""
    found = list(Path("dseg-out").rglob("*.png"))
    for path in found:
        assert pixels(path).shape[:2] == (48, 64)
    return len(found)


def test_a_run_that_is_killed_leaves_whole_files_and_the_next_one_ends_it(infer, checkpoint):
    code, _ = start_and_stop(checkpoint, 200, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert 10 <= check_whole() < 600
    with written_whole(Path("dseg-out/label_ids/other")) as part:
        files._cleaned.clear()  # as in a new process
        dead = part.name.replace(f"-{os.getpid()}-", f"-{2**22 + 1}-")  # never a process id
    (part.parent / "other").unlink()
    (part.parent / dead).write_bytes(b"\x89PNG half")  # a file cut off by SIGKILL
    result = infer("many")
    assert result.exit_code == 0
    assert re.search(r"\d+ labelled, [1-9]\d* already there, 0 failed", result.stderr)
    assert check_whole() == 600
    assert not [name for name in written() if name.endswith(".dseg-part")]


def test_ctrl_c_of_a_process_ends_it_with_130_and_whole_files(here, checkpoint):
    code, stderr = start_and_stop(checkpoint, 200, signal.SIGINT)
    assert code == 130
    assert stderr.splitlines()[-1].startswith(
        "Interrupted. All files that were written are complete."
    )
    assert "Traceback" not in stderr
    assert 10 <= check_whole() < 600
    assert not [name for name in written() if name.endswith(".dseg-part")]
