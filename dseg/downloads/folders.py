"""The user's folders of checkpoints, and the cache."""

from __future__ import annotations

import os
from pathlib import Path

from dseg.registry import MODELS, plain_name

CHECKPOINT_SUFFIXES = (
    ".safetensors",
    ".pth",
    ".pt",
    ".pkl",
    ".tar",
    ".ckpt",
    ".params",
    ".pdparams",
)


def cache_folder() -> Path:
    """Return the cache: ``$DSEG_CACHE``, else ``$XDG_CACHE_HOME/dseg``, else ``~/.cache/dseg``."""
    if named := os.environ.get("DSEG_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dseg"


def own_folders() -> list[Path]:
    """Return the folders to search, in order: ``weights/``, ``$DSEG_WEIGHTS``, the cache."""
    named = os.environ.get("DSEG_WEIGHTS")
    chosen = [Path(named).expanduser()] if named else []
    return [Path("weights"), *chosen, cache_folder()]


def find_own(name: str) -> Path | None:
    """Return the checkpoint of a network, a key of ``MODELS``, in the user's folders, or None."""
    found = (find_in_folder(name, folder) for folder in own_folders())
    return next((file for file in found if file is not None), None)


def find_in_folder(name: str, folder: Path) -> Path | None:
    """Return the checkpoint of a network in one folder.

    It is named after the network, in any case and with ``-`` or ``_``, or like the authors' file.
    """
    published = MODELS[name].weights
    exact = bool(published) and (Path(published).name != published or not _stem(published))
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    for stem in filter(None, (plain_name(name), "" if exact else _stem(published))):
        for file in files:
            if _stem(file.name) == stem and file.is_file():
                return file
    return folder / published if exact and (folder / published).is_file() else None


def _stem(file: str) -> str:
    """Return a checkpoint's plain name without suffixes, "" for another kind of file."""
    path = Path(file.lower())
    while path.suffix in CHECKPOINT_SUFFIXES:  # .pth.tar
        path = path.with_suffix("")
    return plain_name(path.name) if path.name != file.lower() else ""
