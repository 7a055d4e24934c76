"""Harmless classes in checkpoints, and the placeholders that are made instead of them."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from typing import Any

CORES = ("numpy.core", "numpy._core")
SYSTEMS = ("Posix", "PurePosix", "Windows", "PureWindows")
NODES = ("Any", "Boolean", "Bytes", "Float", "Integer", "Path", "String")
LIGHTNING = ("pytorch_lightning", "lightning.pytorch")


class _Skipped:
    """Placeholder for a value saved with the weights, which is skipped and never constructed."""

    def __new__(cls, *args: object, **kwargs: object) -> _Skipped:
        return object.__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Discard the value's content."""


class _Entries:
    """Placeholder for a subclass of dict; only its entries are read."""

    def __new__(cls, *args: object, **kwargs: object) -> Any:
        return OrderedDict()


class _Items:
    """Placeholder for a sequence; only its items are read."""

    def __new__(cls, *args: object, **kwargs: object) -> Any:
        return []


class _History(_Skipped):
    """Placeholder for mmengine's record of a loss, saved with a table of its own methods."""


def _skip_method(owner: object = None, name: object = None) -> _Skipped:
    """Stand for ``getattr`` in a pickle, which nothing but that table may use.

    Raises:
        UnpicklingError: an attribute of anything else.
    """
    if owner is not _History:
        raise pickle.UnpicklingError("GLOBAL getattr")
    return _Skipped()


# Plain data that training scripts save with the weights; none of it is needed.
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
    (_History, "mmengine.logging.history_buffer.HistoryBuffer"),
    (_skip_method, "builtins.getattr"),
]
NAMES = frozenset(name for _, name in HARMLESS)
