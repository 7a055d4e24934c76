"""The user's folders of checkpoints, and the cache."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from dseg.errors import DsegError
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
    """Return the cache: ``$DSEG_CACHE``, else ``$XDG_CACHE_HOME/dseg``, else ``~/.cache/dseg``.

    Raises:
        DsegError: this user has no home, as in some containers.
    """
    if named := os.environ.get("DSEG_CACHE"):
        return _expand("$DSEG_CACHE", named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else _expand("the cache", "~") / ".cache") / "dseg"


def own_folders() -> list[Path]:
    """Return the folders to search, in order: ``weights/``, ``$DSEG_WEIGHTS``, the cache.

    Raises:
        DsegError: the user that ``$DSEG_WEIGHTS`` names with ``~`` has no home.
    """
    named = os.environ.get("DSEG_WEIGHTS")
    folders = [Path("weights"), *([_expand("$DSEG_WEIGHTS", named)] if named else [])]
    with suppress(DsegError):  # without a home there is no cache to search
        folders.append(cache_folder())
    return folders


def _expand(what: str, text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise DsegError(
            f"There is no home folder {text} for {what}.",
            hint="name a folder for downloads by the environment variable DSEG_CACHE.",
        ) from None


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
