"""Pickles of arrays, as Paddle and NumPy write them; hostile ones are refused and run nothing."""

from __future__ import annotations

import ast
import os
import pickle
import struct
import tracemalloc
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_files import NAME, Evil, refused, write_old
from numpy.typing import NDArray
from torch import Tensor

import dseg
from dseg.checkpoints import load_weights, read_checkpoint
from dseg.checkpoints.paddle import read_pickle
from dseg.checkpoints.pickles import INSTRUCTIONS
from dseg.models import build_model

PROTOCOLS = pytest.mark.parametrize("protocol", [2, 3, 4, 5])
KINDS = ["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"]
AUTHORS = {"running_mean": "_mean", "running_var": "_variance"}
# An array as protocol 2 writes it, around its shape, dtype and bytes.
ARRAY = (
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01bt"
    b"R(K\x01%scnumpy\ndtype\n(%s\x89\x88tR(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff"
    b"\xff\xffK\x00tb\x89%stb"
)
F4 = b"X\x02\x00\x00\x00f4"


class Parameter:
    """A parameter as pickled by paddle.save: a tuple of its name and its array."""

    def __init__(self, name: str, array: NDArray[Any]) -> None:
        self.pair = (name, array)

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, (self.pair,)


def save(content: object, path: Path, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def head(content: bytes) -> bytes:
    """Return a pickle of protocol 2 of one dict entry, whose value is given as instructions."""
    return b"\x80\x02}X\x01\x00\x00\x00a" + content + b"s."


def array(shape: bytes, dtype: bytes, raw: bytes) -> bytes:
    return ARRAY % (shape, dtype, raw)


def binbytes(raw: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(raw)) + raw


@PROTOCOLS
def test_a_network_saved_by_paddle_loads(
    state: dict[str, Tensor], tmp_path: Path, protocol: int
) -> None:
    theirs = {}
    for index, (key, value) in enumerate(state.items()):
        layer, _, last = key.rpartition(".")
        if last != "num_batches_tracked":
            theirs[f"{layer}.{AUTHORS.get(last, last)}"] = Parameter(f"p_{index}", value.numpy())
    file = save({"epoch": 7, "model": OrderedDict(theirs)}, tmp_path / "n.params", protocol)
    checkpoint = read_checkpoint(file)
    assert checkpoint.kind == "paddle pickle"
    assert (checkpoint.container, checkpoint.extras) == ("model", ("epoch",))
    assert checkpoint.notes == (
        "The file is Paddle's: _mean and _variance are read as running_mean and running_var.",
    )
    model = build_model(NAME)
    assert load_weights(model, checkpoint).complete
    for key, value in model.state_dict().items():
        assert key.endswith("num_batches_tracked") or torch.equal(value, state[key])


@PROTOCOLS
def test_paddles_state_dict_of_plain_arrays_loads(tmp_path: Path, protocol: int) -> None:
    content = {
        "conv.weight": np.arange(8, dtype="f4").reshape(1, 2, 2, 2),
        "bn._mean": np.float32([1, 2]),
        "act._weight": np.float32([0.25]),
        "fc.weight": np.float32([[1, 2, 3], [4, 5, 6]]),
        "fc.bias": np.float32([7, 8, 9]),
        "StructuredToParameterName@@": {"conv.weight": "conv2d_0.w_0"},
    }
    checkpoint = read_checkpoint(save(content, tmp_path / "n.pdparams", protocol))
    assert list(checkpoint.state) == [
        "conv.weight", "bn.running_mean", "act.weight", "fc.weight", "fc.bias",
    ]  # fmt: skip
    assert checkpoint.extras == ()
    assert checkpoint.state["fc.weight"].tolist() == [[1, 4], [2, 5], [3, 6]]
    assert checkpoint.state["fc.weight"].is_contiguous()
    assert checkpoint.state["conv.weight"].flatten().tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert checkpoint.notes[0].endswith("; matrices of linear layers are transposed (1).")


@PROTOCOLS
def test_a_pickle_of_arrays_that_is_not_paddles_is_left_as_it_is(
    tmp_path: Path, protocol: int
) -> None:
    content = {"model": {"fc.weight": np.float32([[1, 2]]), "my_weight": np.float32([1])}}
    checkpoint = read_checkpoint(save(content, tmp_path / "n.pkl", protocol))
    assert (checkpoint.kind, checkpoint.notes) == ("numpy pickle", ())
    assert checkpoint.state["fc.weight"].tolist() == [[1, 2]]
    assert "my_weight" in checkpoint.state


@PROTOCOLS
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_number_is_read(kind: str, order: str, protocol: int, tmp_path: Path) -> None:
    values = np.array([[0, 1, 100], [0, 1, 127]]).astype(kind)
    stored = values.astype(order + kind)
    content = {"a": stored, "t": stored.T, "one": stored[0, 1:2], "none": stored[:0]}
    content["cube"] = np.tile(stored, (2, 2, 1)).transpose(1, 0, 2)
    found = read_checkpoint(save(content, tmp_path / "n.pkl", protocol)).state
    for key, value in content.items():
        assert found[key].numpy().dtype == np.dtype(kind), key
        assert found[key].tolist() == value.tolist(), key


def test_values_beside_the_arrays_become_extras(tmp_path: Path) -> None:
    content = {
        "w": np.float32([1]), "epoch": 3, "best": np.float64(0.5), "names": ["a"], "size": (1, 2),
        "raw": b"\x00", "flag": True, "none": None, "big": 1 << 100, "rate": 0.1, 3: "three",
    }  # fmt: skip
    for protocol in (2, 3, 4, 5):
        checkpoint = read_checkpoint(save(content, tmp_path / "n.pkl", protocol))
        assert list(checkpoint.state) == ["w"]
        assert checkpoint.extras == (
            "epoch", "best", "names", "size", "raw", "flag", "none", "big", "rate", "<int>",
        )  # fmt: skip


def test_arrays_that_are_shared_are_read_once(tmp_path: Path) -> None:
    one = np.zeros(1000, dtype="f4")
    found = read_checkpoint(save({"a": one, "b": one}, tmp_path / "n.pkl")).state
    assert found["a"].data_ptr() == found["b"].data_ptr()


def test_python_2_bytes_are_read(tmp_path: Path) -> None:
    raw = np.float32([1, -2]).tobytes()
    file = tmp_path / "n.pkl"
    file.write_bytes(head(array(b"K\x02\x85", b"U\x02f4", b"U\x08" + raw)))
    assert read_checkpoint(file).state["a"].tolist() == [1, -2]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_oldest_files_of_torch_are_still_torchs(tmp_path: Path, protocol: int) -> None:
    file = write_old({"a": torch.ones(2)}, tmp_path / "old.pth", 3, "cpu")
    assert read_checkpoint(file).kind == "torch legacy"
    magic = 0x1950A86A20F9469CFC6C
    file.write_bytes(
        file.read_bytes().replace(pickle.dumps(magic, 2), pickle.dumps(magic, protocol))
    )
    if protocol <= 3:
        assert read_checkpoint(file).state["a"].tolist() == [1, 1]
    else:
        assert "protocol 4 or 5" in refused(lambda: read_checkpoint(file)).problem


# ---- what is refused


CALLS: list[tuple[Callable[..., object], str]] = [
    (os.system, "touch {}"),
    (exec, "open({!r}, 'w').close()"),
    (eval, "open({!r}, 'w').close()"),
]


@pytest.mark.parametrize("place", ["bare", "beside", "key", "in an array"])
@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call[0].__name__)
def test_code_is_refused_and_does_not_run(
    call: tuple[Callable[..., object], str], protocol: int, place: str, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    evil = Evil(call[0], call[1].format(str(marker)))
    content: object = {
        "bare": evil,
        "beside": {"model": {"a": np.ones(1)}, "args": evil},
        "key": {evil: np.ones(1)},
        "in an array": {"a": np.array([evil], dtype=object)},
    }[place]
    file = save(content, tmp_path / "evil.params", protocol)
    fault = refused(lambda: read_pickle(file))  # find_format passes no file of protocol 0 or 1
    assert protocol < 2 or "no code was run" in fault.problem
    assert protocol < 2 or str(refused(lambda: read_checkpoint(file))) == str(fault)
    refused(lambda: read_checkpoint(file))
    assert not marker.exists()
    if protocol >= 2 and place != "in an array":
        assert f"contains code ({call[0].__module__}.{call[0].__name__})" in fault.problem
    evil.call[0](*evil.call[1])
    assert marker.exists()  # the trap works


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"(X\x01\x00\x00\x00aios\nsystem\n.", "os.system"),
        (b"(cos\nsystem\nX\x01\x00\x00\x00ao.", "os.system"),
        (b"(cbuiltins\ntuple\nX\x01\x00\x00\x00ao.", "builtins.tuple"),
        (b"cos\nsystem\nX\x01\x00\x00\x00a\x85\x81.", "os.system"),
        (b"\x8c\x02os\x8c\x06system\x93\x8c\x01a\x85R.", "os.system"),
        (b"\x8c\x08builtins\x8c\x07getattr\x93.", "builtins.getattr"),
        (b"\x8c\x08builtins\x8c\x0ftuple.__class__\x93.", "builtins.tuple.__class__"),
        (b"\x8c\x05numpy\x8c\x0dndarray.dumps\x93.", "numpy.ndarray.dumps"),
        (b"cnumpy\nload\n.", "numpy.load"),
        (b"cnumpy.core.multiarray\nfromfile\n.", "numpy.core.multiarray.fromfile"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n.", "torch._utils._rebuild_tensor_v2"),
        (b"ccopy_reg\n_reconstructor\n.", "copy_reg._reconstructor"),
        (b"cdseg.checkpoints.pickles\nArray\n.", "dseg.checkpoints.pickles.Array"),
        (b"cbuiltins\ntuple\n)\x81.", "builtins.tuple"),
        (b"cbuiltins\ntuple\n](K\x01e\x85R.", "builtins.tuple"),  # a copy of a list
        (b"cbuiltins\ntuple\n)}\x92.", "a call"),  # NEWOBJ_EX
        (b"cnumpy\nndarray\nK\x05\x85R.", "numpy.ndarray"),
        (b"ccollections\nOrderedDict\n](]e\x85R.", "collections.OrderedDict"),
        (b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.", "_codecs.encode"),
        (b"X\x02\x00\x00\x00os)R.", "a call"),
        (b"cnumpy\ndtype\n}X\x01\x00\x00\x00kX\x01\x00\x00\x00vsb.", "attributes set on global"),
        (b"}}X\x05\x00\x00\x00itemsK\x05sb.", "attributes set on dict"),
        (b"\x82\x01.", "a call"),
        (b"\x83\x01\x00.", "a call"),
        (b"\x84\x01\x00\x00\x00.", "a call"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_instruction_that_calls_is_refused(
    content: bytes, named: str, tmp_path: Path
) -> None:
    file = tmp_path / "evil.params"
    file.write_bytes(b"\x80\x02" + content)
    fault = refused(lambda: read_checkpoint(file))
    assert fault.problem == (
        f"{file} contains code ({named}), not only tensors; it was rejected and no code was run."
    )


@pytest.mark.parametrize(
    ("content", "held"),
    [
        (
            head(array(b"K\x01\x85", b"X\x02\x00\x00\x00O8", b"]")),
            "an array of 'O8', not of numbers",
        ),
        (head(array(b"K\x01\x85", b"X\x02\x00\x00\x00U1", b"]")), "an array of 'U1'"),
        (head(array(b"K\x01\x85", b"X\x02\x00\x00\x00V4", binbytes(bytes(4)))), "an array of 'V4'"),
        (head(array(b"K\x01\x85", b"X\x02\x00\x00\x00c8", binbytes(bytes(8)))), "an array of 'c8'"),
        (
            head(array(b"K\x01\x85", b"X\x05\x00\x00\x00f4,f4", binbytes(bytes(8)))),
            "an array of 'f4,",
        ),
        (head(array(b"K\x02\x85", F4, binbytes(bytes(4)))), "an array of shape [2] whose bytes"),
        (head(array(b"K\x01\x85", F4, binbytes(bytes(8)))), "an array of shape [1] whose bytes"),
        (head(array(b"J\xff\xff\xff\x7f\x85", F4, binbytes(bytes(4)))), "an array of shape [21"),
        (head(array(b"J\xff\xff\xff\xff\x85", F4, binbytes(b""))), "an impossible shape"),
        (head(array(b"\x88\x85", F4, binbytes(bytes(4)))), "an impossible shape"),
        (head(array(b"](K\x01e", F4, binbytes(bytes(4)))), "an impossible shape"),
        (head(array(b"(" + b"K\x01" * 9 + b"t", F4, binbytes(bytes(4)))), "an impossible shape"),
        (
            head(array(b"\x8a\x06" + b"\x00" * 5 + b"\x01\x85", F4, binbytes(b""))),
            "impossible shape",
        ),
        (head(array(b"K\x01\x85", F4, b"](K\x01e")), "whose bytes are missing"),
        (head(array(b"K\x01\x85", F4, binbytes(bytes(4)))[:-1] + b"q\x00h\x00b"), "attributes"),
        (
            head(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n\x85R"),
            "an array without its values",
        ),
        (head(b"Q"), "a reference to an object outside the file"),
        (head(b"Pname\n"), "a reference to an object outside the file"),
        (b"\x80\x02}" + b")" + b"\x85" * 200_000 + b"K\x01s.", "a dict with keys of type tuple"),
        (b"\x80\x02](X\x01\x00\x00\x00aK\x01u.", "entries of an object other than a dict"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arrays_of_anything_but_numbers_are_refused(
    content: bytes, held: str, tmp_path: Path
) -> None:
    file = tmp_path / "evil.params"
    file.write_bytes(content)
    fault = refused(lambda: read_checkpoint(file))
    assert held in fault.problem
    assert "no code was run" in fault.problem


def test_an_array_is_filled_once(tmp_path: Path) -> None:
    whole = array(b"K\x01\x85", F4, binbytes(bytes(4)))
    state = whole[whole.index(b"(K\x01K") : -1]  # the description that BUILD takes
    file = tmp_path / "evil.params"
    file.write_bytes(head(whole + state + b"b"))
    assert "filled twice" in refused(lambda: read_checkpoint(file)).problem


def test_a_dtype_of_records_is_refused(tmp_path: Path) -> None:
    content = head(array(b"K\x01\x85", F4, binbytes(bytes(4))))
    file = tmp_path / "evil.params"
    file.write_bytes(content.replace(b"<NNN", b"<N]}"))
    assert "an array of records" in refused(lambda: read_checkpoint(file)).problem


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x.",  # BINBYTES8
        b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"x.",  # BINUNICODE8
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"x.",  # BYTEARRAY8
        b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.",  # FRAME
        b"\x80\x02\x8b" + struct.pack("<i", (1 << 31) - 1) + b"x.",  # LONG4
        b"\x80\x02\x8b" + struct.pack("<i", -1) + b"x.",
        b"\x80\x02B" + struct.pack("<I", 0xFFFFFFFF) + b"x.",
        b"\x80\x02Nr\xff\xff\xff\xff.",  # LONG_BINPUT
        b"\x80\x02(" * 100_000,
        b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",  # lists within each other
        b"\x80\x02" + b")" + b"\x85" * 100_000 + b".",
        b"\x80\x05\x97.",  # NEXT_BUFFER
        b"\x80\x02\x8f.",  # EMPTY_SET
        b"\x80\x04\x93.",
        b"\x80\x02N\x98.",
        b"\x80\x02a.",
        b"\x80\x02.",
        b"\x80\x09N.",
    ],
    ids=lambda content: content[2:12].hex(),
)
def test_damaged_and_oversized_pickles_are_refused_in_little_memory(
    content: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "evil.params"
    file.write_bytes(content)
    tracemalloc.start()
    try:
        refused(lambda: read_checkpoint(file))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000 + 300 * len(content)


def test_bytes_that_many_arrays_share_do_not_multiply(tmp_path: Path) -> None:
    raw = bytes(400_000)
    first = b"B" + struct.pack("<I", len(raw)) + raw + b"q\x00"
    whole = [array(b"J\xa0\x86\x01\x00\x85", F4, first)]
    whole += [array(b"J\xa0\x86\x01\x00\x85", F4, b"h\x00") for _ in range(500)]
    entries = b"".join(b"U\x02%02x" % (n % 256) + value for n, value in enumerate(whole))
    file = tmp_path / "bomb.params"
    file.write_bytes(b"\x80\x02}(" + entries + b"u.")
    fault = refused(lambda: read_checkpoint(file))
    assert "arrays with more bytes than the file" in fault.problem


def test_pairs_that_multiply_when_they_are_printed_do_no_harm(tmp_path: Path) -> None:
    doubled = b"Nq\x00" + b"h\x00\x86q\x00" * 40  # each pair holds the last one twice
    file = tmp_path / "bomb.params"
    file.write_bytes(b"\x80\x02cnumpy\ndtype\n" + doubled + b"\x85R.")
    assert "an array of tuple, not of numbers" in refused(lambda: read_checkpoint(file)).problem
    file.write_bytes(b"\x80\x02}U\x01a" + doubled + b"s.")
    assert (
        "not hold a state dict but a dict of 'a'" in refused(lambda: read_checkpoint(file)).problem
    )


def test_text_that_is_encoded_many_times_does_not_multiply(tmp_path: Path) -> None:
    text = b"X" + struct.pack("<I", 1_000_000) + b"a" * 1_000_000 + b"q\x00"
    again = b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R"
    file = tmp_path / "bomb.params"
    file.write_bytes(b"\x80\x02](" + text + again * 500 + b"e.")
    tracemalloc.start()
    try:
        assert "not hold a state dict but list" in refused(lambda: read_checkpoint(file)).problem
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@PROTOCOLS
def test_a_file_cut_short_is_refused(protocol: int, tmp_path: Path) -> None:
    content = pickle.dumps({"a": np.ones(40), "b": {"c": np.zeros((2, 2))}}, protocol=protocol)
    file = tmp_path / "part.params"
    for size in range(1, len(content)):
        file.write_bytes(content[:size])
        assert "is not a complete checkpoint: " in refused(lambda: read_checkpoint(file)).problem


@PROTOCOLS
def test_a_damaged_file_never_ends_in_a_trace(protocol: int, tmp_path: Path) -> None:
    content = pickle.dumps({"a": np.ones(3), "b": Parameter("p", np.ones(1))}, protocol=protocol)
    file = tmp_path / "damaged.params"
    for place in range(2, len(content)):
        for byte in (0x00, 0x28, 0x2E, 0x52, 0x62, 0x80, 0xFF):
            file.write_bytes(content[:place] + bytes([byte]) + content[place + 1 :])
            try:
                read_checkpoint(file)
            except dseg.errors.CheckpointError:
                continue


def test_instructions_of_the_pickle_module_that_call_are_not_followed() -> None:
    risky = {"REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}
    risky |= {"PERSID", "BINPERSID", "BYTEARRAY8", "SETITEM", "SETITEMS", "ADDITEMS", "FROZENSET"}
    assert not risky & set(INSTRUCTIONS)


def test_only_the_bounded_reader_derives_from_the_pickle_module() -> None:
    derived = []
    for source in sorted(Path(dseg.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(source.read_text())):
            named = node.attr if isinstance(node, ast.Attribute) else ""
            if isinstance(node, ast.ImportFrom) and node.module == "pickle":
                derived.append((source.name, "import"))
            if named in ("_Unpickler", "Unpickler") and ast.unparse(node).startswith("pickle."):
                derived.append((source.name, named))
    assert set(derived) == {
        ("bounded_unpickler.py", "_Unpickler"),
        ("pickles.py", "_Unpickler"),
        ("dry_run.py", "_Unpickler"),
    }
