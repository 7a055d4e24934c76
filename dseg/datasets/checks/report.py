"""DataReport: contents and faults of the masks of one split, and class weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import log
from statistics import median
from typing import Any, Literal, NamedTuple

from dseg.datasets.base import UNKNOWN
from dseg.errors import DsegError, counted
from dseg.labels import LabelSpace

Level = Literal["fault", "warning"]
WeightFormula = Literal["log", "median"]


class Remark(NamedTuple):
    """One fault of one file."""

    kind: str
    file: str
    problem: str
    hint: str
    level: Level = "fault"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One kind of fault.

    Attributes:
        kind: Name of the kind.
        level: ``fault``, or ``warning`` if the data can be used nevertheless.
        count: Number of files with this fault; 0 if it concerns the whole split.
        files: The first of these files, at most three.
        problem: Description with the values of the first file.
        hint: How to correct it.
    """

    kind: str
    level: Level
    count: int
    files: tuple[str, ...]
    problem: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """Contents of one split.

    Attributes:
        name, split: Names of the data set and the split.
        space: Label space with K classes.
        pairs: Number of images with a mask.
        bare: Number of images without a mask in a split without public labels.
        unlabelled: Number of images without a mask in a labelled split.
        orphans: Number of masks without an image.
        sizes: Number of images per (height, width); (0, 0) counts all sizes after the first 1,000.
        kinds: Number of masks per storage format, such as ``8 bits`` or ``palette``.
        values: Number of pixels per mask value, 256 entries, for masks of ids.
        outside: Number of pixels whose value does not fit into 8 bits.
        train_ids: Number of pixels per train id, 256 entries; entry 254 counts invalid values.
        images_with: Number of masks that contain each class, K entries.
        pixels_around: Number of all pixels in the masks that contain each class, K entries.
        faults: Faults, followed by warnings.
    """

    name: str
    split: str
    space: LabelSpace
    pairs: int
    bare: int
    unlabelled: int
    orphans: int
    sizes: Counter[tuple[int, int]]
    kinds: Counter[str]
    values: tuple[int, ...]
    outside: int
    train_ids: tuple[int, ...]
    images_with: tuple[int, ...]
    pixels_around: tuple[int, ...]
    faults: tuple[Fault, ...]

    @property
    def class_pixels(self) -> tuple[int, ...]:
        return self.train_ids[: self.space.num_classes]

    @property
    def labelled(self) -> int:
        """Number of pixels that belong to a class."""
        return sum(self.class_pixels)

    @property
    def pixels(self) -> int:
        return sum(self.train_ids)

    @property
    def wrong(self) -> int:
        """Number of pixels with an invalid value."""
        return self.train_ids[UNKNOWN]

    @property
    def clean(self) -> bool:
        """True if there are no faults; warnings are ignored."""
        return not any(fault.level == "fault" for fault in self.faults)

    def refuse_faults(self) -> None:
        """Raise a DsegError for the first fault if there is one; ignore warnings."""
        faults = [fault for fault in self.faults if fault.level == "fault"]
        if not faults:
            return
        first = faults[0]
        others = first.count - 1 + sum(max(fault.count, 1) for fault in faults[1:])
        more = f" {counted(others, 'more fault')}." if first.count and others > 0 else ""
        kind = "" if self.name == "folder" else f"--dataset {self.name} "
        raise DsegError(
            f"{first.problem}{more}",
            hint=f"{first.hint.rstrip('.')}. All faults: dseg check-data {kind}"
            f"--data-dir DIR --split {self.split}",
        )

    def as_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        held = {str(v): pixels for v, pixels in enumerate(self.values) if pixels}
        rows = zip(self.space.names, self.class_pixels, self.images_with, strict=True)
        return {
            "pairs": self.pairs,
            "images_of_unlabelled_split": self.bare,
            "images_without_mask": self.unlabelled,
            "masks_without_image": self.orphans,
            "sizes": [
                {"height": height, "width": width, "images": count}
                for (height, width), count in self.sizes.most_common()
            ],
            "mask_kinds": dict(self.kinds.most_common()),
            "values": held,
            "pixels_above_8_bits": self.outside,
            "pixels": self.pixels,
            "pixels_labelled": self.labelled,
            "pixels_ignored": self.pixels - self.labelled - self.wrong,
            "pixels_wrong": self.wrong,
            "classes": [
                {"name": name, "pixels": pixels, "images": images} for name, pixels, images in rows
            ],
            "clean": self.clean,
            "faults": [
                {
                    "kind": fault.kind,
                    "level": fault.level,
                    "files": fault.count,
                    "first": list(fault.files),
                    "problem": fault.problem,
                    "hint": fault.hint,
                }
                for fault in self.faults
            ],
        }


def class_weights(report: DataReport, kind: WeightFormula, k: float = 1.10) -> tuple[float, ...]:
    """Return one weight per class, which is larger for rarer classes.

    ``log``: 1 / ln(k + p), where p is the class's fraction of the labelled pixels (Paszke et al.,
    ENet, 2016, section 5.2, with k = 1.02; DABNet uses 1.10). ``median``: median frequency divided
    by the class's frequency, which is the number of its pixels divided by the number of all pixels
    in images that contain it (Eigen and Fergus, ICCV 2015, section 4.3.2); 0 for absent classes.

    Raises:
        DsegError: No pixel is labelled, or ``k`` is not above 1.
    """
    if not report.labelled:
        raise DsegError(
            f"No pixel of {report.name}'s split {report.split} is labelled, so there are no class "
            "weights.",
            hint="check the masks: dseg check-data --help",
        )
    if kind == "log":
        if not k > 1:
            raise DsegError(f"k={k:g} is not above 1.", hint="use for example 1.02.")
        return tuple(1 / log(k + pixels / report.labelled) for pixels in report.class_pixels)
    frequencies = [
        pixels / around if around else 0.0
        for pixels, around in zip(report.class_pixels, report.pixels_around, strict=True)
    ]
    middle = median(f for f in frequencies if f)
    return tuple(middle / f if f else 0.0 for f in frequencies)
