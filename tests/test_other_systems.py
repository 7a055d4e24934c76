"""What Windows and macOS do otherwise than Linux, simulated."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
import torch
from cli_runs import refused, run, save_noise, written
from conftest import UNIX
from PIL import Image
from test_fetched_sources import pack_zip
from tiny_data import make_camvid
from torch.nn import functional as F

from dseg import files
from dseg.cli import main
from dseg.data import loader
from dseg.device import lacks_reported
from dseg.downloads import own_folders
from dseg.errors import DsegError, quote
from dseg.nn import deterministic
from dseg.predict.inputs import find_images, names_below_shared
from dseg.sources.archives import unpack
from dseg.sources.lists import read_list
from dseg.sources.stdin import read_names
from dseg.speeds import Speed, keep_speed

ROOT = Path(__file__).parent.parent
needs_case = pytest.mark.skipif(
    files.ignores_case(Path(__file__).parent), reason="this disk ignores case"
)
ONLY_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="simulated with /proc")


def run_elsewhere(*words: object) -> str:
    """Run dseg as on Windows, with a console of code page 1252; return its messages."""
    path = [Path(__file__).parent / "other_system", ROOT]
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "PYTHONIOENCODING": "cp1252",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "dseg", *map(str, words)]
    done = subprocess.run(command, env=env, capture_output=True, check=False)
    messages = done.stderr.decode("cp1252")
    assert done.returncode == 0, messages
    return messages


@ONLY_LINUX
def test_a_run_with_spawned_workers_replaces_a_damaged_cache(here: Path) -> None:
    make_camvid(Path("data"))
    assert run("cache", "--dataset", "camvid", "--data-dir", "data", "--out", "c").exit_code == 0
    [cache] = Path("c").glob("*.dseg-cache")
    whole = cache.read_bytes()
    cache.write_bytes(whole[:200] + b"\xff" + whole[201:])
    words = ("--model", "dabnet", "--dataset", "camvid", "--data-dir", "data", "--device", "cpu")
    more = ("--workers", 1, "--cache", "disk", "--cache-dir", "c", "--val-split", "none")
    sizes = ("--set", "crop=32x32", "--set", "steps=2", "--batch-size", 2)
    run_elsewhere("train", *words, *more, *sizes, "--out", "run")
    assert cache.read_bytes() == whole
    rows = map(json.loads, Path("run/metrics.jsonl").read_text().splitlines())
    assert [row["step"] for row in rows if row["kind"] == "train"][-1] == 2
    assert not list(here.rglob("*.dseg-part"))


@ONLY_LINUX
def test_images_are_labelled_on_a_console_without_unicode(here: Path) -> None:
    out = "Größe 写真"
    messages = run_elsewhere("infer", "img/a.png", "--device", "cpu", "--out", out)
    assert f"Look first at: Größe {chr(92)}u5199{chr(92)}u771f/overlay/a.png" in messages
    assert written(out) == ["color/a.png", "dseg-run.json", "label_ids/a.png", "overlay/a.png"]


def test_names_on_several_drives_begin_with_the_drive() -> None:
    paths = [PureWindowsPath(r"C:\in\a.png"), PureWindowsPath(r"\\nas\b c\in\a.png")]
    bases = [path.parent for path in paths]
    assert [name.as_posix() for name in names_below_shared(paths, bases)] == [
        "C/in/a.png",
        "nas_b_c/in/a.png",
    ]


def test_names_that_differ_by_case_keep_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("x/IMG_1.JPG", "y/img_1.jpg"):
        Path(name).parent.mkdir()
        Path(name).touch()
    names = {False: ["IMG_1", "img_1"], True: ["x/IMG_1", "y/img_1"]}
    for ignored, expected in names.items():
        monkeypatch.setattr("dseg.predict.inputs.IGNORES_CASE", ignored)
        assert [image.name.as_posix() for image in find_images(["x", "y"])] == expected


@needs_case
def test_results_that_differ_by_case_are_refused_on_a_disk_that_ignores_it(here: Path) -> None:
    save_noise("in/Car.png", 32, 32)
    save_noise("in/car.png", 32, 32)
    Path("out").mkdir()
    Path("out/DSEG-RUN.JSON").symlink_to("dseg-run.json")
    result = run("infer", "in", "--device", "cpu", "--out", "out", "-q")
    refused(result, 2, "in/Car.png and in/car.png would have the same results", "rename one")
    assert not Path("out/label_ids").exists()


@needs_case
def test_masks_that_differ_by_case_are_refused_on_a_disk_that_ignores_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("A", "a"):
        Path("in").mkdir(exist_ok=True)
        Image.fromarray(np.full((2, 2), 26, np.uint8)).save(f"in/{name}.png")
    words = ("transfer-labels", "in", "--from", "label-ids", "--out")
    assert run(*words, "one").exit_code == 0
    Path("out").mkdir()
    Path("OUT").symlink_to("out")
    refused(run(*words, "out"), 2, "in/A.png and in/a.png would both be written to out/a.png")
    assert not list(Path("out").iterdir())


@needs_case
def test_an_input_is_not_replaced_under_another_name_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Image.fromarray(np.full((2, 2), 26, np.uint8)).save("in/a.png")
    Path("IN").symlink_to("in")
    result = run("transfer-labels", "in", "--from", "label-ids", "--out", "IN", "--overwrite")
    refused(result, 2, "IN/a.png is an input and would be replaced")


def test_members_that_are_one_file_where_case_is_ignored_are_both_unpacked(tmp_path: Path) -> None:
    pack_zip(str(tmp_path / "x.zip"), {"a.png": b"small", "b.png": b"b"})
    folder = tmp_path / "to"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"from A.png")
    assert unpack(tmp_path / "x.zip", folder).fault == ""
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "a.png": b"from A.png",
        "a-2.png": b"small",
        "b.png": b"b",
    }


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_comes_twice_is_the_last_of_them(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed:
        packed.writestr("a.png", b"old")
        packed.writestr("a.png", b"new")
    unpack(tmp_path / "x.zip", tmp_path / "to")
    assert [path.read_bytes() for path in (tmp_path / "to").iterdir()] == [b"new"]


def test_a_list_in_the_encoding_of_the_system_is_read(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = "Größe.png\r\nimg/a.png\r\n".encode("cp1252")
    Path("Größe.png").touch()
    Path("list.txt").write_bytes(data)
    monkeypatch.setattr("os.fsdecode", lambda name: name.decode("utf-8", "surrogatepass"))
    monkeypatch.setattr("locale.getpreferredencoding", lambda *_: "cp1252")
    assert read_list("list.txt") == [Path("Größe.png"), Path("img/a.png")]
    assert read_names(data) == ["Größe.png", "img/a.png"]


def test_a_file_that_is_open_for_a_moment_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[Path] = []
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        tries.append(target)
        if len(tries) < 3:
            raise PermissionError(13, "it is used by another process")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(files, "TRY_AGAIN_S", 0.0)
    monkeypatch.setattr(files, "PATIENCE_S", 0.0)
    with pytest.raises(DsegError, match="cannot be written"):
        files.write_json(tmp_path / "a.json", 1)
    assert len(tries) == 1
    monkeypatch.setattr(files, "PATIENCE_S", 60.0)
    files.write_json(tmp_path / "a.json", 2)
    assert (tmp_path / "a.json").read_bytes() == b"2\n" and len(tries) == 3


def test_hints_quote_paths_for_the_shell_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for system in ("posix", "nt"):
        with monkeypatch.context() as patched:
            patched.setattr(os, "name", system)
            found[system] = [quote(path) for path in (r"C:\my photos\a", r"out\label_ids")]
    assert found == {
        "posix": [r"'C:\my photos\a'", r"'out\label_ids'"],
        "nt": [r'"C:\my photos\a"', r"out\label_ids"],
    }


def test_spawned_workers_are_few_and_their_error_names_the_script(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loader, "_context", lambda: "spawn")
    monkeypatch.setattr(loader, "workers_that_fit", lambda *_: 99)
    assert loader.choose_workers(None, None, cores=24, cuda=True) == 8
    fault = loader._worker_error(RuntimeError("DataLoader worker (pid 7) exited unexpectedly"), 2)
    assert 'call dseg below if __name__ == "__main__":' in fault.hint


def test_patterns_are_left_to_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}
    monkeypatch.setattr("click.Group.main", lambda self, *args, **options: given.update(options))
    main.main(["infer", "*.png"])
    assert given["windows_expand_args"] is False  # click would expand all arguments there


def test_a_user_without_a_home_can_label_but_not_download(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def expanduser(self: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", expanduser)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("DSEG_CACHE", raising=False)
    assert own_folders() == [Path("weights")]
    assert run("infer", "img", "--device", "cpu").exit_code == 0
    result = run("download", "espnet")
    refused(result, 2, "There is no home folder ~ for the cache.", "DSEG_CACHE")
    assert run("models", "dabnet").exit_code == 0
    keep_speed("dabnet", Speed(ms=1, runtime="torch", precision="fp32", device="x"), on_gpu=False)


def test_the_demo_runs_beside_another_package_of_that_name(here: Path) -> None:
    Path("dseg").mkdir()
    Path("dseg/__init__.py").touch()
    result = run("demo")
    assert result.exit_code == 0, result.output
    assert "$ dseg eval" in result.stderr and "mean" in result.stdout
    assert Path(result.stdout.splitlines()[-1]).is_file()


def test_a_device_that_pools_to_even_cells_only_pools_others_by_matrices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = torch.randn(1, 2, 13, 25)
    expected = F.adaptive_avg_pool2d(x, 6)
    monkeypatch.setattr(deterministic, "EVEN_CELLS", ("cpu",))
    monkeypatch.setattr(F, "adaptive_avg_pool2d", lambda x, size: "native")
    assert torch.allclose(deterministic.adaptive_avg_pool2d(x, 6), expected, atol=1e-6)
    assert deterministic.adaptive_avg_pool2d(x[..., :12, :24], (6, 3)) == "native"


def test_an_operation_that_mps_lacks_is_one_error() -> None:
    with (
        pytest.raises(DsegError, match=r"dabnet on mps: no float64\.\n") as found,
        lacks_reported("dabnet", torch.device("mps")),
    ):
        raise TypeError("no float64.\nMore words.")
    assert found.value.hint == "use --device cpu."
    with pytest.raises(TypeError), lacks_reported("dabnet", torch.device("cpu")):
        raise TypeError("a fault of ours")


@pytest.mark.parametrize("folder", ["dseg", "scripts"])
def test_text_files_are_opened_with_an_encoding(folder: str) -> None:
    """Without one, Windows uses its code page."""
    missing = []
    for path in (ROOT / folder).rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        if not re.search(r"\.(read|write)_text\(|open\([\"'][rwa][\"']|text=True", source):
            continue
        for node in ast.walk(ast.parse(source)):
            call = ast.unparse(node) if isinstance(node, ast.Call) else ""
            direct = call.partition("(")[2]  # not that of an inner call
            text = re.match(r"[\w.\[\]()/' -]*\.(read_text|write_text)\(", call)
            text = (
                text or re.match(r"[\w.]*open\('[rwa]'", call) or re.search(r"\btext=True", direct)
            )
            if text and "encoding" not in call and not call.startswith("super()."):
                missing.append(f"{path.name}: {call[:80]}")
    assert missing == []


def test_the_tests_that_need_unix_exist() -> None:
    folder = Path(__file__).parent
    texts = [path.read_text(encoding="utf-8") for path in folder.glob("test_*.py")]
    for name in UNIX:
        assert (folder / name).is_file() or any(f"def {name}(" in text for text in texts), name
