"""Manifest: how the results in a folder were made, so that different runs do not mix."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dseg.errors import EXIT_FAILED_INPUTS, DsegError
from dseg.files import write_json
from dseg.images import MANIFEST, RESULT_KINDS
from dseg.jsonio import SHOWN, read_object, show, strict
from dseg.locks import LockedError, locked
from dseg.predict.inputs import ImageFile, VideoFile
from dseg.predict.predictor import Predictor
from dseg.protocol import PLAIN, Protocol
from dseg.render import OverlayStyle

RESULT_SUFFIXES = ("png", "jpg", "json")
STYLE_KEYS = ("opacity", "legend", "side_by_side")
OPTIONAL = ("overlay",)  # keys that only runs with such results have
MANIFEST_LOCK = ".dseg-run.lock"  # held while the manifest is compared and written
RUN_LOCK = ".dseg-run-{}.lock"  # held by each run as long as it writes results
TIMEOUT_S = 120.0  # for a run that removes the results of many images
# keys that older manifests lack, with the values those runs had
ADDED: dict[str, object] = {**asdict(PLAIN), "inplace_abn": False, "runtime": "torch"}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything that the masks of a folder depend on, besides the images: ``dseg-run.json``.

    Attributes:
        network: name of the network in the registry.
        weights: name of the checkpoint file.
        sha256: digest of the checkpoint file.
        inplace_abn: whether it was read as trained with in-place activated batch norm.
        raw_weights: whether the raw weights were used although the file has EMA weights.
        label_space: name of the label space whose ids ``label_ids/`` holds.
        mean, std, order: normalisation of the image, as in ``ModelCard``.
        outputs: train id of each output of the network, as in ``ModelCard``.
        protocol: the inference protocol.
        amp: precision of the network, such as ``float32`` or ``bfloat16``.
        runtime: what computes the network, a name of ``RUNTIMES``.
        overlay: how overlays look, None if the run writes none.
    """

    network: str
    weights: str
    sha256: str
    inplace_abn: bool
    raw_weights: bool
    label_space: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    order: str
    outputs: tuple[int, ...]
    protocol: Protocol
    amp: str
    runtime: str = "torch"
    overlay: OverlayStyle | None = None

    @classmethod
    def of(
        cls,
        predictor: Predictor,
        weights: str,
        sha256: str,
        *,
        inplace_abn: bool = False,
        raw_weights: bool = False,
    ) -> Manifest:
        """Return the manifest of a predictor whose checkpoint has that name and digest."""
        card = predictor.model.card
        return cls(
            network=card.network,
            weights=weights,
            sha256=sha256,
            inplace_abn=inplace_abn,
            raw_weights=raw_weights,
            label_space=predictor.label_space.name,
            mean=card.mean,
            std=card.std,
            order=card.order,
            outputs=card.outputs,
            protocol=predictor.protocol,
            amp=predictor.runtime.precision,
            runtime=predictor.runtime.name,
        )

    def as_json(self) -> dict[str, Any]:
        """Return the content of the file, with the protocol's attributes beside the others."""
        values = asdict(self)
        amp, runtime = values.pop("amp"), values.pop("runtime")
        protocol, overlay = values.pop("protocol"), values.pop("overlay")
        last = {"amp": amp, "runtime": runtime}
        if overlay is not None:
            last["overlay"] = {key: overlay[key] for key in STYLE_KEYS}
        result: dict[str, Any] = strict({**values, **protocol, **last})
        return result


@contextmanager
def claimed_folder(
    out: Path,
    manifest: Manifest,
    images: Iterable[ImageFile],
    videos: Iterable[VideoFile] = (),
    *,
    overwrite: bool,
) -> Iterator[None]:
    """Claim a folder by ``claim_folder``, and lock it against runs with another manifest.

    Any number of runs with the same manifest can write to it at once. On a file system without
    locks only the manifest file protects the results.

    Raises:
        DsegError: as ``claim_folder``, or a run with another manifest is writing to the folder.
    """
    with ExitStack() as running:
        with ExitStack() as comparing:
            try:
                with suppress(OSError):  # claim_folder raises it if it has to write
                    comparing.enter_context(locked(out / MANIFEST_LOCK, wait_s=TIMEOUT_S))
            except LockedError as fault:
                raise _busy(out, fault.holder) from None
            claim_folder(out, manifest, images, videos, overwrite=overwrite)
            own = RUN_LOCK.format(f"{os.getpid()}-{secrets.token_hex(4)}")
            with suppress(OSError):
                running.enter_context(locked(out / own))
        yield


def claim_folder(
    out: Path,
    manifest: Manifest,
    images: Iterable[ImageFile],
    videos: Iterable[VideoFile] = (),
    *,
    overwrite: bool,
) -> None:
    """Write the manifest of a folder, or check that the one that it has is equal.

    With ``overwrite`` the results of these images are removed first, so that a run stopped
    half-way leaves no old results among the new.

    Args:
        images: images of this run.
        videos: videos of this run.

    Raises:
        DsegError: the folder holds results of another manifest, or cannot be written.
    """
    file = out / MANIFEST
    ours = manifest.as_json()
    theirs, difference = None, f"it has no {MANIFEST}"
    try:
        theirs = _read_manifest(file)
    except ValueError as fault:
        difference = f"{MANIFEST} is damaged: {fault}"
    if theirs is not None:
        difference = _difference(theirs, ours)
        ours |= {key: theirs[key] for key in OPTIONAL if key in theirs and key not in ours}
    if overwrite:
        if difference:
            _refuse_running(out)
        _remove_results(out, images, videos, difference)
    elif theirs is not None and not difference:
        if all(key in theirs for key in OPTIONAL if key in ours):
            return
    elif file.exists() or any((out / kind).exists() for kind in RESULT_KINDS):
        raise DsegError(
            f"{out} holds results of another run ({difference}).",
            hint=_ways_out(theirs, ours),
        )
    write_json(file, ours)


def _ways_out(theirs: dict[str, Any] | None, ours: dict[str, Any]) -> str:
    """Return the hint for a folder of another run; one of another runtime can be continued."""
    others = "name another --out, or replace them with --overwrite."
    if theirs is None or _difference({**theirs, "runtime": ours["runtime"]}, ours):
        return others
    return f"continue with --runtime {theirs['runtime']}, {others}"


def _refuse_running(out: Path) -> None:
    """Raise a DsegError while other runs write results; locks of killed runs are removed."""
    for file in out.glob(RUN_LOCK.format("*")):
        try:
            with suppress(OSError), locked(file):
                pass
        except LockedError as fault:
            raise _busy(out, fault.holder) from None


def _busy(out: Path, holder: str) -> DsegError:
    return DsegError(
        f"Another run with other options is writing to {out}{f' ({holder})' if holder else ''}.",
        hint="wait until it has ended, or name another --out.",
    )


def _read_manifest(file: Path) -> dict[str, Any] | None:
    """Return a manifest's content, None if there is no file.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        content = read_object(file)
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise ValueError(fault.strerror or str(fault)) from fault
    added: dict[str, Any] = strict(ADDED)
    return added | content


def _difference(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    """Describe the first difference, "" if there is none; the checkpoint's name can differ.

    Keys that an older manifest lacks and that are not in ``ADDED`` follow from the checkpoint.
    """
    for key in ours:
        if key != "weights" and theirs.get(key, ours[key]) != ours[key]:
            if key in ("network", "sha256"):
                return _describe_networks(theirs, ours)
            old = theirs[key]
            if key == "overlay" and isinstance(old, dict):
                return _difference(old, ours[key]).replace("_", "-")
            shown = f"{old}" if isinstance(old, list) and len(old) < 9 else show(old)
            name = "precision" if key == "amp" else key
            return f"{name}: {shown[:SHOWN]}, now {ours[key]!r}"
    unknown = theirs.keys() - ours.keys() - set(OPTIONAL)
    return "its manifest has another format" if unknown else ""


def _describe_networks(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    """Describe two networks or checkpoints that differ, by their names."""
    named = ([found.get(key, "?") for key in ("network", "weights")] for found in (theirs, ours))
    then, now = (f"{network} from {weights}"[:100] for network, weights in named)
    return f"of {then}, now {now}" if then != now else f"of {then}, whose content was another"


def _remove_results(
    out: Path, images: Iterable[ImageFile], videos: Iterable[VideoFile], difference: str
) -> None:
    """Remove the results of images and videos.

    Raises:
        DsegError: results of another run, for other images, would remain; or a file cannot be
            removed.
    """
    folders = _result_folders(out)
    ours = {target for image in images for target in _targets(folders, image)}
    for video in videos:
        ours |= {out / "video" / f"{video.name}.{suffix}" for suffix in ("mp4", "json")}
        for folder in folders:
            ours.update(file for file in (folder / video.name).glob("*.*") if file.is_file())
    if difference:
        for kind in RESULT_KINDS:
            for other in (out / kind).rglob("*.*"):
                if other not in ours and not other.name.startswith(".") and other.is_file():
                    raise DsegError(
                        f"{other} is a result of another run ({difference}), and not of one of "
                        "these images.",
                        hint="name another --out, or remove that folder.",
                    )
    for target in ours:
        _remove(target)


def _targets(folders: list[Path], image: ImageFile) -> Iterator[Path]:
    for folder in folders:
        for suffix in RESULT_SUFFIXES:
            yield folder / f"{image.name}.{suffix}"


def _result_folders(out: Path) -> list[Path]:
    """Return the folders that can hold results of an image, also those of each mask."""
    masks = sorted(folder for folder in (out / "mask").glob("*") if folder.is_dir())
    return [*(out / kind for kind in RESULT_KINDS if kind not in ("mask", "video")), *masks]


def _remove(target: Path) -> None:
    try:
        target.unlink(missing_ok=True)
    except NotADirectoryError:  # the file cannot exist
        return
    except OSError as fault:
        raise DsegError(
            f"{target} cannot be replaced: {fault.strerror}.",
            hint="name a writable folder with --out.",
            exit_code=EXIT_FAILED_INPUTS,
        ) from fault
