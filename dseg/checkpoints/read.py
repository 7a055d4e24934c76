"""Reading a checkpoint file of any author: by its content, never running code in it."""

from __future__ import annotations

import pickle
import re
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dseg.checkpoints.card import read_card
from dseg.checkpoints.format import PICKLE, STATE_DICT, broken, carries_code, find_format
from dseg.checkpoints.paddle import read_pickle
from dseg.checkpoints.unwrap import clean_keys, unwrap
from dseg.errors import CheckpointError
from dseg.models import ModelCard

CORES = ("numpy.core", "numpy._core")
SYSTEMS = ("Posix", "PurePosix", "Windows", "PureWindows")
NODES = ("Any", "Boolean", "Bytes", "Float", "Integer", "Path", "String")
LIGHTNING = ("pytorch_lightning", "lightning.pytorch")


class _Skipped:
    """Stands for a value beside the weights: it is read past, and what it describes never made."""

    def __new__(cls, *args: object, **kwargs: object) -> _Skipped:
        return object.__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Forget the value's content."""


class _Entries:
    """Stands for a subclass of dict, of which only the entries are read."""

    def __new__(cls, *args: object, **kwargs: object) -> Any:
        return OrderedDict()


class _Items:
    """Stands for a sequence, of which only the items are read."""

    def __new__(cls, *args: object, **kwargs: object) -> Any:
        return []


# What training scripts save beside the weights; plain data, of which none is needed.
SKIPPED = (
    "argparse.Namespace",
    *(f"builtins.{name}" for name in ("bool", "dict", "float", "frozenset", "int", "list")),
    *(f"builtins.{name}" for name in ("bytes", "range", "slice", "str", "tuple")),
    "datetime.date",
    "datetime.datetime",
    "datetime.timedelta",
    "decimal.Decimal",
    "numpy.dtype",
    "numpy.ndarray",
    *(f"{core}.multiarray.{name}" for core in CORES for name in ("scalar", "_reconstruct")),
    *(f"{module}.{name}Path" for module in ("pathlib", "pathlib._local") for name in SYSTEMS),
    "torch.torch_version.TorchVersion",
    "typing.Any",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    *(f"omegaconf.nodes.{name}Node" for name in NODES),
    *(f"{root}.callbacks.model_checkpoint.ModelCheckpoint" for root in LIGHTNING),
    *(f"{root}.callbacks.early_stopping.EarlyStopping" for root in LIGHTNING),
)
ENTRIES = (
    "addict.addict.Dict",
    "collections.defaultdict",
    "easydict.EasyDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    *(f"{root}.utilities.parsing.AttributeDict" for root in LIGHTNING),
    "mmengine.config.config.ConfigDict",
    "munch.Munch",
    "yacs.config.CfgNode",
)
HARMLESS: list[Any] = [
    *((_Skipped, name) for name in SKIPPED),
    *((_Entries, name) for name in ENTRIES),
    (_Items, "collections.deque"),
]


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
    kind = find_format(path)
    if kind == "safetensors":
        state, card = _read_safetensors(path)
        if card is None:
            state, _ = clean_keys(state)
        return Checkpoint(path=path, state=state, kind=kind, card=card)
    notes: tuple[str, ...] = ()
    if kind == PICKLE:
        content, kind, notes = read_pickle(path)
    else:
        content = _read_torch(path)
    found = unwrap(path, content, raw=raw)
    return Checkpoint(
        path=path,
        state=found.state,
        kind=kind,
        container=found.container,
        extras=found.extras,
        notes=notes + found.notes,
    )


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
        return carries_code(path, found[1])
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
    return state, card
