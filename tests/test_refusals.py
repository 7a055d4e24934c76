"""Files that are refused: with code, damaged, or not checkpoints."""

from __future__ import annotations

import ast
import bz2
import gzip
import lzma
import os
import zipfile
from pathlib import Path

import pytest
import torch
from checkpoint_files import (
    NAME,
    OLD_TORCH,
    Evil,
    refused,
    write,
)
from safetensors.torch import save_file
from torch import Tensor

import dseg
from dseg.checkpoints import (
    load_model,
    read_checkpoint,
)
from dseg.errors import CheckpointError
from dseg.models import build_model

ADAM = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))])
ADAM.param_groups[0]["params"][0].grad = torch.ones(2)
ADAM.step()  # now its state holds tensors


@OLD_TORCH
@pytest.mark.parametrize("place", ["bare", "beside"])
@pytest.mark.parametrize(("kind", "named"), [("system", "system"), ("exec", "exec")])
def test_code_in_a_pickle_is_refused_and_does_not_run(
    tmp_path: Path, zipped: bool, place: str, kind: str, named: str
) -> None:
    marker = tmp_path / "ran"
    touch = f"open({str(marker)!r}, 'w').close()"
    evil = Evil(os.system, f"touch {marker}") if kind == "system" else Evil(exec, touch)
    content = evil if place == "bare" else {"state_dict": {"a": torch.ones(1)}, "args": evil}
    file = write(content, tmp_path / "evil.pth", zipped=zipped)
    fault = refused(lambda: load_model(NAME, file))
    assert "contains code" in fault.problem
    assert named in fault.problem
    assert "no code was run" in fault.problem
    assert "safetensors" in fault.hint
    assert not marker.exists()
    evil.call[0](*evil.call[1])
    assert marker.exists()  # the trap works


@OLD_TORCH
def test_a_whole_module_is_refused(tmp_path: Path, zipped: bool) -> None:
    file = write(build_model(NAME), tmp_path / "whole.pth", zipped=zipped)
    fault = refused(lambda: read_checkpoint(file))
    assert "contains code (dseg.models.denseaspp.MobileNetDenseASPP)" in fault.problem
    assert "model.state_dict()" in fault.hint


def test_nothing_in_dseg_reads_a_pickle_with_its_code() -> None:
    sources = sorted(Path(dseg.__file__).parent.rglob("*.py"))
    assert len(sources) > 30
    loads = 0
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            assert called not in ("pickle.load", "pickle.loads", "torch.jit.load", "eval", "exec")
            assert called not in ("torch.export.load", "pickle.Unpickler", "joblib.load")
            assert called not in ("pickle._Unpickler", "pickle._loads", "pickle._load")
            if called == "torch.load":
                loads += 1
                safe = {k.arg: ast.unparse(k.value) for k in node.keywords}
                assert safe.get("weights_only") == "True"
            if called.endswith("np.load") or called == "numpy.load":
                assert not any(keyword.arg == "allow_pickle" for keyword in node.keywords)
    assert loads == 2  # a checkpoint, and the state of a run


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_file_cut_short_is_refused(state: dict[str, Tensor], tmp_path: Path, kind: str) -> None:
    whole = tmp_path / "whole"
    if kind == "safetensors":
        save_file(state, whole)
    else:
        write(state, whole, zipped=kind == "zip")
    content = whole.read_bytes()
    file = tmp_path / "part.pth"
    for size in (1, 2, 8, 9, 15, 16, 64, 1000, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:size])
        fault = refused(lambda: read_checkpoint(file))
        assert "is not a complete checkpoint: " in fault.problem
        if kind == "legacy" and size <= 64:
            assert fault.problem.endswith(": it ends too early.")
        assert "download or copy the file again" in fault.hint


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"\x00\x01ok", "the file ends after its first bytes"),
        (b"\n<!DOCTYPE html><html>Google Drive: virus scan</html>", "it is a web page"),
        (b"\xef\xbb\xbf<html>", "it is a web page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
            "a Git LFS pointer",
        ),
        (b'{"error": "quota exceeded"}\n', """a text file that begins with '{"error":"""),
        (b"Not Found, sorry\n", "a text file that begins with 'Not Found, sorry"),
        (bytes(2000), "neither safetensors nor a torch.save file"),
    ],
)
def test_a_file_that_is_not_a_checkpoint_is_described(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    assert reason in refused(lambda: read_checkpoint(file)).problem


ONNX = b"\x08\x08\x12\x07pytorch\x1a\x052.4.0:\xd0\x05\n\x20"  # ir 8, producer, graph
BARE_ONNX = b"\x08\x0a:\x90\x4e\n\x12\n\x01x"  # no producer: the graph follows
TAR = b"best.pth" + bytes(249) + b"ustar\x0000" + bytes(248)


@pytest.mark.parametrize(
    ("content", "kind", "hint"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "an image (PNG)", "name a checkpoint file"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(40), "an image (JPEG)", "name a checkpoint"),
        (gzip.compress(b"x" * 99), "a gzip file", "gzip -dc"),
        (bz2.compress(b"x" * 99), "a bzip2 file", "bzip2 -dc"),
        (lzma.compress(b"x" * 99), "an xz file", "xz -dc"),
        (b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(40), "a 7z archive", "unpack it"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), "an HDF5 file", "state dict"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(40), "a TFLite model", "state dict"),
        (b"\x93NUMPY\x01\x00v\x00{'descr'", "a single NumPy array", "state dict"),
        (TAR, "a tar archive", "unpack it"),
        (ONNX, "an ONNX model", "state dict"),
        (ONNX + bytes(600), "an ONNX model", "state dict"),
        (BARE_ONNX, "an ONNX model", "state dict"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_kind_of_file_is_named_with_what_to_do(
    content: bytes, kind: str, hint: str, tmp_path: Path
) -> None:
    file = tmp_path / "weights.pth.tar"
    file.write_bytes(content)
    fault = refused(lambda: read_checkpoint(file))
    assert fault.problem.startswith(f"{file} is not a torch checkpoint but {kind}")
    assert hint in fault.hint


@pytest.mark.parametrize(
    "content",
    [
        b"\x08\x04\x12\x0a\n\x04\x80\x81\x82\x83\x00\x00\x00\x00",  # CoreML: field 2 is not text
        b"\x08\x00\x12\x07pytorch",  # version 0
        b"\x08\x08\x13\x07pytorch",  # a wire type that ModelProto does not have there
        b"\x08\x08",
    ],
)
def test_a_file_that_resembles_onnx_is_not_called_onnx(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(content)
    assert "ONNX" not in str(refused(lambda: read_checkpoint(file)))


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["a/readme.txt", "a/b.pth"], "a zip archive (first entry 'a/readme.txt')."),
        ([], "a zip archive (empty)."),
        (["config.json", "model.weights.h5"], "a Keras model."),
        (["conv.npy", "bias.npy"], "arrays of NumPy (.npz, first 'conv.npy')."),
    ],
)
def test_other_archives_are_named(names: list[str], kind: str, tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    fault = refused(lambda: read_checkpoint(file))
    assert fault.problem == f"{file} is not a torch checkpoint but {kind}"


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_torchscript_is_refused_as_a_program(tmp_path: Path) -> None:
    file = tmp_path / "script.pt"
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), file)
    fault = refused(lambda: read_checkpoint(file))
    assert "contains a program (TorchScript or torch.export)" in fault.problem
    assert "no code was run" in fault.problem


@OLD_TORCH
@pytest.mark.filterwarnings("error")
def test_a_new_pickle_protocol_is_not_reported_as_damage(tmp_path: Path, zipped: bool) -> None:
    file = write({"a": torch.ones(1)}, tmp_path / "p4.pth", zipped=zipped, pickle_protocol=4)
    assert "pickled with protocol 4 or 5" in refused(lambda: read_checkpoint(file)).problem


@pytest.mark.parametrize(
    ("content", "held"),
    [
        ([1, 2], "list"),
        (torch.ones(1), "Tensor"),
        ({}, "a dict of nothing"),
        ({"epoch": 3, "state_dict": {}}, "a dict of 'epoch', 'state_dict'"),
        ({"epoch": 3, 7: {"a": torch.ones(1)}}, "a dict of 'epoch', '<int>'"),
        (ADAM.state_dict(), "an optimizer's state (a dict of 'state', 'param_groups')"),
        (
            {"epoch": 3, "optimizer": ADAM.state_dict()},
            "a dict of 'epoch', 'optimizer', with an optimizer's state in 'optimizer'",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_without_a_state_dict_is_reported(
    content: object, held: str, tmp_path: Path
) -> None:
    file = write(content, tmp_path / "c.pth")
    fault = refused(lambda: read_checkpoint(file))
    assert fault.problem == f"{file} does not hold a state dict but {held}."


@pytest.mark.parametrize("place", ["missing.pth", "."])
def test_a_path_that_is_not_a_file(tmp_path: Path, place: str) -> None:
    assert "cannot be read" in refused(lambda: read_checkpoint(tmp_path / place)).problem


def test_a_program_of_torch_export_is_named(tmp_path: Path) -> None:
    file = tmp_path / "net.pt2"
    file.write_bytes(b"PK\x03\x04" + bytes(600))
    with pytest.raises(CheckpointError, match=r"a program of torch\.export") as caught:
        read_checkpoint(file)
    assert "exported .onnx or .xml" in caught.value.hint
