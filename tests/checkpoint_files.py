"""Write checkpoint files of all torch versions, and files with code in them, for the tests."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dseg.errors import CheckpointError
from dseg.models import SegModel, build_model

NAME = "mobilenetdenseaspp"
OLD_TORCH = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


@cache
def _network() -> SegModel:
    torch.manual_seed(0)
    model = build_model(NAME).eval()
    for key, value in model.state_dict().items():
        if key.endswith("running_mean"):
            value.normal_()
    return model


def make_state() -> dict[str, Tensor]:
    """Return the state dict of a network with random weights."""
    return dict(_network().state_dict())


def write(content: object, path: Path, *, zipped: bool = True, **kwargs: Any) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped, **kwargs)
    return path


def same(model: SegModel, state: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def refused(action: Callable[[], object]) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        action()
    assert caught.value.exit_code == 3
    assert caught.value.hint
    assert "weights_only" not in str(caught.value)
    assert "\n" not in caught.value.problem
    return caught.value


class OldPickler:
    """Write pickles as torch 0.3.1 did, instruction by instruction (pickle protocol 2).

    Args:
        python: 2 or 3; Python 2 writes text as byte strings, an OrderedDict as a list of pairs.
    """

    def __init__(self, python: int) -> None:
        self.python = python
        self.out = bytearray(b"\x80\x02")

    def text(self, value: str) -> None:
        raw = value.encode()
        if self.python == 2:
            self.out += b"U" + bytes([len(raw)]) + raw  # SHORT_BINSTRING
        else:
            self.out += b"X" + struct.pack("<I", len(raw)) + raw  # BINUNICODE

    def number(self, value: int) -> None:
        if self.python == 2:
            size = (value.bit_length() + 8) // 8 if value else 0
            self.out += b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)
        else:
            self.out += b"J" + struct.pack("<i", value)

    def numbers(self, values: tuple[int, ...]) -> None:
        self.out += b"("
        for value in values:
            self.number(value)
        self.out += b"t"

    def tensor(self, index: int, value: Tensor, location: str) -> None:
        self.out += b"ctorch._utils\n_rebuild_tensor\n(("
        self.text("storage")
        self.out += (
            b"ctorch\nFloatStorage\n" if location == "cpu" else b"ctorch.cuda\nFloatStorage\n"
        )
        self.text(str(94_000_000 + index))
        self.text(location)
        self.number(value.numel())
        self.out += b"NtQ"  # no view; BINPERSID
        self.number(0)
        self.numbers(tuple(value.shape))
        self.numbers(tuple(value.stride()))
        self.out += b"tR"

    def state(self, state: dict[str, Tensor], location: str) -> bytes:
        self.out += b"ccollections\nOrderedDict\n"
        if self.python == 2:
            self.out += b"(]("
            for index, (key, value) in enumerate(state.items()):
                self.out += b"]("
                self.text(key)
                self.tensor(index, value, location)
                self.out += b"e"
            self.out += b"etR."
            return bytes(self.out)
        self.out += b")R("
        for index, (key, value) in enumerate(state.items()):
            self.text(key)
            self.tensor(index, value, location)
        self.out += b"u."
        return bytes(self.out)

    def names(self, count: int) -> bytes:
        self.out += b"]("
        for index in range(count):
            self.text(str(94_000_000 + index))
        self.out += b"e."
        return bytes(self.out)


def write_old(state: dict[str, Tensor], path: Path, python: int, location: str) -> Path:
    sizes = {"short": 2, "int": 4, "long": 4 if python == 2 else 8}
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": sizes}
    with path.open("wb") as file:
        for header in (0x1950A86A20F9469CFC6C, 1001, system):
            file.write(pickle.dumps(header, protocol=2))
        file.write(OldPickler(python).state(state, location))
        file.write(OldPickler(python).names(len(state)))
        for value in state.values():
            file.write(struct.pack("<q", value.numel()))
            file.write(value.contiguous().numpy().tobytes())
    return path


def card_of(file: Path) -> dict[str, Any]:
    head = file.read_bytes()
    size = int.from_bytes(head[:8], "little")
    return json.loads(json.loads(head[8 : 8 + size])["__metadata__"]["dseg"])


class Evil:
    """Object that is pickled as a function call, which runs if the file is unpickled."""

    def __init__(self, function: Callable[..., object], argument: str) -> None:
        self.call = (function, (argument,))

    def __reduce__(self) -> tuple[object, ...]:
        return self.call
