"""Read parameters pickled by Paddle or NumPy, as tensors with torch's keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dseg.checkpoints.file_format import ASK, PICKLE, broken, carries_code, refused, too_large
from dseg.checkpoints.limits import LimitError
from dseg.checkpoints.pickles import KEYS, Array, ArrayUnpickler, CodeError, ContentError
from dseg.errors import CheckpointError, Detail

TABLE = "StructuredToParameterName@@"  # key that paddle.save adds to a layer's state dict
RENAMED = {"_mean": "running_mean", "_variance": "running_var", "_weight": "weight"}
DEPTH = 8  # of nested containers


def read_pickle(path: Path) -> tuple[object, str, tuple[str, ...]]:
    """Read a file of Paddle's ``save`` or ``pickle.dump`` that holds numeric arrays only.

    Returns:
        Dicts with tensors, the kind of file, and notes; Paddle's keys and matrices are converted
        to torch's.

    Raises:
        CheckpointError: damaged, or it holds anything but numbers, text and their containers.
    """
    try:
        content = path.read_bytes()
        tensors = _Tensors()
        read = tensors.convert(ArrayUnpickler(content).load())
        return (read, *tensors.finish())
    except CodeError as fault:
        raise carries_code(path, str(fault)) from fault
    except ContentError as fault:
        raise CheckpointError(
            f"{path} holds {fault}; it was rejected and no code was run.", hint=ASK
        ) from fault
    except LimitError as fault:
        raise refused(path, fault) from fault
    except MemoryError as fault:
        raise too_large(path) from fault
    except (EOFError, IndexError) as fault:
        raise broken(path, "it ends too early") from fault
    except Exception as fault:  # the base class raises many kinds on damaged pickles
        raise broken(path, "its pickle is damaged or cut short") from fault


class _Tensors:
    """Converts the arrays that ``ArrayUnpickler`` found to tensors."""

    def __init__(self) -> None:
        self.known: dict[int, Any] = {}
        self.paddle = False

    def convert(self, value: object, depth: int = 0) -> Any:
        """Convert arrays in nested dicts to tensors; empty other containers, and drop the rest."""
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], Array):
            self.paddle |= isinstance(value[0], str)  # (name, array)
            value = value[1]
        if isinstance(value, KEYS):
            return value
        if id(value) not in self.known:
            self.known[id(value)] = type(value)() if type(value) in (list, tuple) else None
            if isinstance(value, Array):
                array = value.numpy()
                made = array.item() if value.scalar else torch.from_numpy(array)
                self.known[id(value)] = made
            elif isinstance(value, dict) and depth < DEPTH:
                self.known[id(value)] = made = {}
                for key, inner in value.items():
                    made[key] = self.convert(inner, depth + 1)
                    last = key.rpartition(".")[2] if isinstance(key, str) else ""
                    self.paddle |= last in (TABLE, "_mean", "_variance")
        return self.known[id(value)]

    def finish(self) -> tuple[str, tuple[str, ...]]:
        """Convert Paddle's keys and matrices to torch's; return the kind of file and notes."""
        if not self.paddle:
            return PICKLE, ()
        transposed = 0
        for made in self.known.values():
            if not isinstance(made, dict):
                continue
            entries = {_rename(key): value for key, value in made.items() if key != TABLE}
            for key, value in entries.items():
                last = key.rpartition(".")[2] if isinstance(key, str) else ""
                if last == "weight" and isinstance(value, Tensor) and value.ndim == 2:
                    entries[key] = value.t().contiguous()  # Paddle's Linear is (inputs, outputs)
                    transposed += 1
            made.clear()
            made.update(entries)
        note = "The file is Paddle's: _mean and _variance are read as running_mean and running_var"
        if transposed:
            note += f"; matrices of linear layers are transposed ({transposed})"
        return "paddle pickle", (Detail(f"{note}."),)


def _rename(key: Any) -> Any:
    """Return torch's key for a layer's parameter."""
    if not isinstance(key, str):
        return key
    layer, dot, last = key.rpartition(".")
    return layer + dot + RENAMED.get(last, last)
