"""The argument ``data``: a folder, or the name of a data set with its folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dseg.datasets import find_dataset_name
from dseg.errors import DsegError

OWN = "folder"  # data set of a folder that is named alone
Data = str | Path | tuple[str, str | Path] | Sequence[tuple[str, str | Path]]
HINT = 'give a folder of own data, or a name and a folder: data=("camvid", "CamVid").'


def find_data(data: Any) -> list[tuple[str, str]]:
    """Return the name and the folder of each data set.

    Args:
        data: folder of own images and masks with a class file; a pair (name, folder) of a data
            set; or several such pairs.

    Raises:
        DsegError: it is something else, or a data set is unknown.
    """
    if isinstance(data, str | os.PathLike):
        if isinstance(data, str) and not Path(data).is_dir() and _is_name(data):
            raise DsegError(f"The folder of the data set {data} is missing.", hint=HINT)
        return [(OWN, os.fspath(data))]
    pairs = list(data) if isinstance(data, list | tuple) else []
    if len(pairs) == 2 and all(isinstance(part, str | os.PathLike) for part in pairs):
        pairs = [tuple(pairs)]
    if not pairs or not all(_is_pair(pair) for pair in pairs):
        raise DsegError(f"data cannot be {data!r}.", hint=HINT)
    return [(find_dataset_name(name), os.fspath(folder)) for name, folder in pairs]


def _is_name(text: str) -> bool:
    try:
        find_dataset_name(text)
    except DsegError:
        return False
    return True


def _is_pair(pair: Any) -> bool:
    return (
        isinstance(pair, list | tuple)
        and len(pair) == 2
        and isinstance(pair[0], str)
        and isinstance(pair[1], str | os.PathLike)
    )
