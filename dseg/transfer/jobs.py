"""Find the mask files to read, and choose the files to write."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from dseg.errors import DsegError
from dseg.files import ignores_case
from dseg.images import IMAGE_SUFFIXES
from dseg.labels import LabelSpace
from dseg.transfer.mask import Coding

FOLDERS: dict[Coding, str] = {"color": "color", "train-ids": "train_ids", "label-ids": "label_ids"}
FRAME = re.compile(r"[^_]+_\d{6}_\d{6}(?!\d)")  # as the official evaluator searches for it


class TransferJob(NamedTuple):
    """A file to read and the file to write."""

    source: Path
    output: Path


def find_jobs(
    sources: Iterable[str | Path],
    target: Coding,
    space: LabelSpace,
    *,
    out: Path | None = None,
    overwrite: bool = False,
) -> list[TransferJob]:
    """Pair the files to read with the files to write, without writing any.

    Args:
        sources: folders (PNG files at any depth; sub-folders are kept), files or glob patterns.
            Hidden files and files below ``out`` are skipped.
        target: coding of the files to write.
        space: the label space.
        out: output folder; by default a folder beside each source, named after the target.
        overwrite: replace existing outputs.

    Raises:
        DsegError: a source is missing or has no file, an output would replace an input, two
            inputs have the same output, or outputs exist and ``overwrite`` is False.
    """
    jobs: list[TransferJob] = []
    for source in sources:
        base, files = _find_files(source, out)
        beside = base if Path(source).is_file() else _parent(base)
        folder = out or beside / FOLDERS[target]
        for path in files:
            inner = path.relative_to(base).parent
            jobs.append(TransferJob(path, folder / inner / _output_name(path, target, space)))
    _check_outputs(jobs, overwrite)
    return jobs


def is_official_name(path: Path) -> bool:
    """Return True if the official Cityscapes evaluator finds a prediction of that name."""
    return FRAME.match(path.name) is not None


def _find_files(source: str | Path, out: Path | None) -> tuple[Path, list[Path]]:
    """Return the base folder of a source, and its files, sorted."""
    path = Path(source)
    if path.is_dir():
        base, searched = path, f"{path}, at any depth, for *.png"
        found = [p for p in path.rglob("*") if p.suffix.lower() == ".png"]
        if out is not None and _is_strictly_below(out, path):
            found = [p for p in found if not _is_strictly_below(p, out)]
    elif path.exists():
        base, searched, found = path.parent, str(path), [path]
    elif any(char in str(source) for char in "*?["):
        base, pattern = _split_pattern(path)
        searched = f"{base} for {pattern} among {', '.join(IMAGE_SUFFIXES)}"
        found = [p for p in base.glob(pattern) if p.suffix.lower() in IMAGE_SUFFIXES]
    else:
        raise DsegError(f"{source} does not exist.", hint="check the spelling of the path.")
    files = sorted(p for p in found if p.is_file() and not p.name.startswith("."))
    if not files:
        raise DsegError(
            f"No masks found: searched {searched}.",
            hint="name the folder that holds the PNG masks, a file or a glob pattern in quotes.",
        )
    return base, files


def _split_pattern(path: Path) -> tuple[Path, str]:
    """Split a glob pattern into its longest folder without wildcards and the rest."""
    parts = path.parts
    first = next(i for i, part in enumerate(parts) if any(char in part for char in "*?["))
    return Path(*parts[:first]), str(Path(*parts[first:]))


def _parent(folder: Path) -> Path:
    """Return the parent of a folder, also of ``.`` and ``..``."""
    return folder.parent if folder.name not in ("", "..") else folder.resolve().parent


def _is_strictly_below(path: Path, folder: Path) -> bool:
    return folder.resolve() in path.resolve().parents


def _output_name(path: Path, target: Coding, space: LabelSpace) -> str:
    """Return the name with suffix .png; for the official evaluator it starts with the frame."""
    name = path.stem + ".png"
    frame = FRAME.search(name) if (space.name, target) == ("cityscapes", "label-ids") else None
    return name[frame.start() :] if frame else name


def _check_outputs(jobs: Sequence[TransferJob], overwrite: bool) -> None:
    """Raise a DsegError if an output is an input, the output of two, or exists already."""
    inputs = {_identity(job.source) for job in jobs}
    for job in jobs:
        if job.output.exists() and _identity(job.output) in inputs:
            raise DsegError(
                f"{job.output} is an input and would be replaced.",
                hint="name another folder with --out.",
            )
    _refuse_twice(jobs)
    existing = [job.output for job in jobs if job.output.exists()]
    if existing and not overwrite:
        raise DsegError(
            f"{len(existing)} of {len(jobs)} outputs exist already, such as {existing[0]}; "
            "nothing was written.",
            hint="replace them with --overwrite, or name another folder with --out.",
        )


def _identity(path: Path) -> tuple[int, int]:
    """Return what is equal for all names of a file; names alone can differ by case."""
    facts = path.stat()
    return facts.st_dev, facts.st_ino


def _refuse_twice(jobs: Sequence[TransferJob]) -> None:
    """Raise a DsegError if two outputs are one file, on some disks also in another case."""
    outputs: dict[str, TransferJob] = {}
    for job in jobs:
        other = outputs.setdefault(str(job.output).casefold(), job)
        if other is not job and (other.output == job.output or ignores_case(job.output.parent)):
            raise DsegError(
                f"{other.source} and {job.source} would both be written to {job.output}.",
                hint="convert the sources one by one, each with another --out.",
            )
