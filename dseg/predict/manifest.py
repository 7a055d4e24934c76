"""What made the results in a folder, so that those of two kinds of run do not mix."""

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
from dseg.images import RESULT_KINDS
from dseg.jsonio import SHOWN, read_object, show, strict
from dseg.locks import LockedError, locked
from dseg.predict.inputs import MANIFEST, ImageFile
from dseg.predict.predictor import Predictor
from dseg.protocol import PLAIN, Protocol

RESULT_SUFFIXES = ("png", "jpg")
MANIFEST_LOCK = ".dseg-run.lock"  # held while the record is compared and written
AT_WORK = ".dseg-run-{}.lock"  # held by each run as long as it writes results
PATIENCE_S = 120.0  # for one that removes the results of many images
# what older records do not have, and were made with
ADDED: dict[str, object] = {**asdict(PLAIN), "inplace_abn": False}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything that the masks of a folder depend on, besides the images.

    Attributes:
        network: its name in the table.
        weights: the checkpoint file's name.
        sha256: of that file.
        inplace_abn: whether it was read as trained with in-place activated batch norm.
        raw_weights: not the averaged weights of a file that has both.
        label_space: whose ids ``label_ids/`` holds.
        mean, std, order: normalisation of the image, as in ``ModelCard``.
        outputs: the train id of each output where it is not its number.
        protocol: how an image became labels.
        amp: the precision within the network.
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
        """Return the settings of a predictor whose checkpoint has that name and digest."""
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
            amp=str(predictor.amp or "float32").removeprefix("torch."),
        )

    def record(self) -> dict[str, Any]:
        """Return all of it as JSON has it, the protocol's attributes beside the others."""
        facts = asdict(self)
        amp, protocol = facts.pop("amp"), facts.pop("protocol")
        result: dict[str, Any] = strict({**facts, **protocol, "amp": amp})
        return result


@contextmanager
def claimed_folder(
    out: Path, settings: Manifest, images: Iterable[ImageFile], *, overwrite: bool
) -> Iterator[None]:
    """Claim a folder by ``claim_folder`` and keep it from runs of other settings meanwhile.

    Any number of runs of the same settings may write to it at once. Where the file system knows no
    locks, they are only told apart by the record.

    Raises:
        DsegError: as ``claim_folder``, or runs of other settings write to it at present.
    """
    with ExitStack() as at_work:
        with ExitStack() as comparing:
            try:
                with suppress(OSError):  # what follows says it, if it has to write
                    comparing.enter_context(locked(out / MANIFEST_LOCK, wait_s=PATIENCE_S))
            except LockedError as fault:
                raise _busy(out, fault.holder) from None
            claim_folder(out, settings, images, overwrite=overwrite)
            own = AT_WORK.format(f"{os.getpid()}-{secrets.token_hex(4)}")
            with suppress(OSError):
                at_work.enter_context(locked(out / own))
        yield


def claim_folder(
    out: Path, settings: Manifest, images: Iterable[ImageFile], *, overwrite: bool
) -> None:
    """Write down how the results in a folder are made, or see that they were made the same way.

    With ``overwrite`` the results of these images are removed first, so that a run stopped
    half-way leaves no old ones among the new.

    Args:
        images: those of this run.

    Raises:
        DsegError: it holds results that were made in another way, or cannot be written.
    """
    record = out / MANIFEST
    ours = settings.record()
    theirs, difference = None, f"no {MANIFEST} says which"
    try:
        theirs = _read_record(record)
    except ValueError as fault:
        difference = f"{MANIFEST} is damaged: {fault}"
    if theirs is not None:
        difference = _difference(theirs, ours)
    if overwrite:
        if difference:
            _refuse_others_at_work(out)
        _make_way(out, images, difference)
    elif theirs is not None and not difference:
        return
    elif record.exists() or any((out / kind).exists() for kind in RESULT_KINDS):
        raise DsegError(
            f"{out} holds results of another run ({difference}).",
            hint="name another --out, or --overwrite to make them again.",
        )
    write_json(record, ours)


def _refuse_others_at_work(out: Path) -> None:
    """Refuse to remove results while others write them; locks of killed runs are removed."""
    for file in out.glob(AT_WORK.format("*")):
        try:
            with suppress(OSError), locked(file):
                pass
        except LockedError as fault:
            raise _busy(out, fault.holder) from None


def _busy(out: Path, holder: str) -> DsegError:
    return DsegError(
        f"A run of other settings writes to {out} at present{f' ({holder})' if holder else ''}.",
        hint="wait until it has ended, or name another --out.",
    )


def _read_record(record: Path) -> dict[str, Any] | None:
    """Return what a record says, None without one; a damaged one is a ValueError."""
    try:
        content = read_object(record)
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise ValueError(fault.strerror or str(fault)) from fault
    added: dict[str, Any] = strict(ADDED)
    return added | content


def _difference(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    """Return which setting differs; the file's name may change, its SHA-256 may not.

    What an older record does not have and cannot be known follows from the checkpoint.
    """
    for key in ours:
        if key != "weights" and theirs.get(key, ours[key]) != ours[key]:
            was = theirs[key]
            shown = f"{was}" if isinstance(was, list) and len(was) < 9 else show(was)
            return f"{key}: {shown[:SHOWN]}, now {ours[key]!r}"
    return "" if theirs.keys() <= ours.keys() else "its record has another format"


def _make_way(out: Path, images: Iterable[ImageFile], difference: str) -> None:
    """Remove the results of images, unless others of another run would stay beside the new."""
    ours = {target for image in images for target in _targets(out, image)}
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


def _targets(out: Path, image: ImageFile) -> Iterator[Path]:
    for kind in RESULT_KINDS:
        for suffix in RESULT_SUFFIXES:
            yield out / kind / f"{image.name}.{suffix}"


def _remove(target: Path) -> None:
    try:
        target.unlink(missing_ok=True)
    except NotADirectoryError:  # so it is not there
        return
    except OSError as fault:
        raise DsegError(
            f"{target} cannot be replaced: {fault.strerror}.",
            hint="name a folder that you may write to with --out.",
            exit_code=EXIT_FAILED_INPUTS,
        ) from fault
