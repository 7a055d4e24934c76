"""What a user names as input, files, folders and patterns, turned into a list of images."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from dseg.errors import DsegError
from dseg.images import SUFFIXES


class ImageFile(NamedTuple):
    """An image to read, and the path of its results below each folder of results, no suffix."""

    path: Path
    name: Path


def find_images(sources: Iterable[str | Path], *, leave_out: Path | None = None) -> list[ImageFile]:
    """Find all images of folders (any depth, links followed), files and patterns, sorted.

    Results keep the tree below the folder that was named. Where two images would write the same
    result, the tree below the folder that all sources share is kept instead, and a suffix is kept
    where only that tells them apart (``a.jpg`` and ``a.png`` become ``a_jpg`` and ``a_png``).

    Args:
        sources: folders, files, or patterns such as ``frames/**/*.png``.
        leave_out: a folder not to look into, that of the results.

    Raises:
        DsegError: a source does not exist, or there is no image in all of them.
    """
    sources = list(sources)
    skip = leave_out.resolve() if leave_out is not None else None
    found: dict[Path, Path] = {}  # each file once, with the folder that its name starts from
    for source in sources:
        for path, base in _expand(source, skip):
            found.setdefault(path, base)
    if not found:
        looked = " ".join(repr(str(source)) for source in sources)
        raise DsegError(
            f"No image in {looked}.",
            hint=f"looked at any depth for: {' '.join('*' + s for s in SUFFIXES)} (any case).",
        )
    names = {path: path.relative_to(base).with_suffix("") for path, base in found.items()}
    if len(set(names.values())) < len(names):
        names = _told_apart(list(found))
    return sorted(ImageFile(path, name) for path, name in names.items())


def _expand(source: str | Path, skip: Path | None) -> Iterator[tuple[Path, Path]]:
    path = Path(source)
    if path.is_dir():
        yield from ((file, path) for file in _walk(path, skip))
    elif path.is_file() or path.is_symlink():
        yield path, path.parent
    elif glob.has_magic(str(source)):
        base = Path(*_before_magic(path.parts))
        matches = glob.glob(str(source), recursive=True)  # noqa: PTH207 (absolute ones too)
        for match in sorted(matches):
            if Path(match).suffix.lower() in SUFFIXES and Path(match).is_file():
                yield Path(match), base
    else:
        raise DsegError(f"{source} does not exist.", hint="check the spelling of the path.")


def _before_magic(parts: tuple[str, ...]) -> list[str]:
    kept = []
    for part in parts[:-1]:
        if glob.has_magic(part):
            break
        kept.append(part)
    return kept


def _walk(top: Path, skip: Path | None) -> Iterator[Path]:
    """Yield the images below a folder; hidden entries are not looked at, no folder twice."""
    seen: set[str] = set()
    for folder, subfolders, files in os.walk(top, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen or (skip is not None and Path(real) == skip):
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and name.lower().endswith(SUFFIXES):
                yield Path(folder, name)


def _told_apart(paths: list[Path]) -> dict[Path, Path]:
    full = {path: Path.cwd() / path for path in paths}
    shared = os.path.commonpath([path.parent for path in full.values()])
    names = {path: full[path].relative_to(shared).with_suffix("") for path in paths}
    times = Counter(names.values())
    return {
        path: name.with_name(f"{name.name}_{path.suffix[1:]}") if times[name] > 1 else name
        for path, name in names.items()
    }
