"""Write checkpoint files that demand much memory or time, or declare data that they lack."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

from dseg.checkpoints.limits import NETWORK, PLAIN_INT, RARE_KEYS, TENSORS

HUGE = 1 << 40


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    size = (value.bit_length() + 8) // 8
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def call(name: str, *arguments: bytes) -> bytes:
    module, _, function = name.rpartition(".")
    return f"c{module}\n{function}\n(".encode() + b"".join(arguments) + b"tR"


def storage(numbers: int, key: bytes, view: bytes = b"") -> bytes:
    head = text("storage") + b"ctorch\nFloatStorage\n" + key + text("cpu")
    return b"(" + head + number(numbers) + view + b"tQ"


def tensor(
    numbers: int = 4,
    size: int = 4,
    *,
    stride: int = 1,
    key: bytes = text("0"),
    view: bytes = b"",
    function: str = "torch._utils._rebuild_tensor_v2",
    more: bytes = b"",
) -> bytes:
    parts = storage(numbers, key, view), number(0), b"(" + number(size) + b"t"
    hooks = call("collections.OrderedDict")
    return call(function, *parts, b"(" + number(stride) + b"t", more or b"\x89" + hooks)


def content(*entries: bytes) -> bytes:
    """Return the pickle of a dict; each entry is its key and its value."""
    return b"\x80\x02}(" + b"".join(entries) + b"u."


def archive(file: Path, body: bytes, *, data: bytes = bytes(16), method: int = 0) -> None:
    with zipfile.ZipFile(file, "w", method) as made:
        made.writestr("archive/data.pkl", body)
        made.writestr("archive/data/0", data)
        made.writestr("archive/version", "3\n")


def legacy(file: Path, body: bytes, names: bytes = b"\x80\x02](X\1\0\0\x000e.") -> None:
    heads = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True, "protocol_version": 1001})
    parts = b"".join(pickle.dumps(head, protocol=2) for head in heads)
    file.write_bytes(parts + body + names + struct.pack("<q", 4) + bytes(16))


def patched(file: Path, field: int, value: int, fmt: str = "<I") -> None:
    """Write an archive, then change a field of the directory entry of its storage."""
    archive(file, content(text("a"), tensor()))
    raw = bytearray(file.read_bytes())
    place = raw.rindex(b"archive/data/0") - 46
    raw[place + field : place + field + struct.calcsize(fmt)] = struct.pack(fmt, value)
    file.write_bytes(raw)


def many_names(file: Path, count: int, body: bytes) -> None:
    """Write one storage under names that differ only in case."""
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("archive/data.pkl", body)
        for index in range(count):
            made.writestr("archive/data/" + ("aA"[index] if index < 2 else str(index)), b"")


def safetensors(file: Path, header: dict[str, object], size: int = 16, pad: int = 0) -> None:
    text = json.dumps(header).encode() + b" " * pad
    file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(size))


def entry(shape: list[int], end: int) -> dict[str, object]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}


A = text("a")
COLLIDING = b"".join(number(i * PLAIN_INT) + b"N" for i in range(1, RARE_KEYS + 2))
TUPLES = b"".join(number(i) + b"\x85N" for i in range(RARE_KEYS + 1))
PAIRS = b"](" + b"".join(b"](" + number(i * PLAIN_INT) + b"Ne" for i in range(1, RARE_KEYS + 2))
NESTED = b"K\x01" + b"".join(b"q\1h\1h\1\x86" for _ in range(40))
DEEP = b"K\x01" + b"\x85" * 100_000
MANY = b"".join(text(f"k{i}") + tensor() for i in range(TENSORS + 1))
COPIES = text("x" * 300_000) + b"q\2(" + call("_codecs.encode", b"h\2", text("latin1")) * 1_000
DECLARED = "not a complete checkpoint: its tensors are declared larger than the whole file"
RARE = "was refused: more than 2,000 keys are neither text nor small integers"
REPEATED = "was refused: its tensors repeat their values more than 134,217,728 times"
MADE = "was refused: its calls allocate more than 256 MiB beside the tensors"

PICKLES: dict[str, tuple[bytes, str]] = {
    "declared storage": (content(A, tensor(HUGE)), DECLARED),
    "stride 0": (content(A, tensor(4, HUGE, stride=0)), REPEATED),
    "stride 0, many": (content(*[A, tensor(4, 100_000_000, stride=0)] * 2), REPEATED),
    "stride 0, sparse": (
        content(A, call("torch._utils._rebuild_sparse_tensor", b"N(", tensor(4, HUGE), b"t")),
        REPEATED,
    ),
    "quantised": (
        content(A, tensor(4, HUGE, function="torch._utils._rebuild_qtensor", more=b")\x89N")),
        REPEATED,
    ),
    "indirect": (
        content(
            A,
            b"ctorch._tensor\n_rebuild_from_type_v2\n(cbuiltins\nbytearray\nN("
            + number(HUGE)
            + b"tNtR",
        ),
        MADE,
    ),
    "indirect twice": (
        content(
            A,
            b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._tensor\n_rebuild_from_type_v2\nN("
            + b"cbuiltins\nbytearray\nN("
            + number(HUGE)
            + b"tNtNtR",
        ),
        "was refused: it contains an unsupported call",
    ),
    "stride 0 by torch.Size": (
        content(
            A,
            call(
                "torch._utils._rebuild_tensor_v2",
                storage(4, text("0")),
                number(0),
                call("torch.Size", b"(" + number(HUGE) + b"t"),
                b"(" + number(0) + b"t",
                b"\x89" + call("collections.OrderedDict"),
            ),
        ),
        REPEATED,
    ),
    "bytes": (content(A, call("builtins.bytearray", number(HUGE))), MADE),
    "tensor of a size": (content(A, call("torch.FloatTensor", number(HUGE))), MADE),
    "tensor of a list": (
        content(A, call("torch.FloatTensor", b"]")),
        "was refused: it calls torch.FloatTensor with a list of values",
    ),
    "copies of text": (content(A, COPIES + b"t"), MADE),
    "slow encoding": (
        content(A, call("_codecs.encode", A, text("punycode"))),
        "was refused: it contains text in an unsupported encoding",
    ),
    "arguments in a list": (
        content(A, b"cbuiltins\nbytearray\n](" + number(HUGE) + b"eR"),
        "was refused: it contains an unsupported call",
    ),
    "colliding keys": (content(A, b"}(" + COLLIDING + b"u"), RARE),
    "colliding pairs": (content(A, call("collections.OrderedDict", PAIRS + b"e")), RARE),
    "colliding set": (content(A, call("builtins.set", b"](" + COLLIDING + b"e")), RARE),
    "tuples as keys": (content(A, b"}(" + TUPLES + b"u"), RARE),
    "a key of many parts": (
        content(NESTED, b"N"),
        "was refused: a key is a tuple of more than 64 elements",
    ),
    "a key of great depth": (
        content(DEEP, b"N"),
        "was refused: a key is a tuple of more than 64 elements",
    ),
    "many tensors": (content(MANY), "was refused: it holds more than 30,000 tensors"),
    "many instructions": (
        b"\x80\x02" + b"N" * 4_000_000 + b".",
        "was refused: its pickle has more than 2,000,000 instructions",
    ),
    "deep lists": (
        b"\x80\x02" + b"(" * 1_000_000 + b"N" + b"t" * 1_000_000 + b".",
        "was refused: it has more than 1,000 nested containers",
    ),
}

FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "compressed": (
        lambda file: archive(file, content(A, tensor()), method=zipfile.ZIP_DEFLATED),
        "was refused: its entry 'archive/data.pkl' is compressed, which torch.save never does",
    ),
    "declared longer": (
        lambda file: patched(file, 20, 1 << 30),
        "was refused: its entry 'archive/data/0' is compressed, which torch.save never does",
    ),
    "overlapping": (
        lambda file: patched(file, 42, 0),
        "not a complete checkpoint: its entry 'archive/data.pkl' is declared larger than its space",
    ),
    "two of one name": (
        lambda file: many_names(file, 2, content(A, tensor(0, 0))),
        "was refused: two of its entries have the same name",
    ),
    "many entries": (
        lambda file: many_names(file, TENSORS + 1_001, content()),
        "was refused: it has 31,002 entries",
    ),
    "a missing entry": (
        lambda file: archive(file, content(A, tensor(key=text("7")))),
        "not a complete checkpoint: the values of a tensor are missing in the archive",
    ),
    "view of a colliding storage": (
        lambda file: legacy(
            file,
            content(
                *(
                    text(str(i)) + tensor(0, 0, key=number(i * PLAIN_INT), view=b"N")
                    for i in range(1, RARE_KEYS + 2)
                )
            ),
        ),
        RARE,
    ),
    "safetensors: header": (
        lambda file: safetensors(file, {"a": entry([4], 16)}, pad=20_000_000),
        "was refused: its header has 20,000,062 bytes; the limit is 16,777,216",
    ),
    "safetensors: many": (
        lambda file: safetensors(file, {str(i): entry([0], 0) for i in range(TENSORS + 1)}, 0),
        "was refused: it holds 30,001 tensors; the limit is 30,000",
    ),
    "safetensors: one large network": (
        lambda file: safetensors(file, {str(i): entry([0], 0) for i in range(NETWORK + 1)}, 0),
        "was refused: a network of 10,001 tensors; the limit is 10,000",
    ),
    "safetensors: shape": (
        lambda file: safetensors(file, {"a": entry([HUGE], 16)}),
        "not a complete checkpoint: ",
    ),
    "paddle: colliding keys": (
        lambda file: file.write_bytes(
            pickle.dumps({i * PLAIN_INT: 0 for i in range(1, 3_000)}, protocol=4)
        ),
        RARE,
    ),
    "paddle: many instructions": (
        lambda file: file.write_bytes(b"\x80\x04](" + b"K\1" * 2_100_000 + b"e."),
        "was refused: its pickle has more than 2,000,000 instructions",
    ),
    "paddle: one large frame": (
        lambda file: file.write_bytes(
            b"\x80\x04\x95" + struct.pack("<Q", 4_200_003) + b"](" + b"K\1" * 2_100_000 + b"e."
        ),
        "was refused: its pickle has more than 2,000,000 instructions",
    ),
}
