"""Find the images that a user names by files, folders and patterns."""

from __future__ import annotations

import glob
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import count
from pathlib import Path, PurePath
from typing import NamedTuple, TypeVar

from dseg.errors import DsegError
from dseg.files import walk_folders
from dseg.images import IMAGE_SUFFIXES, MANIFEST, RESULT_KINDS, UNREAD, is_own_sheet
from dseg.video import VIDEO_SUFFIXES, is_live, without_password

Suffixes = tuple[str, ...]
IGNORES_CASE = sys.platform in ("win32", "darwin")  # most disks do: there A.png is also a.png
Purer = TypeVar("Purer", bound=PurePath)


class ImageFile(NamedTuple):
    """An image file, and the path of its results below each folder of results, without suffix."""

    path: Path
    name: Path


class VideoFile(NamedTuple):
    """A video file, webcam or stream, and the path of its results below each folder of results."""

    source: str
    name: Path

    @property
    def path(self) -> Path | str:
        """The file, or the address without a password."""
        return without_password(self.source) if self.is_live else Path(self.source)

    @property
    def is_live(self) -> bool:
        """True for a webcam or stream, False for a file."""
        return is_live(self.source) and not Path(self.source).exists()


def find_images(
    sources: Iterable[str | Path],
    *,
    leave_out: Path | None = None,
    unread: Counter[str] | None = None,
    videos: bool = False,
) -> list[ImageFile]:
    """Find all images of folders (any depth, links followed), files and patterns, sorted.

    Results keep the tree below the folder that was named. If two images would write the same
    result, the tree below the common folder of all sources is kept instead. Images that differ in
    their suffix only keep it: ``a.jpg`` and ``a.png`` become ``a_jpg`` and ``a_png``.

    Args:
        sources: folders, files, or patterns such as ``frames/**/*.png``.
        leave_out: output folder, whose results are not inputs. Results of other runs are left out
            too; they are recognised by their manifest.
        unread: updated with the number of image and video files of unsupported formats by suffix,
            such as ``{".gif": 2}``.
        videos: find video files too; see ``split_videos``.

    Raises:
        DsegError: a source does not exist, or there is no image in any of them.
    """
    sources, unread = list(sources), Counter() if unread is None else unread
    skip = (
        {os.path.realpath(leave_out / name) for name in RESULT_KINDS}
        if leave_out is not None
        else set()
    )
    suffixes = (*IMAGE_SUFFIXES, *(VIDEO_SUFFIXES if videos else ()))
    real = cache(os.path.realpath)
    found: dict[Path, tuple[Path, Path]] = {}  # each file once, with its base folder
    for source in sources:
        for path, base in _expand(source, skip, unread, suffixes):
            found.setdefault(Path(real(path.parent), path.name), (path, base))
    if not found:
        searched = " ".join(repr(str(source)) for source in sources)
        others = describe_unread(unread)
        raise DsegError(
            f"No image in {searched}{f'; not read: {others}' if others else ''}.",
            hint="searched at any depth for: "
            f"{' '.join('*' + suffix for suffix in suffixes)} (any case).",
        )
    names = _name_results(list(found.values()))
    paths = [path for path, _ in found.values()]
    return sorted(ImageFile(path, name) for path, name in zip(paths, names, strict=True))


def split_videos(found: Iterable[ImageFile]) -> tuple[list[ImageFile], list[VideoFile]]:
    """Return the images and the video files among them, by their suffix."""
    images, videos = [], []
    for file in found:
        if file.path.suffix.lower() in VIDEO_SUFFIXES:
            videos.append(VideoFile(str(file.path), file.name))
        else:
            images.append(file)
    return images, videos


def split_live(
    sources: Iterable[str | Path], out: Path
) -> tuple[list[VideoFile], list[str | Path]]:
    """Return the webcams and streams among sources, and the others; a file of that name is one.

    Args:
        sources: what the user named.
        out: folder of results; a recording that it holds is not replaced but gets a successor.
    """
    live: list[VideoFile] = []
    others: list[str | Path] = []
    for source in sources:
        if is_live(str(source)) and not Path(source).exists():
            host = re.split(r"[/:?]", without_password(str(source)).partition("//")[2])[0]
            name = f"stream-{host}" if host else f"webcam-{str(source).rpartition(':')[2]}"
            unused = (Path(f"{name}-{number}" if number > 1 else name) for number in count(1))
            live.append(VideoFile(str(source), next(name for name in unused if _is_new(out, name))))
        else:
            others.append(source)
    return live, others


def _is_new(out: Path, name: Path) -> bool:
    """Return True if there are no results of that name."""
    folders = (out / kind / name for kind in RESULT_KINDS)
    return not (out / "video" / f"{name}.mp4").exists() and not any(map(Path.exists, folders))


def describe_unread(unread: Counter[str]) -> str:
    """Describe the files of unsupported formats, with advice; "" if there are none."""
    shown = ", ".join(f"{count} {suffix}" for suffix, count in unread.most_common())
    if any(suffix in unread for suffix in (".heic", ".heif", ".hif")):
        shown += " (HEIC is read with: pip install 'dseg[heic]')"
    if any(suffix in unread for suffix in VIDEO_SUFFIXES):
        shown += " (videos are read with: pip install 'dseg[video]')"
    return shown


def _expand(
    source: str | Path, skip: set[str], unread: Counter[str], suffixes: Suffixes
) -> Iterator[tuple[Path, Path]]:
    """Yield the files of a source, each with the folder that its name is relative to."""
    path = Path(source)
    try:
        is_folder, is_file = path.is_dir(), path.is_file() or path.is_symlink()
    except OSError as fault:
        raise DsegError(
            f"{source} cannot be read: {fault.strerror}.",
            hint="check the permissions of its folder.",
        ) from fault
    if is_folder:
        yield from ((file, path) for file in _walk(path, skip, unread, suffixes))
    elif is_file:
        yield path, path.parent
    elif glob.has_magic(str(source)):
        yield from _match(str(source), skip, unread, suffixes)
    else:
        raise DsegError(f"{source} does not exist.", hint="check the spelling of the path.")


def _match(
    pattern: str, skip: set[str], unread: Counter[str], suffixes: Suffixes
) -> Iterator[tuple[Path, Path]]:
    """Yield the images that a pattern matches, and those in the folders that it matches."""
    base = Path(*_before_magic(Path(pattern).parts))
    for match in map(Path, sorted(glob.glob(pattern, recursive=True))):  # noqa: PTH207 (absolute)
        if match.is_dir():
            yield from ((file, base) for file in _walk(match, skip, unread, suffixes))
        elif match.suffix.lower() in suffixes and not _is_result(match, base, skip):
            yield match, base


def _before_magic(parts: tuple[str, ...]) -> list[str]:
    kept = []
    for part in parts[:-1]:
        if glob.has_magic(part):
            break
        kept.append(part)
    return kept


def _is_result(path: Path, base: Path, skip: set[str]) -> bool:
    """Return True if a file that a pattern matched below ``base`` was written by a run."""
    if _is_overview(path):
        return True
    for folder in path.parents:
        if folder == base:
            return False
        has_manifest = folder.name in RESULT_KINDS and (folder.parent / MANIFEST).exists()
        if has_manifest or os.path.realpath(folder) in skip:
            return True
    return False


def _is_overview(path: Path) -> bool:
    """Return True for the contact sheet of a run; False for a photo of that name."""
    return path.name.startswith("overview") and path.suffix == ".jpg" and is_own_sheet(path)


def _walk(top: Path, skip: set[str], unread: Counter[str], suffixes: Suffixes) -> Iterator[Path]:
    """Yield the images below a folder, without hidden entries and each folder once.

    A sub-folder that cannot be read is yielded too, so that it is listed among the failed.
    """
    blocked: list[OSError] = []
    for folder, subfolders, files in walk_folders(top, skip=skip, on_error=blocked.append):
        if MANIFEST in files:
            subfolders[:] = (name for name in subfolders if name not in RESULT_KINDS)
        for name in files:
            suffix = Path(name).suffix.lower()
            if suffix in suffixes and not _is_overview(folder / name):
                yield folder / name
            elif suffix in UNREAD:
                unread[suffix] += 1
    for fault in blocked:
        if Path(fault.filename) == top:
            raise DsegError(
                f"{top} cannot be read: {fault.strerror}.",
                hint="check the permissions of the folder.",
            )
        yield Path(fault.filename)


def _name_results(found: list[tuple[Path, Path]]) -> list[Path]:
    """Return a unique name for each (path, base)."""
    full = [(_absolute(path), _absolute(base)) for path, base in found]
    bases = [base if path.is_relative_to(base) else path.parent for path, base in full]
    names = [path.relative_to(base) for (path, _), base in zip(full, bases, strict=True)]
    if len({_key(name.with_suffix("")) for name in names}) < len(names):
        names = names_below_shared([path for path, _ in full], bases)
    stems = [name.with_suffix("") for name in names]
    times = Counter(map(_key, stems))
    short = [
        _with_suffix_in_stem(name) if times[_key(stem)] > 1 else stem
        for name, stem in zip(names, stems, strict=True)
    ]
    if len(set(map(_key, short))) < len(short):  # a.jpg and a.png beside a_jpg.png
        return [_with_suffix_in_stem(name) for name in names]
    return short


def _key(name: Path) -> str:
    """Return a name as it is compared on the disks that are usual on this system."""
    return str(name).casefold() if IGNORES_CASE else str(name)


def names_below_shared(paths: Sequence[Purer], bases: Sequence[Purer]) -> list[Purer]:
    """Return paths relative to the common folder of all bases.

    Paths on several drives of Windows have none: their names begin with that of the drive.
    """
    if len({base.anchor.casefold() for base in bases}) == 1:
        shared = os.path.commonpath(bases)
        return [path.relative_to(shared) for path in paths]
    drives = [re.sub(r"\W+", "_", path.anchor).strip("_") for path in paths]
    below = [path.relative_to(path.anchor) for path in paths]
    return [type(path)(drive, path) for drive, path in zip(drives, below, strict=True)]


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 (resolves '..', keeps links)


def _with_suffix_in_stem(name: Path) -> Path:
    return name.with_name(f"{name.stem}_{name.suffix[1:]}")
