"""The files of all results of a folder: ``overview.jpg``, ``coco.json`` and ``areas.csv``.

They cover what every run has written to the folder, so that several runs give the files that one
run over all images gives. A file of the user that has the name of one of them is kept.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from dseg.errors import DsegError
from dseg.files import free_path, walk_files, written_whole
from dseg.images import Pixels, read_image, read_size, sheet_path, write_sheet
from dseg.labels import LabelSpace
from dseg.predict.coco import BEGINNING, join, read_part
from dseg.render import OverlayStyle, choose_evenly, draw_sheet, make_thumb

JOINED = {"coco": "coco.json", "areas": "areas.csv"}  # by kind
HEADER = ("file", "width", "height")  # of the table of areas, before the classes
OVERVIEW = "overview.jpg"
OVERLAY_SUFFIXES = (".png", ".jpg")
SIZED = ("label_ids", "color", "train_ids", "confidence", "entropy")  # as large as the image
FRAME = re.compile(r"\d{2,}-\d{2}-\d{2}\.\d{3}")  # name of the result of a video frame


def choose_names(overlays: Iterable[Path], names: Iterable[Path]) -> list[Path]:
    """Return the names of the images on the contact sheet.

    Args:
        overlays: names of the overlays that exist, of which those of video frames are left out.
        names: results of this run, without suffix.
    """
    wanted = {*names, *(name for name in overlays if not FRAME.fullmatch(name.name))}
    ordered = sorted(wanted)
    return [ordered[index] for index in choose_evenly(len(ordered))]


def find_overlays(out: Path) -> dict[Path, Path]:
    """Return the overlays of a folder by their names."""
    folder = out / "overlay"
    files = (file for file in walk_files(folder) if file.suffix in OVERLAY_SUFFIXES)
    return {file.relative_to(folder).with_suffix(""): file for file in files}


def write_overview(
    out: Path,
    thumbs: Mapping[Path, Pixels],
    images: Mapping[Path, Path],
    space: LabelSpace,
    style: OverlayStyle,
) -> None:
    """Write the contact sheet of a folder, if it has overlays of several images.

    Args:
        out: folder of all results.
        thumbs: reduced overlays that are at hand, by name; others are read.
        images: image file of each name of this run.
        space: the classes.
        style: how the overlays look.
    """
    overlays = find_overlays(out)
    shown = []
    for name in choose_names(overlays, (name for name in images if name in overlays)):
        thumb = thumbs.get(name)
        if thumb is None:
            thumb = _read_thumb(out, name, overlays[name], images.get(name), style)
        if thumb is not None:
            shown.append((str(name), thumb))
    if len(shown) > 1:
        write_sheet(out / OVERVIEW, draw_sheet(shown, space, style.opacity))


def find_overview(out: Path) -> Path | None:
    """Return the contact sheet of a folder, None if it has none."""
    path = sheet_path(out / OVERVIEW)
    return path if path.exists() else None


def _read_thumb(
    out: Path, name: Path, overlay: Path, image: Path | None, style: OverlayStyle
) -> Pixels | None:
    """Return the reduced overlay that a run has written, without its legend; None if unreadable."""
    try:
        pixels = read_image(overlay)
    except DsegError:
        return None
    places = (image, *(out / kind / f"{name}.png" for kind in SIZED))
    for place in places:
        try:
            height, width = read_size(place) if place is not None else (0, 0)
        except DsegError:
            continue
        if height:
            return make_thumb(pixels[:height, -width:])
    return make_thumb(pixels[:, pixels.shape[1] // 2 :] if style.side_by_side else pixels)


def write_joined(out: Path, kind: str, space: LabelSpace) -> None:
    """Join what was written of each image into one file of the folder, if there is any.

    Args:
        out: folder of all results.
        kind: a key of ``JOINED``.
        space: the classes.

    Raises:
        DsegError: a part is damaged, or the file cannot be written.
    """
    parts = sorted(file for file in walk_files(out / kind) if file.suffix == ".json")
    if not parts:
        return
    with written_whole(find_joined(out, kind)) as target:
        if kind == "coco":
            join(parts, space, target)
        else:
            _join_areas(parts, space, target)


def remove_parts(out: Path, video: Path) -> None:
    """Remove what earlier runs wrote of the frames of a video to be joined; all are made again."""
    for kind in JOINED:
        for part in (out / kind / video).glob("*.json"):
            if FRAME.fullmatch(part.stem):
                part.unlink(missing_ok=True)


def find_joined(out: Path, kind: str) -> Path:
    """Return where the file of a kind is or will be: elsewhere if the user has such a file."""
    return free_path(out / JOINED[kind], _is_own)


def describe_kept(out: Path, kinds: Iterable[str]) -> list[str]:
    """Return a note for each file of the user that a file of these kinds is written beside."""
    files = [(JOINED[kind], find_joined(out, kind)) for kind in JOINED if kind in kinds]
    if "overlay" in kinds:
        files.append((OVERVIEW, sheet_path(out / OVERVIEW)))
    return [
        f"{out / name} was not written by dseg and is kept; {file.name} is written instead."
        for name, file in files
        if file.name != name and file.exists()
    ]


def _is_own(path: Path) -> bool:
    """Return True if a file begins as those that dseg writes."""
    beginning = ",".join(HEADER) if path.suffix == ".csv" else BEGINNING
    try:
        with path.open("rb") as file:
            return file.read(len(beginning)) == beginning.encode()
    except OSError:
        return False


def _join_areas(parts: Iterable[Path], space: LabelSpace, target: Path) -> None:
    """Write a table: a row for each image, with the fraction of each class of its pixels."""
    with target.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        table = csv.writer(file)
        table.writerow([*HEADER, *space.names])
        for part in parts:
            name, width, height, pixels = read_part(part, *HEADER, "pixels")
            fractions = [f"{count / (width * height):.6f}" for count in pixels]
            table.writerow([name, width, height, *fractions])
