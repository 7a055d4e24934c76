"""Atomic writes: several processes, links at temporary names, files left by killed processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dseg import files
from dseg.errors import DsegError
from dseg.files import write_json, written_whole
from dseg.jsonio import dumps, strict

WRITE_OFTEN = """
import sys
from pathlib import Path
from dseg.files import write_json, written_whole
from dseg.jsonio import dumps, strict
target, letter = Path(sys.argv[1]), sys.argv[2]
for _ in range(300):
    with written_whole(target) as part:
        part.write_text(letter * 20000)
"""
LONG_DEAD = 2**22 + 1  # above Linux's largest process id


@pytest.fixture(autouse=True)
def clean_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_cleaned", set())


def test_two_processes_write_one_file_and_readers_find_it_whole(tmp_path: Path) -> None:
    target = tmp_path / "file"
    words = [sys.executable, "-c", WRITE_OFTEN, str(target)]
    writers = [subprocess.Popen([*words, letter], stderr=subprocess.PIPE) for letter in "ab"]
    read: set[str] = set()
    while any(writer.poll() is None for writer in writers):
        if target.exists():
            read.add(target.read_text())
    assert [writer.communicate()[1] for writer in writers] == [b"", b""]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert read <= {"a" * 20000, "b" * 20000}
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_link_at_the_temporary_name_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.secrets, "token_hex", lambda size: "0" * 2 * size)
    with written_whole(tmp_path / "file") as part:
        pass
    victim = tmp_path / "victim"
    victim.write_text("precious")
    part.symlink_to(victim)
    with pytest.raises(DsegError, match="cannot be written"), written_whole(tmp_path / "file"):
        pytest.fail("the temporary file was taken over")
    assert victim.read_text() == "precious"


def leave(folder: Path, process: int, host: str = "", days: float = 0.0) -> Path:
    """Leave a temporary file as a process that was killed does."""
    with written_whole(folder / "file") as part:
        pass
    name = part.name.replace(f"-{os.getpid()}-", f"-{process}-")
    left = folder / (f".{host}{name[name.index('-') :]}" if host else name)
    left.write_text("half")
    old = left.stat().st_mtime - 86_400 * days
    os.utime(left, (old, old))
    files._cleaned.clear()
    return left


@pytest.mark.parametrize(
    ("process", "host", "days", "stays"),
    [
        (LONG_DEAD, "", 0, False),
        (0, "", 2, True),  # this process, still running
        (LONG_DEAD, "0badcafe", 0.5, True),  # another machine's, perhaps still running
        (LONG_DEAD, "0badcafe", 1.5, False),
    ],
)
def test_what_a_killed_process_left_is_removed(
    process: int, host: str, days: float, stays: bool, tmp_path: Path
) -> None:
    left = leave(tmp_path, process or os.getpid(), host, days)
    with written_whole(tmp_path / "next"):
        pass
    assert left.exists() == stays


def test_only_temporary_files_are_removed(tmp_path: Path) -> None:
    for name in (".hidden", ".0badcafe-1-2-3.dseg-part.png", "x.dseg-part"):
        (tmp_path / name).write_text("a user's")
        os.utime(tmp_path / name, (0, 0))
    with written_whole(tmp_path / "next"):
        pass
    assert len(list(tmp_path.iterdir())) == 4


def test_a_file_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(KeyError), written_whole(target) as part:
        part.write_text("half")
        raise KeyError
    assert target.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_json_is_written_strictly_with_a_newline_at_the_end(tmp_path: Path) -> None:
    file = tmp_path / "facts.json"
    write_json(file, {"name": "Zürich", "sizes": (1, 2.5)})
    expected = b'{\n  "name": "Z\\u00fcrich",\n  "sizes": [\n    1,\n    2.5\n  ]\n}\n'
    assert file.read_bytes() == expected
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(file, [float("nan")])
    assert file.read_bytes() == expected


def test_nan_and_infinity_become_null() -> None:
    values = {"a": (0.5, float("nan")), "b": [float("-inf"), True, None, "NaN"]}
    text = '{"a": [0.5, null], "b": [null, true, null, "NaN"]}\n'
    assert dumps(strict(values), indent=None) == text
    assert dumps(["ü"], indent=None, ensure_ascii=False) == '["ü"]\n'


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_a_path_without_a_name_is_refused(name: str) -> None:
    with pytest.raises(DsegError, match="is a folder, not a file"), written_whole(Path(name)):
        pass
