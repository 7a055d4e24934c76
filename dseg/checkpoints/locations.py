"""Find checkpoint files, and explain which file to download and where to put it."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
from functools import cache
from importlib.resources import files
from pathlib import Path

from dseg.errors import CheckpointError
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
BUNDLED = "dabnet.safetensors"  # used if no network is named


def weights_folders() -> list[Path]:
    """Return the folders to search, in order.

    They are ``weights/``, $DSEG_WEIGHTS, the cache, and the folder installed with dseg.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    named = os.environ.get("DSEG_WEIGHTS")
    chosen = [Path(named).expanduser()] if named else []
    return [Path("weights"), *chosen, cache / "dseg", bundled_folder()]


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


def find_file(weights: Path) -> Path:
    """Return an existing file ``weights``, here or in a weights folder, else ``weights`` itself."""
    candidates = (weights, *(folder / weights for folder in weights_folders()))
    return next((file for file in candidates if file.is_file()), weights)


def find_weights(name: str, weights: Path | None = None) -> Path:
    """Return the checkpoint file of a network.

    Args:
        name: a key of ``MODELS``.
        weights: file that the user named, if any; also looked for in the weights folders.

    Raises:
        CheckpointError: there is none; the hint explains which file to download.
    """
    folders = weights_folders()
    if weights is not None:
        if (found := find_file(weights)).is_file():
            return found
        raise CheckpointError(
            f"Checkpoint {weights} does not exist.",
            hint=f"name an existing file; {_advice(name)}",
        )
    published = MODELS[name].weights
    exact = bool(published) and (Path(published).name != published or not _stem(published))
    stems = [plain_name(name), "" if exact else _stem(published)]
    for folder in folders:
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        for stem in filter(None, stems):
            for file in files:
                if _stem(file.name) == stem and file.is_file():
                    return file
        if exact and (folder / published).is_file():
            return folder / published
    searched = ", ".join(map(str, folders[:-1]))  # users do not put files into the last one
    raise CheckpointError(f"No weights for {name} in {searched}.", hint=_advice(name))


def _stem(file: str) -> str:
    """Return a checkpoint's plain name without suffixes, "" for another kind of file."""
    path = Path(file.lower())
    while path.suffix in CHECKPOINT_SUFFIXES:  # .pth.tar
        path = path.with_suffix("")
    return plain_name(path.name) if path.name != file.lower() else ""


def _advice(name: str) -> str:
    spec = MODELS[name]
    own = Path("weights") / f"{name}.safetensors"
    if not (spec.weights or spec.link):
        return (
            f"the authors published no file for {name}: train it, or name your file with "
            f"--weights, or put it at {own} (.pth and .pkl work too)."
        )
    place = Path("weights") / spec.weights if spec.weights else own.with_suffix(".pth")
    file = Path(spec.weights).name or "the authors' file"
    where = f"{spec.source} ({spec.link})" if spec.link else spec.source
    return f"get {file} from {where} and put it at {place}, or name your file with --weights."


def sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
