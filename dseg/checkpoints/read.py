"""Reading a checkpoint file of any author: by its content, never running code in it."""

from __future__ import annotations

import pickle
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dseg.checkpoints.archive import check_archive
from dseg.checkpoints.card import read_card
from dseg.checkpoints.format import (
    PICKLE,
    STATE_DICT,
    broken,
    carries_code,
    find_format,
    refused,
    too_large,
)
from dseg.checkpoints.limits import HEADER, NETWORK, TENSORS, LimitError
from dseg.checkpoints.paddle import read_pickle
from dseg.checkpoints.rehearse import rehearse_legacy
from dseg.checkpoints.stand_ins import HARMLESS
from dseg.checkpoints.unwrap import clean_keys, unwrap
from dseg.errors import CheckpointError
from dseg.memory import is_out_of_memory
from dseg.models import ModelCard


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint file as it was read, before any network is known.

    Attributes:
        path: the file.
        state: tensors by the author's key, without wrappers such as ``module.``.
        kind: ``safetensors``, ``torch zip``, ``torch legacy``, ``paddle pickle`` or
            ``numpy pickle``.
        container: the dotted name of the entry that held the state dict, empty for a bare one.
        extras: names of what lay beside it, such as ``epoch``.
        card: what our own files say of themselves.
        notes: what was assumed while reading, for the user.
    """

    path: Path
    state: dict[str, Tensor]
    kind: str
    container: str = ""
    extras: tuple[str, ...] = ()
    card: ModelCard | None = None
    notes: tuple[str, ...] = ()


def read_checkpoint(path: Path, *, raw: bool = False) -> Checkpoint:
    """Read the tensors of a checkpoint file.

    Args:
        raw: of a file with averaged weights (EMA) and the raw ones, take the raw ones.

    Raises:
        CheckpointError: missing, truncated, no checkpoint at all, or it carries code, which is
            refused and not run.
    """
    found = _read(path, find_format(path), raw=raw)
    if len(found.state) > NETWORK:
        reason = f"a network of {len(found.state):,} tensors, {NETWORK:,} are the most"
        raise refused(path, LimitError(reason))
    return found


def _read(path: Path, kind: str, *, raw: bool) -> Checkpoint:
    if kind == "safetensors":
        state, card = _read_safetensors(path)
        if card is None:
            state, _ = clean_keys(state)
        return Checkpoint(path=path, state=state, kind=kind, card=card)
    notes: tuple[str, ...] = ()
    if kind == PICKLE:
        content, kind, notes = read_pickle(path)
    else:
        content = _read_torch(path, zipped=kind == "torch zip")
    found = unwrap(path, content, raw=raw)
    return Checkpoint(
        path=path,
        state=found.state,
        kind=kind,
        container=found.container,
        extras=found.extras,
        notes=notes + found.notes,
    )


def _read_torch(path: Path, *, zipped: bool) -> object:
    """Return what ``torch.save`` was given; strings of Python 2 are read as Latin-1."""
    whole = check_archive(path) if zipped else _rehearse(path)
    try:
        with torch.serialization.safe_globals(HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pickle's protocol: what cannot be read is told
            content = torch.load(path, map_location="cpu", weights_only=True, encoding="latin1")
    except pickle.UnpicklingError as fault:
        raise _pickle_error(path, str(fault)) from fault
    except (EOFError, IndexError) as fault:
        raise broken(path, "it ends too early") from fault
    except Exception as fault:
        if is_out_of_memory(fault):
            raise too_large(path) from fault
        text = str(fault).split("\n")[0]
        if "weights_only" in text:  # torch's advice to run the file's code is not passed on
            text = "it is of a kind that torch reads only by running it"
        raise broken(path, text or type(fault).__name__) from fault
    if not whole:
        raise broken(path, "its pickle is damaged or cut short")
    return content


def _rehearse(path: Path) -> bool:
    try:
        return rehearse_legacy(path)
    except LimitError as fault:
        raise refused(path, fault) from fault
    except MemoryError as fault:
        raise too_large(path) from fault


def _pickle_error(path: Path, message: str) -> CheckpointError:
    """Tell a file that carries code or an unknown instruction from one that is merely damaged."""
    found = re.search(r"(?:GLOBAL|class|function) <?(?:class |function )?'?([\w.]+)", message)
    if found is not None:
        return carries_code(path, found[1])
    if re.search(r"Unsupported operand (140|14[2-9]|15[01])$", message, re.MULTILINE):
        return CheckpointError(
            f"{path} is pickled by protocol 4 or 5, which cannot be read without running code.",
            hint=f"ask its author for {STATE_DICT}, saved with torch.save's own protocol.",
        )
    return broken(path, "its pickle is damaged or cut short")


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], ModelCard | None]:
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if HEADER < header <= path.stat().st_size:
        reason = f"its header has {header:,} bytes, {HEADER:,} are the most"
        raise refused(path, LimitError(reason))
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            keys = file.keys()
            if len(keys) > TENSORS:
                reason = f"it holds {len(keys):,} tensors, {TENSORS:,} are the most"
                raise refused(path, LimitError(reason))
            state = {key: file.get_tensor(key) for key in keys}
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError, RuntimeError, MemoryError) as fault:
        if is_out_of_memory(fault):
            raise too_large(path) from fault
        raise broken(path, str(fault)) from fault
    card = read_card(path, metadata["dseg"]) if "dseg" in metadata else None
    return state, card
