"""Standard streams that are closed, full or no longer read; names with terminal control codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkpoint_files import write
from cli_runs import run, save_noise, written
from train_runs import ENV

from dseg.cli.console import plain

FULL = Path("/dev/full")
DSEG = f"'{sys.executable}' -m dseg"
pytestmark = pytest.mark.skipif(os.name != "posix", reason="descriptors of a Unix shell")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")


def shell(command: str) -> tuple[list[int], str, str]:
    """Run a line of bash; return the exit codes of its commands, stderr and stdout."""
    line = f"{command.format(dseg=DSEG)}; printf '%s ' ${{PIPESTATUS[@]}} >&3"
    read, wrote = os.pipe()
    process = subprocess.Popen(
        ["bash", "-c", f"exec 3>&{wrote}; {line}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[wrote],
        text=True,
        env=ENV,
    )
    os.close(wrote)
    out, err = process.communicate(timeout=120)
    with os.fdopen(read) as codes:
        return [int(code) for code in codes.read().split()], err, out


LOST = "Error: standard output cannot be written: {}.\nHint: free some space, or write to a file.\n"


@needs_full
@pytest.mark.parametrize("words", ["models", "models --json", "recipes", "--help", "--version"])
def test_a_result_that_finds_no_room_is_one_error(words: str) -> None:
    codes, err, _ = shell(f"{{dseg}} {words} >/dev/full")
    assert (codes, err) == ([1], LOST.format("No space left on device"))


@pytest.mark.parametrize("words", ["models", "models --json", "--help"])
def test_a_result_without_standard_output_is_one_error(words: str) -> None:
    codes, err, _ = shell(f"{{dseg}} {words} >&-")
    assert (codes, err) == ([1], LOST.format("it is closed"))


@pytest.mark.parametrize("words", ["models", "models --json", "recipes dabnet_cityscapes"])
def test_a_reader_that_has_seen_enough_is_told_nothing(words: str) -> None:
    codes, err, _ = shell(f"{{dseg}} {words} | true")
    assert (codes, err) == ([1, 0], "")
    codes, err, out = shell(f"{{dseg}} {words} | head -n 1")
    assert codes[0] in (0, 1) and err == "" and len(out.splitlines()) == 1


@pytest.mark.parametrize("to", ["2>&-", pytest.param("2>/dev/full", marks=needs_full)])
@pytest.mark.parametrize(
    ("words", "code"), [("nonsense", 2), ("inspect none.pth", 3), ("models --nonsense", 2)]
)
def test_a_fault_that_cannot_be_told_keeps_its_exit_code(to: str, words: str, code: int) -> None:
    codes, err, out = shell(f"{{dseg}} {words} {to}")
    assert (codes, err, out) == ([code], "", "")


def test_a_table_is_the_same_without_standard_error() -> None:
    assert shell("{dseg} models dabnet 2>&-") == shell("{dseg} models dabnet")


@pytest.mark.parametrize(
    "to",
    [
        pytest.param("2>&-", marks=pytest.mark.slow),
        pytest.param(">&- 2>&-", marks=pytest.mark.slow),
        "<&- >&- 2>&-",
        "2>&1 | true",
        pytest.param("2>/dev/full", marks=needs_full),
    ],
)
def test_labelling_goes_on_though_nobody_hears_of_it(here: Path, checkpoint: Path, to: str) -> None:
    codes, err, _ = shell(f"{{dseg}} infer img -w '{checkpoint}' --device cpu --save color {to}")
    assert (codes[0], err) == (0, "")
    assert written() == ["color/a.png", "color/sub/b.png", "dseg-run.json"]


@needs_full
def test_results_are_written_though_their_summary_is_not(here: Path, checkpoint: Path) -> None:
    words = f"infer img -w '{checkpoint}' --device cpu --save color --json - -q"
    codes, err, _ = shell(f"{{dseg}} {words} >/dev/full")
    assert codes == [1]
    assert err.endswith(LOST.format("No space left on device"))
    assert written() == ["color/a.png", "color/sub/b.png", "dseg-run.json"]


def test_a_device_that_json_goes_to_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    torch.save({"a.weight": torch.ones(1)}, tmp_path / "a.pth")
    codes, _, out = shell(
        f"cat '{pipe}' & {{dseg}} inspect '{tmp_path}/a.pth' --json '{pipe}' >&2; wait"
    )
    assert codes == [0]
    assert json.loads(out)["tensors"] == 1
    assert pipe.is_fifo()


EVIL = "a\x1b[31m\nError: forged\r\u202ekcab\u200f\x07"
SHOWN = "a\\x1b[31m\\nError: forged\\r\\u202ekcab\\u200f\\x07"


def test_text_of_files_is_shown_with_its_marks_visible() -> None:
    assert plain(EVIL) == SHOWN
    assert plain("stra\u00dfe \u9053\u8def") == "stra\u00dfe \u9053\u8def"


def test_names_in_a_file_are_escaped(tmp_path: Path) -> None:
    file = write({EVIL: torch.ones(1)}, tmp_path / "a.pth")
    lines = run("inspect", file, "--keys").stdout.splitlines()
    assert f"  {SHOWN}: [1]" in lines


def test_names_of_files_are_escaped_in_errors(here: Path, checkpoint: Path) -> None:
    save_noise(Path("img") / "x.png", 8, 8)
    Path("img/x.png").rename(Path("img") / f"{EVIL.replace('/', '')}.png")
    (Path("img") / f"{EVIL}.png").write_bytes(b"broken")
    result = run("infer", "img", "-w", checkpoint, "--device", "cpu", "--save", "color")
    assert result.exit_code == 1
    assert f"failed: img/{SHOWN}.png" in result.stderr
    assert "\x1b" not in result.stderr and "\u202e" not in result.stderr


def test_names_of_classes_are_escaped_in_tables(capsys: pytest.CaptureFixture[str]) -> None:
    from dseg.cli.tables import show_table

    show_table(EVIL, ("class", EVIL), [(EVIL, "1")])
    shown = capsys.readouterr().out
    assert shown.count(SHOWN) == 3 and "\x1b" not in shown and "\u202e" not in shown
