"""The sources that a user names, and the kinds of results for what they are."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from dseg.errors import DsegError

if TYPE_CHECKING:
    from dseg.predict import ImageFile, Summary
    from dseg.predict.inputs import VideoFile
    from dseg.sources import Workspace


def hide_temporary(summary: Summary, workspace: Workspace) -> None:
    """Name sources in messages, instead of temporary files, and list those that failed."""
    from dseg.predict.summary import Failure

    shown = workspace.shown
    summary.failed = [
        Failure(shown(str(path)), shown(problem), hint) for path, problem, hint in summary.failed
    ]
    summary.failed += [Failure(*fault) for fault in workspace.faults]
    summary.notes = [shown(note) for note in (*workspace.notes, *summary.notes)]
    summary.noted += len(workspace.notes)


def find_sources(
    sources: tuple[str, ...], img_dir: Path | None, out: Path, workspace: Workspace
) -> tuple[list[ImageFile], list[VideoFile], Counter[str]]:
    """Find the images and videos, and count files of unsupported formats."""
    from dseg.predict import find_images
    from dseg.predict.inputs import split_live, split_videos
    from dseg.video import has_library, library_error

    named = [*_from_stdin(sources, workspace), *([img_dir] if img_dir is not None else [])]
    if not named:
        raise DsegError("No images are named.", hint="name a folder: --img-dir DIR, or a SOURCE.")
    unread: Counter[str] = Counter()
    live, named = split_live(named, out)
    _refuse_overwriting(named, out)
    found = []
    if named and (named := workspace.gather(named)):
        found = find_images(named, leave_out=out, unread=unread, videos=has_library())
    images, videos = split_videos(found)
    videos += live
    if videos and not has_library():
        raise library_error(str(videos[0].path))
    return images, videos, unread


def _from_stdin(sources: tuple[str, ...], workspace: Workspace) -> list[str | Path]:
    """Replace ``-`` by the names on standard input, or by the image that comes there.

    The image is named after its content, so that each has its own results.
    """
    from hashlib import sha256

    from dseg.sources.stdin import find_suffix, read_names

    named: list[str | Path] = []
    for source in sources:
        if source == "-":
            data = sys.stdin.buffer.read()
            suffix = find_suffix(data)
            name = f"stdin-{sha256(data).hexdigest()[:8]}{suffix}"
            named += [workspace.add(name, data)] if suffix else read_names(data)
        else:
            named.append(source)
    return named


def _refuse_overwriting(named: list[str | Path], out: Path) -> None:
    """Refuse to write results over the images."""
    from dseg.images import RESULT_KINDS

    results = Path(os.path.realpath(out))
    for source in named:
        place = Path(os.path.realpath(source))
        if place == results:
            raise DsegError(f"{out} is the folder of the images.", hint="name another --out.")
        if any(place.is_relative_to(results / kind) for kind in RESULT_KINDS):
            raise DsegError(
                f"{source} is in a folder to which results of {out} are written.",
                hint="name another --out.",
            )
