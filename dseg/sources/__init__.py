"""Sources that are not yet files on the disk: archives, addresses, lists, standard input."""

from __future__ import annotations

from dseg.sources.lists import is_list
from dseg.sources.workspace import Workspace

__all__ = ["Workspace", "is_list"]
