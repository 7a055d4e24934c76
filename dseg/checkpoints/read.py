"""Reading a checkpoint file of any author: by its content, never running code in it."""

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dseg.checkpoints.card import read_card
from dseg.errors import CheckpointError
from dseg.models import ModelCard

WRAPPERS = ("state_dict", "model", "model_state_dict", "net", "network", "weights", "params")
PREFIX = re.compile(r"^(module\.|_orig_mod\.)+")  # DataParallel, torch.compile
# Values that training scripts save beside the weights; all of them plain data.
_SCALAR = np.float64(0).__reduce__()[0]
HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "?")),
]


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
    head = _read_head(path)
    if head[8:9] == b"{":
        state, card = _read_safetensors(path)
        return Checkpoint(path=path, state=state, kind="safetensors", card=card)
    kind = "torch zip" if head.startswith(b"PK") else "torch legacy"
    try:
        with torch.serialization.safe_globals(HARMLESS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as fault:
        raise _pickle_error(path, str(fault)) from fault
    except Exception as fault:
        raise _broken(path, str(fault).split("\n")[0]) from fault
    state, container, extras = _unwrap(path, content)
    return Checkpoint(path=path, state=state, kind=kind, container=container, extras=extras)


def _read_head(path: Path) -> bytes:
    """Return the first bytes, and explain what is no checkpoint at all."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as fault:
        raise CheckpointError(
            f"{path} cannot be read: {fault.strerror}.", hint="name a checkpoint file."
        ) from fault
    if not head:
        raise _broken(path, "the file is empty")
    if head.lstrip()[:1] == b"<":
        raise _broken(path, "it is a web page, perhaps a download's warning")
    if head.startswith(b"version https://git-lfs"):
        raise _broken(path, "it is a pointer of Git LFS, not the file itself")
    return head


def _broken(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is not a whole checkpoint: {reason.rstrip('.')}.",
        hint="download or copy the file again and compare its size or SHA-256.",
    )


def _pickle_error(path: Path, message: str) -> CheckpointError:
    """Tell a file that carries code from one that is merely damaged."""
    found = re.search(r"(?:GLOBAL|class|global:?|function) ([\w.]+\.[\w.]+)", message)
    if found is None:
        return _broken(path, "its pickle is damaged or truncated")
    return CheckpointError(
        f"{path} carries code ({found[1]}) and not tensors alone; it was refused and nothing ran.",
        hint="ask its author for a state dict (torch.save of model.state_dict()) or safetensors.",
    )


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], ModelCard | None]:
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as fault:
        raise _broken(path, str(fault)) from fault
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
