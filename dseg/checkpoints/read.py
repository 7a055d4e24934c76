"""Read a checkpoint file of any author by its content, without running code in it."""

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
from dseg.checkpoints.dry_run import dry_run_legacy
from dseg.checkpoints.file_format import (
    PICKLE,
    STATE_DICT,
    broken,
    carries_code,
    find_format,
    refused,
    too_large,
)
from dseg.checkpoints.limits import HEADER, NETWORK, TENSORS, LimitError
from dseg.checkpoints.model_card import read_card
from dseg.checkpoints.paddle import read_pickle
from dseg.checkpoints.placeholders import HARMLESS
from dseg.checkpoints.unwrap import clean_keys, unwrap
from dseg.errors import CheckpointError
from dseg.memory import is_out_of_memory
from dseg.models import ModelCard


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The content of a checkpoint file, before its network is known.

    Attributes:
        path: checkpoint file.
        state: tensors by the author's key, without wrappers such as ``module.``.
        kind: ``safetensors``, ``torch zip``, ``torch legacy``, ``paddle pickle`` or
            ``numpy pickle``.
        container: dotted name of the entry that held the state dict, empty for a bare one.
        extras: names of the other entries, such as ``epoch``.
        card: model card of our own files.
        notes: sentences for the user on what was assumed.
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
        path: checkpoint file.
        raw: use the raw weights of a file that also has EMA weights.

    Raises:
        CheckpointError: the file is missing, truncated, not a checkpoint, or contains code, which
            is refused and not run.
    """
    found = _read(path, find_format(path), raw=raw)
    if len(found.state) > NETWORK:
        reason = f"a network of {len(found.state):,} tensors; the limit is {NETWORK:,}"
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
    """Return the object that was saved; strings of Python 2 are decoded as Latin-1."""
    whole = check_archive(path) if zipped else _dry_run(path)
    try:
        with torch.serialization.safe_globals(HARMLESS), warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # about the pickle's protocol; failures are reported below
            content = torch.load(path, map_location="cpu", weights_only=True, encoding="latin1")
    except pickle.UnpicklingError as fault:
        raise _pickle_error(path, str(fault)) from fault
    except (EOFError, IndexError) as fault:
        raise broken(path, "it ends too early") from fault
    except Exception as fault:
        if is_out_of_memory(fault):
            raise too_large(path) from fault
        text = str(fault).split("\n")[0]
        if "weights_only" in text:  # do not pass on torch's advice to run the file's code
            text = "torch can only read it by running its code"
        raise broken(path, text or type(fault).__name__) from fault
    if not whole:
        raise broken(path, "its pickle is damaged or cut short")
    return content


def _dry_run(path: Path) -> bool:
    try:
        return dry_run_legacy(path)
    except LimitError as fault:
        raise refused(path, fault) from fault
    except MemoryError as fault:
        raise too_large(path) from fault


def _pickle_error(path: Path, message: str) -> CheckpointError:
    """Return the error of a file with code, with an unknown instruction, or that is damaged."""
    found = re.search(r"(?:GLOBAL|class|function) <?(?:class |function )?'?([\w.]+)", message)
    if found is not None:
        return carries_code(path, found[1])
    if re.search(r"Unsupported operand (140|14[2-9]|15[01])$", message, re.MULTILINE):
        return CheckpointError(
            f"{path} is pickled with protocol 4 or 5, which cannot be read without running code.",
            hint=f"ask its author for {STATE_DICT}, saved with torch.save's default protocol.",
        )
    return broken(path, "its pickle is damaged or cut short")


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], ModelCard | None]:
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if HEADER < header <= path.stat().st_size:
        reason = f"its header has {header:,} bytes; the limit is {HEADER:,}"
        raise refused(path, LimitError(reason))
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            keys = file.keys()
            if len(keys) > TENSORS:
                reason = f"it holds {len(keys):,} tensors; the limit is {TENSORS:,}"
                raise refused(path, LimitError(reason))
            state = {key: file.get_tensor(key) for key in keys}
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError, RuntimeError, MemoryError) as fault:
        if is_out_of_memory(fault):
            raise too_large(path) from fault
        raise broken(path, str(fault)) from fault
    card = read_card(path, metadata["dseg"]) if "dseg" in metadata else None
    return state, card
