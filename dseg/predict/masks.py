"""Binary masks that are asked for by the names of their classes, such as ``mask:car,person``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np

from dseg.errors import DsegError
from dseg.images import Pixels
from dseg.labels import LabelSpace

MASK = "mask:"  # starts a kind of result
JOINED_BY = "+"


def plain_class_name(name: str) -> str:
    """Return a class name in lower case, with ``_`` between words."""
    return "_".join(name.lower().replace("-", " ").replace("_", " ").split())


def find_classes(names: str, space: LabelSpace) -> list[int]:
    """Return the train ids of classes joined by ``+``.

    Raises:
        DsegError: the network has no class of one of these names; the nearest is suggested.
    """
    known = {plain_class_name(name): index for index, name in enumerate(space.names)}
    found = []
    for name in names.split(JOINED_BY):
        plain = plain_class_name(name)
        if plain not in known:
            near = get_close_matches(plain, known, n=1)
            listed = ", ".join(list(known)[:24]) + (", ..." if len(known) > 24 else "")
            suggested = f"did you mean {near[0]}? " if near else ""
            raise DsegError(
                f"The network has no class {name.strip()!r}.",
                hint=f"{suggested}Its classes are {listed}." if near else f"use one of {listed}.",
            )
        found.append(known[plain])
    return found


def make_mask_tables(kinds: Sequence[str], space: LabelSpace) -> dict[str, Pixels]:
    """Return for each kind of mask, by its folder, a table from train ids to 0 and 255.

    Args:
        kinds: kinds of results; those that start with ``mask:`` name classes joined by ``+``.

    Raises:
        DsegError: as ``find_classes``.
    """
    tables = {}
    for kind in kinds:
        if kind.startswith(MASK):
            names = kind.removeprefix(MASK)
            table = np.zeros(256, np.uint8)
            table[find_classes(names, space)] = 255
            tables[folder_of(kind)] = table
    return tables


def folder_of(kind: str) -> str:
    """Return the folder of a kind of result, such as ``mask/traffic_light+car``.

    Characters of class names that are not letters, digits, ``_`` or ``-`` become ``_``.
    """
    if not kind.startswith(MASK):
        return kind
    parts = map(plain_class_name, kind.removeprefix(MASK).split(JOINED_BY))
    safe = [re.sub(r"[^\w-]", "_", part) for part in parts]
    return f"mask/{JOINED_BY.join(safe)}"
