"""Find checkpoint files, download those that are missing, or explain where to get them."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from importlib.resources import files
from pathlib import Path

from dseg.downloads import (
    SILENT,
    Display,
    NoNetworkError,
    advise,
    download_file,
    file_of,
    find_hub_file,
    find_in_folder,
    find_own,
    is_hub_address,
    own_folders,
)
from dseg.errors import CheckpointError
from dseg.files import sha256

__all__ = ["find_bundled", "find_file", "find_weights", "sha256", "weights_folders"]

BUNDLED = "dabnet.safetensors"  # used if no network is named


def weights_folders() -> list[Path]:
    """Return the folders to search, in order.

    They are ``weights/``, $DSEG_WEIGHTS, the cache, and the folder installed with dseg.
    """
    return [*own_folders(), bundled_folder()]


@cache
def bundled_folder() -> Path:
    """Return the folder of the bundled weights, copied out first if dseg runs from a zip file.

    ``importlib.resources.as_file`` would copy a file under a random name, and a run of ``dseg
    infer`` is recognised by the name of its checkpoint.
    """
    source = files("dseg") / "weights"
    if isinstance(source, Path):
        return source
    folder = Path(tempfile.mkdtemp(prefix="dseg-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if (source / BUNDLED).is_file():
        (folder / BUNDLED).write_bytes((source / BUNDLED).read_bytes())
    return folder


def find_bundled() -> Path:
    """Return the bundled checkpoint, which is used if no network is named.

    Raises:
        CheckpointError: it is missing from this installation.
    """
    file = bundled_folder() / BUNDLED
    if not file.is_file():
        raise CheckpointError(
            f"No network is named, and the bundled {BUNDLED} is not at {file}.",
            hint="choose a network with --model, for example DenseASPP161 (dseg models), or "
            "reinstall dseg.",
        )
    return file


def find_file(weights: Path, display: Display = SILENT) -> Path:
    """Return an existing file ``weights``, here or in a weights folder, else ``weights`` itself.

    A file of Hugging Face, ``hf://...``, is downloaded if it is not in the cache.

    Raises:
        DsegError: the download failed.
    """
    if is_hub_address(weights):
        return find_hub_file(weights, display)
    candidates = (weights, *(folder / weights for folder in weights_folders()))
    return next((file for file in candidates if file.is_file()), weights)


def find_weights(name: str, weights: Path | None = None, display: Display = SILENT) -> Path:
    """Return the checkpoint file of a network, downloaded first if need be.

    Args:
        name: a key of ``MODELS``.
        weights: file that the user named, if any; also looked for in the weights folders.
        display: shows messages and the progress of a download.

    Raises:
        CheckpointError: there is none, or it cannot be downloaded; the hint explains how to get
            it by hand.
        DsegError: the cache cannot be written.
    """
    if weights is not None:
        if (found := find_file(weights, display)).is_file():
            return found
        raise CheckpointError(
            f"Checkpoint {weights} does not exist.",
            hint=f"name an existing file; {_advice(name)}",
        )
    if (own := find_own(name)) is not None:
        return own
    bundled = find_in_folder(name, bundled_folder())
    file = file_of(name)
    if file is None or not file.url:
        if bundled is not None:
            return bundled
        raise CheckpointError(f"No weights for {name} in {_searched()}.", hint=_advice(name))
    try:
        return download_file(file, display=display)
    except NoNetworkError as fault:
        if bundled is None:
            problem = f"No weights for {name} in {_searched()}. {fault.problem}"
            raise NoNetworkError(problem, hint=fault.hint) from fault
        display.note(
            f"{fault.problem} Using the bundled demo network {name} (weak: see weights/README.md)."
        )
        return bundled


def _searched() -> str:
    """Return the folders that were searched, without the bundled one, which is not the user's."""
    return ", ".join(map(str, own_folders()))


def _advice(name: str) -> str:
    """Return a hint on how to get the weights of a network by hand."""
    file = file_of(name)
    if file is not None:
        return advise(file)
    own = Path("weights") / f"{name}.safetensors"
    return (
        f"the authors published no file for {name}: train it, or name your file with "
        f"--weights, or put it at {own} (.pth and .pkl work too)."
    )
