"""Download the files of the table by name."""

from __future__ import annotations

from pathlib import Path

from dseg.downloads.display import SILENT, Display
from dseg.downloads.fetching import fetch
from dseg.downloads.folders import cache_folder
from dseg.downloads.source import Source, mirror_address, mirrored
from dseg.errors import CheckpointError, DsegError, suggest
from dseg.files import sha256
from dseg.registry import MODELS, plain_name
from dseg.registry.weight_files import WeightFile, manual_file, weight_files


def file_of(name: str) -> WeightFile | None:
    """Return the file of a network, or None if its authors published none.

    Args:
        name: key of ``MODELS``.
    """
    return weight_files().get(name) or manual_file(name, MODELS[name])


def find_named(name: str) -> WeightFile:
    """Return the file that a name for ``dseg download`` stands for.

    Case, ``-`` and ``_`` do not matter.

    Raises:
        DsegError: unknown name; the hint names the nearest one.
        CheckpointError: the file cannot be downloaded by dseg; the hint explains why.
    """
    files = {plain_name(key): file for key, file in weight_files().items() if file.url}
    if (found := files.get(plain_name(name))) is not None:
        return found
    key = {plain_name(key): key for key in MODELS}.get(plain_name(name))
    if key is None:
        known = [*(file.name for file in files.values()), *MODELS]
        guess = suggest(name, known, most=3, cutoff=0.5, key=plain_name)
        raise DsegError(f"Unknown weights {name!r}.", hint=f"{guess}List all: dseg download")
    manual = manual_file(key, MODELS[key])
    if manual is None:
        raise CheckpointError(
            f"The authors published no weights for {key}.",
            hint="choose another network (dseg download lists them), or train it: dseg train.",
        )
    raise CheckpointError(
        f"dseg cannot download the weights of {key}: the digest of its authors' file is not known.",
        hint=advise(manual),
    )


def advise(file: WeightFile) -> str:
    """Return a hint on how to get a file by hand, with its full stop."""
    place = Path("weights") / (file.file or f"{file.network}.pth")
    address = file.url.removeprefix("https://") or file.link
    remote = (file.url or file.file).rpartition("/")[2] or "the authors' file"
    where = f"{file.source} ({address})" if address else file.source
    named = "--weights" if file.network else "--backbone-weights"
    return f"get {remote} from {where} and put it at {place}, or name your file with {named}."


def source_of(file: WeightFile) -> Source:
    """Return where a file is downloaded from.

    Raises:
        DsegError: DSEG_MIRROR is not an address.
    """
    return Source(
        title=file.file,
        url=mirrored(file.url),
        mirror=mirror_address(),
        by_hand=advise(file),
        sha256=file.sha256,
    )


def size_of(file: WeightFile) -> tuple[int, bool]:
    """Return a size in bytes, and False if it is estimated from the number of parameters."""
    return (file.size, True) if file.size else (4 * MODELS[file.network].params, False)


def describe_size(file: WeightFile) -> str:
    """Return a size in words."""
    size, known = size_of(file)
    return f"{'' if known else 'about '}{size / 1e6:.1f} MB"


def describe_file(file: WeightFile) -> str:
    """Return size, source, licence and training data of a file as one sentence part."""
    data = ", ".join(f"{data.title} ({data.terms})" for data in file.data)
    return (
        f"{describe_size(file)} from {file.source}, licence {file.licence or 'not stated'}, "
        f"trained on {data}"
    )


def download_file(
    file: WeightFile,
    folder: Path | None = None,
    display: Display = SILENT,
    *,
    again: bool = False,
) -> Path:
    """Return a file of the table, downloaded first if it is not in the folder.

    Args:
        file: an entry with an address.
        folder: where to put it; by default the cache.
        display: shows messages and progress.
        again: also replace a file that is there, if its digest is wrong.

    Raises:
        DsegError: as ``fetch``.
    """
    target = (folder or cache_folder()) / file.file
    wrong = again and target.is_file() and not file.has_digest(sha256(target))
    if target.is_file() and not wrong:
        return target
    if wrong:
        display.note(f"{target} is not the published file: replacing it.")
    about = f"Downloading {file.file}: {describe_file(file)}."
    return fetch(source_of(file), target, display, about=about, again=wrong)
