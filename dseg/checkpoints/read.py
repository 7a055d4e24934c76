"""Reading a checkpoint file of any author: by its content, never running code in it."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dseg.checkpoints.card import read_card
from dseg.checkpoints.format import STATE_DICT, broken, find_format
from dseg.errors import CheckpointError
from dseg.models import ModelCard

WRAPPERS = ("state_dict", "model", "model_state_dict", "net", "network", "weights", "params")
PREFIX = re.compile(r"^(module\.|_orig_mod\.)+")  # DataParallel, torch.compile
NUMPY_MAKERS = ("scalar", "_reconstruct")
SYSTEMS = ("Posix", "PurePosix", "Windows", "PureWindows")


class _Skipped:
    """Stands for a value beside the weights: it is read past, and what it describes never made."""

    def __new__(cls, *args: object, **kwargs: object) -> _Skipped:
        return object.__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Forget the value's content."""


# What training scripts save beside the weights; plain data, of which none is needed.
SKIPPED = (
    "argparse.Namespace",
    "datetime.date",
    "datetime.datetime",
    "datetime.timedelta",
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in NUMPY_MAKERS),
    *(f"{module}.{name}Path" for module in ("pathlib", "pathlib._local") for name in SYSTEMS),
)
HARMLESS: list[Any] = [(_Skipped, name) for name in SKIPPED]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint file as it was read, before any network is known.

    Attributes:
        path: the file.
        state: tensors by the author's key, without ``module.``.
        kind: ``safetensors``, ``torch zip`` or ``torch legacy``.
        container: the entry that held the state dict, empty for a bare one.
        extras: names of what lay beside it, such as ``epoch``.
        card: what our own files say of themselves.
    """

    path: Path
    state: dict[str, Tensor]
    kind: str
    container: str = ""
    extras: tuple[str, ...] = ()
    card: ModelCard | None = None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the tensors of a checkpoint file.

    Raises:
        CheckpointError: missing, truncated, no checkpoint at all, or it carries code, which is
            refused and not run.
    """
    kind = find_format(path)
    if kind == "safetensors":
        state, card = _read_safetensors(path)
        return Checkpoint(path=path, state=state, kind=kind, card=card)
    state, container, extras = _unwrap(path, _read_torch(path))
    return Checkpoint(path=path, state=state, kind=kind, container=container, extras=extras)


def _read_torch(path: Path) -> object:
    """Return what ``torch.save`` was given; strings of Python 2 are read as Latin-1."""
    try:
        with torch.serialization.safe_globals(HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pickle's protocol: what cannot be read is told
            return torch.load(path, map_location="cpu", weights_only=True, encoding="latin1")
    except pickle.UnpicklingError as fault:
        raise _pickle_error(path, str(fault)) from fault
    except (EOFError, IndexError) as fault:
        raise broken(path, "it ends too early") from fault
    except Exception as fault:
        text = str(fault).split("\n")[0]
        if "weights_only" in text:  # torch's advice to run the file's code is not passed on
            text = "it is of a kind that torch reads only by running it"
        raise broken(path, text or type(fault).__name__) from fault


def _pickle_error(path: Path, message: str) -> CheckpointError:
    """Tell a file that carries code or an unknown instruction from one that is merely damaged."""
    found = re.search(r"(?:GLOBAL|class|function) <?(?:class |function )?'?([\w.]+)", message)
    if found is not None:
        return CheckpointError(
            f"{path} carries code ({found[1]}) and not tensors alone; "
            "it was refused and nothing ran.",
            hint=f"ask its author for {STATE_DICT}.",
        )
    if re.search(r"Unsupported operand (140|14[2-9]|15[01])$", message, re.MULTILINE):
        return CheckpointError(
            f"{path} is pickled by protocol 4 or 5, which cannot be read without running code.",
            hint=f"ask its author for {STATE_DICT}, saved with torch.save's own protocol.",
        )
    return broken(path, "its pickle is damaged or cut short")


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], ModelCard | None]:
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as fault:
        raise broken(path, str(fault)) from fault
    card = read_card(path, metadata["dseg"]) if "dseg" in metadata else None
    return {PREFIX.sub("", key): value for key, value in state.items()}, card


def _unwrap(path: Path, content: object) -> tuple[dict[str, Tensor], str, tuple[str, ...]]:
    """Find the state dict within what a training script saved."""
    name, found = "", content
    extras: tuple[str, ...] = ()
    if isinstance(content, Mapping) and not _is_state(content):
        inner = {k: v for k, v in content.items() if isinstance(v, Mapping) and _is_state(v)}
        chosen = [key for key in WRAPPERS if key in inner] or list(inner)
        if chosen:
            name, found = str(chosen[0]), inner[chosen[0]]
            extras = tuple(str(key) for key in content if key != chosen[0])
    if not isinstance(found, Mapping) or not _is_state(found):
        held = type(content).__name__
        if isinstance(content, Mapping):
            held = f"a dict of {', '.join(map(repr, list(content)[:5])) or 'nothing'}"
        raise CheckpointError(
            f"{path} holds no state dict but {held}.",
            hint=f"a state dict, bare or under one of: {', '.join(WRAPPERS)}.",
        )
    return {PREFIX.sub("", str(k)): v for k, v in found.items()}, name, extras


def _is_state(mapping: Mapping[Any, Any]) -> bool:
    return bool(mapping) and all(isinstance(value, Tensor) for value in mapping.values())
