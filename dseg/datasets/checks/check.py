"""Read all masks of a data set once, count their values and collect faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from dseg.datasets.base import UNKNOWN, Dataset, Sample
from dseg.datasets.checks.counting import Counted, count_sample
from dseg.datasets.checks.report import DataReport, Fault, Level, Remark
from dseg.datasets.cityscapes import LABEL_IDS
from dseg.labels import IGNORE, Color
from dseg.labels.cityscapes import FIRST_SCORED_ID, LAST_TRAIN_ID
from dseg.parallel import Advance, count_cores, map_in_order

NAMED_AT_MOST = 3
SIZES_AT_MOST = 1000
MANY = 10  # pairs, of which normally at least one has pixels of both classes
PALETTES = (
    "if the colours are right, have the masks read by colour (dseg init --overwrite, which sets "
    "mask_colors = true); if the values are right, save all masks with one palette."
)
RARE = 1e-3  # fraction of the labelled pixels


def check_dataset(
    dataset: Dataset,
    *,
    unlabelled: Sequence[Path] = (),
    orphans: Sequence[Path] = (),
    decode_images: bool = False,
    workers: int | None = None,
    advance: Advance = lambda: None,
) -> DataReport:
    """Read all masks of a data set and report their contents and faults.

    Memory does not grow with the number of images, because only counts and the first file names
    of each kind of fault are kept.

    Args:
        dataset: Data set to check.
        unlabelled: Images without a mask, see ``find_dataset``.
        orphans: Masks without an image.
        decode_images: Whether to decode images too, instead of reading only their sizes.
        workers: Number of threads (default: one per core).
        advance: Function called after each sample.
    """
    tally = _Tally(dataset)
    for path in unlabelled:
        tally.note("no mask", str(path), f"{path} has no mask.", "add it, or remove the image.")
    for path in orphans:
        tally.note(
            "no image", str(path), f"{path} has no image.", "add it, or remove the mask.", "warning"
        )
    count = partial(count_sample, decode_image=decode_images)
    samples, workers = dataset.samples, workers or count_cores()
    results = map_in_order(count, samples, workers, ahead=2 * workers - 1, wait=True)
    for sample, counted in zip(samples, results, strict=True):
        tally.add(sample, counted)
        advance()
    return tally.report(len(unlabelled), len(orphans))


class _Tally:
    """Sums over the samples of one data set."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset
        self.pairs = self.bare = self.outside = self.label_ids = 0
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.kinds: Counter[str] = Counter()
        self.values = np.zeros(256, np.int64)
        self.train_ids = np.zeros(256, np.int64)
        self.images_with = np.zeros(dataset.space.num_classes, np.int64)
        self.pixels_around = np.zeros(dataset.space.num_classes, np.int64)
        self.palette: dict[int, tuple[Color, Path]] = {}  # and the first file that holds it
        self.notes: dict[tuple[Level, str], list[Remark]] = {}
        self.counts: Counter[tuple[Level, str]] = Counter()

    def note(self, kind: str, file: str, problem: str, hint: str, level: Level = "fault") -> None:
        """Count a fault, and keep its message if it is among the first of its kind."""
        self.counts[level, kind] += bool(file)
        kept = self.notes.setdefault((level, kind), [])
        if len(kept) < NAMED_AT_MOST:
            kept.append(Remark(kind, file, problem, hint))

    def add(self, sample: Sample, counted: Counted) -> None:
        """Add the counts and faults of one sample."""
        self.bare += sample.mask is None
        self.pairs += sample.mask is not None
        self.label_ids += sample.encoding == LABEL_IDS
        if counted.size is not None:
            known = counted.size in self.sizes or len(self.sizes) < SIZES_AT_MOST
            self.sizes[counted.size if known else (0, 0)] += 1
        if counted.kind:
            self.kinds[counted.kind] += 1
        self.values += counted.values
        self.outside += counted.outside
        self.train_ids += counted.train_ids
        present = counted.train_ids[: len(self.images_with)] > 0
        self.images_with += present
        self.pixels_around += present * counted.train_ids.sum()
        for remark in counted.remarks:
            self.note(*remark)
        if sample.mask is not None:
            self._note_palette(sample.mask, counted.palette)
        self._note_mask(sample, counted)

    def _note_palette(self, path: Path, palette: dict[int, Color]) -> None:
        """Add a fault if an id has another colour than in a palette before.

        It is a warning for public data sets, whose masks are known to be read by their values.
        """
        for value, color in palette.items():
            before, first = self.palette.setdefault(value, (color, path))
            if before != color:
                problem = f"{path} shows the value {value} as {color}, {first} as {before}."
                own = self.dataset.name == "folder"
                self.note("palettes", str(path), problem, PALETTES, "fault" if own else "warning")
                return

    def _note_mask(self, sample: Sample, counted: Counted) -> None:
        """Add warnings about a mask that is readable but suspicious or of no use."""
        path = sample.mask
        pixels = int(counted.train_ids.sum())
        if path is None or not pixels:
            return
        if counted.exif_rotated:
            other = {"image": "mask", "mask": "image"}[counted.exif_rotated]
            named = {"image": sample.image, "mask": path}
            problem = (
                f"The EXIF orientation of {named[counted.exif_rotated]} rotates or flips it, but "
                f"its {other} has none."
            )
            hint = "compare the two as they are displayed, and remove the tag if it is wrong."
            self.note("one of a pair turned", str(path), problem, hint, "warning")
        if counted.train_ids[IGNORE] == pixels:
            problem = f"{path} has no labelled pixel."
            hint = "it cannot be used for training: remove it and its image."
            self.note("blank", str(path), problem, hint, "warning")

    def report(self, unlabelled: int, orphans: int) -> DataReport:
        self._note_whole()
        faults = [
            Fault(
                kind=kind,
                level=level,
                count=self.counts[level, kind],
                files=tuple(remark.file for remark in remarks if remark.file),
                problem=remarks[0].problem,
                hint=remarks[0].hint,
            )
            for (level, kind), remarks in self.notes.items()
        ]
        return DataReport(
            name=self.dataset.name,
            split=self.dataset.split,
            space=self.dataset.space,
            pairs=self.pairs,
            bare=self.bare,
            unlabelled=unlabelled,
            orphans=orphans,
            sizes=self.sizes,
            kinds=self.kinds,
            values=tuple(self.values.tolist()),
            outside=self.outside,
            train_ids=tuple(self.train_ids.tolist()),
            images_with=tuple(self.images_with.tolist()),
            pixels_around=tuple(self.pixels_around.tolist()),
            faults=tuple(sorted(faults, key=lambda fault: fault.level)),  # faults first
        )

    def _note_whole(self) -> None:
        """Add faults that concern the split as a whole."""
        held = np.flatnonzero(self.values).tolist()
        labelled = int(self.train_ids[: len(self.images_with)].sum())
        if held == [0, IGNORE] and self.values[IGNORE] == self.train_ids[IGNORE]:
            self.note(
                "binary masks",
                "",
                f"All masks hold only the values 0 and 255, and 255 is ignored "
                f"({self.train_ids[IGNORE]:,} pixels).",
                "use --dataset folder with a class file that maps 255: ids = [255] for its class.",
                "fault" if len(self.images_with) == 2 and self.pairs >= MANY else "warning",
            )
        elif self.train_ids.any() and not labelled and not self.train_ids[UNKNOWN]:
            self.note(
                "no labels",
                "",
                "All pixels of all masks are ignored.",
                "this split has no public labels; train and evaluate on others."
                if self.dataset.split == "test"
                else "check --dataset and --label-space.",
                "warning" if self.dataset.split == "test" else "fault",
            )
        elif held and self.label_ids == self.pairs and held[-1] <= LAST_TRAIN_ID:
            self._note_train_ids(held)
        if labelled:
            self._note_rare(labelled)

    def _note_train_ids(self, held: list[int]) -> None:
        """Add a fault if masks named ``*_labelIds`` hold only values that train ids have.

        Real label ids above 18 include vegetation, sky and car.
        """
        if (
            held[0] < FIRST_SCORED_ID
            and self.values[:FIRST_SCORED_ID].sum() * 2 > self.values.sum()
        ):
            self.note(
                "train ids",
                "",
                f"The *_labelIds.png look like train ids: none holds a value above {held[-1]}, "
                "and most pixels would be ignored.",
                "rename them to *_labelTrainIds.png, or convert them: dseg transfer-labels --help",
            )

    def _note_rare(self, labelled: int) -> None:
        names = self.dataset.space.names
        pixels = self.train_ids[: len(names)]
        can_be = sorted(self.dataset.classes)
        never = [names[c] for c in can_be if not pixels[c]]
        rare = [
            f"{names[c]} ({pixels[c] / labelled:.3%})"
            for c in can_be
            if 0 < pixels[c] < RARE * labelled
        ]
        if never:
            many = "classes never occur" if len(never) > 1 else "class never occurs"
            problem = f"{len(never)} {many}: {', '.join(never)}."
            hint = "a network cannot learn them from this split, and means leave them out."
            self.note("never seen", "", problem, hint, "warning")
        if rare:
            problem = f"Less than {RARE:.1%} of the labelled pixels are: {', '.join(rare)}."
            hint = "consider class weights: --weights median shows them."
            self.note("rare classes", "", problem, hint, "warning")
