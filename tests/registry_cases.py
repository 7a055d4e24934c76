"""Test parameters from the registry of networks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from dseg.models import find_class


def one_fast_of_each_class(names: Iterable[str]) -> list[Any]:
    """Return a parameter for each network, all but the first of each class marked slow."""
    found, seen = [], set()
    for name in names:
        kind = find_class(name)
        found.append(pytest.param(name, marks=pytest.mark.slow if kind in seen else ()))
        seen.add(kind)
    return found
