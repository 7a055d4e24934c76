"""Check packages and disk space before a job starts, without importing any package."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = {  # module: package
    "torch": "torch",
    "torchvision": "torchvision",
    "numpy": "numpy",
    "PIL": "pillow",
    "click": "click",
    "rich": "rich",
    "safetensors": "safetensors",
    "filelock": "filelock",
    "cityscapesscripts": "cityscapesscripts",
    "matplotlib": "matplotlib",
}
FOR_TESTS = {"pytest": "pytest", "xdist": "pytest-xdist", "hypothesis": "hypothesis"}


def find_missing(packages: dict[str, str]) -> list[str]:
    """Return the packages that are not installed."""
    return [package for module, package in packages.items() if find_spec(module) is None]


def refuse_missing_packages() -> None:
    """Exit with an error and a hint if a package is missing that every job imports."""
    missing = find_missing(PACKAGES)
    if missing:
        print(f"Error: Packages are missing: {', '.join(missing)}.", file=sys.stderr)
        print(
            f"Hint: pip install {' '.join(missing)}; without a network, unpack their wheels into "
            "a folder and name it in PYTHONPATH.",
            file=sys.stderr,
        )
        raise SystemExit(2)


def free_gb(folder: Path) -> float:
    """Return the free disk space at an existing or future folder, in GB."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(there).free / 1e9
