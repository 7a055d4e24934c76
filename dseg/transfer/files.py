"""Convert many mask files on all cores, and detect the coding of their ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from dseg.errors import DsegError
from dseg.images import MaskFile, Pixels, read_mask_file, write_png
from dseg.labels import IGNORE, LabelSpace
from dseg.parallel import Item, Result, count_cores, map_in_order
from dseg.transfer.jobs import TransferJob
from dseg.transfer.mask import Coding, check_unknown, transfer_mask

PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_COLOR_TYPE = 25  # offset in the file; 0 there means one channel without a palette


class Transferred(NamedTuple):
    """The outcome of all jobs.

    Attributes:
        faults: the error of each job, in the same order; None for a job without an error.
        ids_read_as: the detected coding of files of one channel; None if it was not detected.
    """

    faults: list[DsegError | None]
    ids_read_as: Coding | None


def transfer_files(
    jobs: Sequence[TransferJob],
    space: LabelSpace,
    source: Coding | Literal["auto"],
    target: Coding,
    *,
    unknown: int | None = None,
    accept_lossy: bool = False,
    workers: int | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Transferred:
    """Convert files on all cores; an error in one does not stop the others.

    Args:
        jobs: pairs of files from ``find_jobs``; an existing output is replaced atomically.
        space: the label space.
        source: coding of the files; ``auto`` reads colour and palette files, and all files in a
            folder with such files, as colours, and the others as ``detect_ids`` finds.
        target, unknown: as for ``transfer_mask``.
        accept_lossy: read masks whose compression may have changed their values.
        workers: number of threads, by default one for each core.
        advance: called once for each file that is done or has failed.

    Raises:
        DsegError: before anything is written: ``auto`` cannot detect the coding of ids, or
            ``unknown`` is not a label id of the space.
    """
    check_unknown(space, unknown)
    read = partial(read_mask_file, accept_lossy=accept_lossy)
    sources = [job.source for job in jobs]
    id_files = _find_id_files(sources, read, workers) if source == "auto" else set[Path]()
    read_as = detect_ids(sorted(id_files), space, workers, read) if id_files else None
    palette = space.palette() if target == "color" else None

    def run(job: TransferJob) -> DsegError | None:
        try:
            mask = read(job.source)
            coding = source if source != "auto" else "color"
            if job.source in id_files and read_as is not None:
                coding = read_as
            pixels = _transfer_named(job.source, mask, space, coding, target, unknown)
            write_png(job.output, pixels, palette)
        except DsegError as fault:
            return fault
        return None

    faults = []
    for fault in _map_files(run, jobs, workers):
        advance()
        faults.append(fault)
    return Transferred(faults, read_as)


def detect_ids(
    files: Sequence[Path],
    space: LabelSpace,
    workers: int | None = None,
    read: Callable[[Path], MaskFile] = read_mask_file,
) -> Coding:
    """Detect whether files of one channel hold train ids or label ids, from all their values.

    They are label ids if they have a value that is not a train id (19 to 33 in Cityscapes); else
    train ids if they have 255 and it is not a label id. Without either, they are train ids if they
    have a value that masks of label ids rarely have: neither a scored id nor one drawn in black.

    Args:
        files: files of one channel; those that cannot be read are skipped.
        space: the label space.
        workers: number of threads, by default one for each core.
        read: function that reads a file.

    Returns:
        The coding; ``label-ids`` where the two are equal, as in CamVid and VOC.

    Raises:
        DsegError: both are possible.
    """
    if space.label_ids == tuple(range(space.num_classes)):
        return "label-ids"
    label_ids = {*space.label_ids, *space.ignored_ids}
    only_label_ids = label_ids - set(range(space.num_classes)) - {IGNORE}
    found: set[int] = set()
    for values in _map_files(partial(_values_of, read=read), files, workers):
        found |= values
        if found & only_label_ids:
            return "label-ids"
    if IGNORE in found and IGNORE not in label_ids:
        return "train-ids"
    black = {label_id for color, label_id in space.ignored_colors if color == (0, 0, 0)}
    if not found <= {*space.label_ids, *black}:
        return "train-ids"
    if not found:  # no file could be read: transfer_files reports each
        return "label-ids"
    where = files[0].name if len(files) == 1 else f"all {len(files)} files together"
    raise DsegError(
        f"{', '.join(map(str, sorted(found)))}, the only values of {where}, can be train ids or "
        f"label ids of {space.name}.",
        hint="choose --from train-ids or --from label-ids.",
    )


def _transfer_named(path: Path, mask: MaskFile, *args: Any) -> Pixels:
    """Convert one mask; errors name its file."""
    try:
        return transfer_mask(mask, *args)
    except DsegError as fault:
        raise DsegError(f"{path}: {fault.problem}", hint=fault.hint) from fault


def _find_id_files(
    files: Sequence[Path], read: Callable[[Path], MaskFile], workers: int | None
) -> set[Path]:
    """Return the files of ids: one channel without palette, in a folder without colour files.

    Tools that make PNG files smaller store a colour mask with one channel if all its colours are
    grey; so files beside colour files are not read as ids.
    """
    has_ids = partial(_may_hold_ids, read=read)
    kinds = dict(zip(files, _map_files(has_ids, files, workers), strict=True))
    colored = {path.parent for path, kind in kinds.items() if kind is False}
    return {path for path, kind in kinds.items() if kind and path.parent not in colored}


def _may_hold_ids(path: Path, read: Callable[[Path], MaskFile]) -> bool | None:
    """Return True if a file has one channel and no palette; None if it cannot be read.

    Only the first bytes of a PNG are read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(PNG_COLOR_TYPE + 1)
        if start.startswith(PNG_START) and len(start) > PNG_COLOR_TYPE:
            return start[PNG_COLOR_TYPE:] == b"\0"
        mask = read(path)
    except (OSError, DsegError):
        return None
    return mask.values.ndim == 2 and mask.palette is None


def _values_of(path: Path, read: Callable[[Path], MaskFile]) -> set[int]:
    """Return the values of a file that fit 8 bits; larger ones are of instances."""
    try:
        values = read(path).values
    except DsegError:
        return set()
    if values.dtype == np.uint8:
        return set(np.flatnonzero(np.bincount(values.ravel(), minlength=256)).tolist())
    return {value for value in np.unique(values).tolist() if 0 <= value <= IGNORE}


def _map_files(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int | None
) -> Iterator[Result]:
    """Map over threads, in order, with at most three items per thread in memory."""
    threads = workers or count_cores()
    return map_in_order(function, items, threads, ahead=3 * threads - 1, wait=True)
