"""DataReport: what the masks of one split hold, what is wrong with them, and class weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import log
from statistics import median
from typing import Any, Literal, NamedTuple

from dseg.datasets.base import UNKNOWN
from dseg.errors import DsegError
from dseg.labels import LabelSpace

Level = Literal["fault", "warning"]
WeightFormula = Literal["log", "median"]


class Remark(NamedTuple):
    """One thing that is wrong with one file."""

    kind: str
    file: str
    problem: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One kind of mistake.

    Attributes:
        kind: which, in a word or two.
        level: a ``warning`` leaves the data usable.
        count: files that have it; 0 for the whole split.
        files: the first of them, three at most.
        problem: what is wrong, with the values; of the first file where there are several.
        hint: what to do about it.
    """

    kind: str
    level: Level
    count: int
    files: tuple[str, ...]
    problem: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """What one split holds.

    Attributes:
        name, split: of the data set.
        space: its classes, K of them.
        pairs: images with a mask.
        bare: images of a split without public labels.
        unlabelled, orphans: images without mask, masks without image.
        sizes: images of each (height, width); beyond 1,000 sizes, those under (0, 0).
        kinds: masks by how they are stored.
        values: pixels of each value of masks of ids, 256 numbers.
        outside: pixels of values that 8 bits cannot hold.
        train_ids: pixels of each train id, 256 numbers; 254 counts wrong values.
        images_with: masks in which each class occurs, K numbers.
        pixels_around: all pixels of those masks, K numbers.
        faults: faults, then warnings.
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
        """Pixels of any class."""
        return sum(self.class_pixels)

    @property
    def pixels(self) -> int:
        return sum(self.train_ids)

    @property
    def wrong(self) -> int:
        """Pixels of values that mean nothing."""
        return self.train_ids[UNKNOWN]

    @property
    def clean(self) -> bool:
        """Whether there is no fault; warnings do not count."""
        return not any(fault.level == "fault" for fault in self.faults)

    def refuse_faults(self) -> None:
        """Raise a DsegError for the first fault, if there is one."""
        faults = [fault for fault in self.faults if fault.level == "fault"]
        if not faults:
            return
        first = faults[0]
        others = first.count - 1 + sum(max(fault.count, 1) for fault in faults[1:])
        more = f" {others} more fault{'s' * (others > 1)}." if first.count and others > 0 else ""
        raise DsegError(
            f"{first.problem}{more}",
            hint=f"{first.hint.rstrip('.')}. All faults: dseg check-data --dataset {self.name} "
            f"--split {self.split}",
        )

    def as_json(self) -> dict[str, Any]:
        """Return all of it in the types of JSON."""
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
    """Return one weight a class, the larger the rarer.

    ``log``: 1 / ln(k + p) with a class's share p of the labelled pixels (Paszke et al., ENet, 2016,
    section 5.2, with k = 1.02; DABNet takes 1.10). ``median``: median frequency over the class's
    frequency, which is its pixels over all pixels of the images that it occurs in (Eigen and
    Fergus, ICCV 2015, section 4.3.2); 0 for a class that never occurs.

    Raises:
        DsegError: no pixel is labelled, or ``k`` is not above 1.
    """
    if not report.labelled:
        raise DsegError(
            f"No pixel of {report.name}'s split {report.split} is labelled, so classes have no "
            "weights.",
            hint="look at the masks: dseg check-data --help",
        )
    if kind == "log":
        if not k > 1:
            raise DsegError(f"k={k:g} gives no weights.", hint="use more than 1, such as 1.02.")
        return tuple(1 / log(k + pixels / report.labelled) for pixels in report.class_pixels)
    shares = [
        pixels / around if around else 0.0
        for pixels, around in zip(report.class_pixels, report.pixels_around, strict=True)
    ]
    middle = median(share for share in shares if share)
    return tuple(middle / share if share else 0.0 for share in shares)
