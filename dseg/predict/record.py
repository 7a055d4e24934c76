"""What made the results in a folder, so that those of two kinds of run do not mix."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from dseg.errors import EXIT_FAILED_INPUTS, DsegError
from dseg.images import written_whole
from dseg.predict.predictor import Predictor
from dseg.predict.sources import KINDS, RECORD, ImageFile
from dseg.predict.tiles import Size

SUFFIXES = ("png", "jpg")
# what older records do not say, and mean
ADDED: dict[str, object] = {
    "input_size": None,
    "input_scale": 1.0,
    "sliding": False,
    "inplace_abn": False,
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that the masks of a folder depend on, besides the images.

    Attributes:
        network: its name in the table.
        weights: the checkpoint file's name.
        sha256: of that file.
        inplace_abn: it was read as trained with in-place activated batch norm.
        label_space: whose ids ``label_ids/`` holds.
        scales, flip, fusion, tile, overlap, sliding, input_size, input_scale: as in ``Protocol``.
        amp: the precision within the network.
    """

    network: str
    weights: str
    sha256: str
    inplace_abn: bool
    label_space: str
    scales: tuple[float, ...]
    flip: bool
    fusion: str
    tile: Size | None
    overlap: float
    sliding: bool
    input_size: Size | None
    input_scale: float
    amp: str

    @classmethod
    def of(
        cls, predictor: Predictor, weights: str, sha256: str, *, inplace_abn: bool = False
    ) -> Settings:
        """Return the settings of a predictor whose checkpoint has that name and digest."""
        protocol = predictor.protocol
        return cls(
            network=predictor.model.card.network,
            weights=weights,
            sha256=sha256,
            inplace_abn=inplace_abn,
            label_space=predictor.label_space.name,
            scales=protocol.scales,
            flip=protocol.flip,
            fusion=protocol.fusion,
            tile=protocol.tile,
            overlap=protocol.overlap,
            sliding=protocol.sliding,
            input_size=protocol.input_size,
            input_scale=protocol.input_scale,
            amp=str(predictor.amp or "float32").removeprefix("torch."),
        )


def claim_folder(
    out: Path, settings: Settings, images: Iterable[ImageFile], *, overwrite: bool
) -> None:
    """Write down how the results in a folder are made, or see that they were made the same way.

    With ``overwrite`` the results of these images are removed first, so that a run stopped
    half-way leaves no old ones among the new.

    Args:
        images: those of this run.

    Raises:
        DsegError: it holds results that were made in another way, or cannot be written.
    """
    record = out / RECORD
    ours = json.loads(json.dumps(asdict(settings)))
    theirs = _read_record(record)
    difference = _difference(theirs, ours) if theirs is not None else f"no {RECORD} says which"
    if overwrite:
        _make_way(out, images, difference)
    elif theirs is not None and not difference:
        return
    elif theirs is not None or any((out / kind).exists() for kind in KINDS):
        raise DsegError(
            f"{out} holds results of another run ({difference}).",
            hint="name another --out, or --overwrite to make them again.",
        )
    with written_whole(record) as part:
        part.write_text(json.dumps(ours, indent=2) + "\n", encoding="utf-8")


def _read_record(record: Path) -> dict[str, object] | None:
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return ADDED | content if isinstance(content, dict) else None


def _difference(theirs: dict[str, object], ours: dict[str, object]) -> str:
    """Say which setting differs; the file's name may change, its SHA-256 may not."""
    for key in ours:
        if key != "weights" and theirs.get(key) != ours[key]:
            return f"{key}: {theirs.get(key)!r}, now {ours[key]!r}"
    return "" if theirs.keys() == ours.keys() else "its record has another format"


def _make_way(out: Path, images: Iterable[ImageFile], difference: str) -> None:
    """Remove the results of images, unless others of another run would stay beside the new."""
    ours = {target for image in images for target in _targets(out, image)}
    if difference:
        for kind in KINDS:
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
    for kind in KINDS:
        for suffix in SUFFIXES:
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
