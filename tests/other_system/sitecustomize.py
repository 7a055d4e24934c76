"""Make a process behave as on Windows where dseg could depend on it; found by PYTHONPATH.

Processes are spawned, a file that is open or mapped cannot be renamed, replaced or removed, and
what only Unix has is missing. It reads /proc, so it needs Linux.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import CodeType
from typing import Any

UNIX_ONLY = {
    os: ("sched_getaffinity", "getloadavg", "killpg", "mkfifo", "O_NOFOLLOW"),
    signal: ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "alarm"),
}
SWAPS = {"sys.platform": "'win32'", "os.name": "'nt'", "/dev/shm": "/none", '"/proc/': '"/none/'}
GROUP, getpgid = os.getpgrp(), os.getpgid


def is_held(path: str) -> bool:
    """Return True if a process of this group has the file open or mapped."""
    real = os.path.realpath(path)
    for process in Path("/proc").iterdir():
        with suppress(OSError):  # it has ended
            if process.name.isdigit() and getpgid(int(process.name)) == GROUP:
                if any(os.path.realpath(link) == real for link in (process / "fd").iterdir()):
                    return True
                if real in (process / "maps").read_text(encoding="utf-8"):
                    return True
    return False


def refusing(change: Callable[..., None]) -> Callable[..., None]:
    def wrapped(*paths: Any, **options: Any) -> None:
        for path in paths:
            if isinstance(path, str | Path) and is_held(str(path)):
                raise PermissionError(13, "it is used by another process", str(path))
        change(*paths, **options)

    return wrapped


class Loader(importlib.machinery.SourceFileLoader):
    """Loads a module of dseg with another system in its source."""

    def get_code(self, name: str) -> CodeType:
        source = self.get_data(self.path).decode()
        for ours, theirs in SWAPS.items():
            source = source.replace(ours, theirs)
        return compile(source, self.path, "exec")


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name.partition(".")[0] != "dseg":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec


for change in ("replace", "rename", "unlink", "remove"):
    setattr(os, change, refusing(getattr(os, change)))
for module, names in UNIX_ONLY.items():
    for missing in names:
        delattr(module, missing)
multiprocessing.set_start_method("spawn", force=True)
sys.meta_path.insert(0, Finder())
