"""Many mask files at once: what their ids mean, and the run on all cores."""

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
PNG_COLOR_TYPE = 25  # its place in the file; 0 there is one channel without a palette


class Transferred(NamedTuple):
    """What became of the jobs.

    Attributes:
        faults: one entry a job, in the same order; None for a job that is done.
        ids_read_as: how files of one channel were read, if that had to be found out.
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
    """Translate files on all cores; one that fails does not stop the others.

    Args:
        jobs: as from ``find_jobs``; an existing output is replaced, whole or not at all.
        source: ``auto`` takes colour and palette files as colours, and so all files of a folder
            that has some; others as by ``detect_ids``.
        target, unknown: as for ``transfer_mask``.
        accept_lossy: read masks whose compression may have changed their values.
        workers: threads, by default one a core.
        advance: called once for each file that is done or has failed.

    Raises:
        DsegError: before anything is written: ``auto`` cannot tell what the ids mean, or
            ``unknown`` is no label id of the space.
    """
    check_unknown(space, unknown)
    read = partial(read_mask_file, accept_lossy=accept_lossy)
    sources = [job.source for job in jobs]
    bare = _find_bare(sources, read, workers) if source == "auto" else set[Path]()
    read_as = detect_ids(sorted(bare), space, workers, read) if bare else None
    palette = space.palette() if target == "color" else None

    def run(job: TransferJob) -> DsegError | None:
        try:
            mask = read(job.source)
            meaning = source if source != "auto" else "color"
            if job.source in bare and read_as is not None:
                meaning = read_as
            pixels = _transfer_named(job.source, mask, space, meaning, target, unknown)
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
    """Return True if files of one channel hold train ids or label ids, from all their values.

    A value that only label ids can have settles it (19 to 33 in Cityscapes); else 255 does, which
    is no label id there. Without either, a set is taken for train ids if it has a value besides
    those that masks of label ids commonly have: the scored ids and those drawn in black.

    Args:
        files: of one channel; one that cannot be read is passed over.
        workers: threads, by default one a core.
        read: reads a file.

    Returns:
        ``label-ids`` where the two are the same, as in CamVid and VOC.

    Raises:
        DsegError: both readings are possible.
    """
    if space.label_ids == tuple(range(space.num_classes)):
        return "label-ids"
    label_ids = {*space.label_ids, *space.ignored_ids}
    only_label_ids = label_ids - set(range(space.num_classes)) - {IGNORE}
    seen: set[int] = set()
    for values in _map_files(partial(_values_of, read=read), files, workers):
        seen |= values
        if seen & only_label_ids:
            return "label-ids"
    if IGNORE in seen and IGNORE not in label_ids:
        return "train-ids"
    black = {label_id for color, label_id in space.ignored_colors if color == (0, 0, 0)}
    if not seen <= {*space.label_ids, *black}:
        return "train-ids"
    if not seen:  # no file could be read: each will say why
        return "label-ids"
    where = files[0].name if len(files) == 1 else f"all {len(files)} files together"
    raise DsegError(
        f"{', '.join(map(str, sorted(seen)))}, the only values of {where}, may be train ids as "
        f"well as label ids of {space.name}.",
        hint="say which they are: --from train-ids or --from label-ids.",
    )


def _transfer_named(path: Path, mask: MaskFile, *args: Any) -> Pixels:
    """Translate one mask; what goes wrong names its file."""
    try:
        return transfer_mask(mask, *args)
    except DsegError as fault:
        raise DsegError(f"{path}: {fault.problem}", hint=fault.hint) from fault


def _find_bare(
    files: Sequence[Path], read: Callable[[Path], MaskFile], workers: int | None
) -> set[Path]:
    """Return the files of ids: of one channel without palette, in a folder that has no colours.

    A colour mask whose colours are all grey is stored with one channel by tools that make PNG
    files smaller; so what lies among colours is not taken for ids.
    """
    kinds = dict(zip(files, _map_files(partial(_is_bare, read=read), files, workers), strict=True))
    colored = {path.parent for path, bare in kinds.items() if bare is False}
    return {path for path, bare in kinds.items() if bare and path.parent not in colored}


def _is_bare(path: Path, read: Callable[[Path], MaskFile]) -> bool | None:
    """Return whether a file has one channel and no palette; None if it cannot be read.

    Of a PNG the first bytes are enough.
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
    """Return the values of a file that fit 8 bits; larger ones tell instances apart."""
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
