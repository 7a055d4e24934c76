"""Find the prediction that belongs to each ground-truth file."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from dseg.datasets.listing import name_kinds, normal_name
from dseg.errors import DsegError
from dseg.files import walk_files
from dseg.images import RESULT_KINDS

if TYPE_CHECKING:
    from dseg.datasets import Dataset, Sample

GT_SUFFIX = "_gtFine_labelIds.png"
GT_PATTERN = f"*{GT_SUFFIX}"
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".webp")  # formats that can store ids exactly
MAX_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Ground truth and predictions in the same order.

    Attributes:
        gt_files: ground-truth files, sorted by path.
        pred_files: the prediction of each.
        missing: ground-truth files without a prediction; empty unless that was allowed.
    """

    gt_files: list[Path]
    pred_files: list[Path]
    missing: list[Path]


def prediction_folder(pred_dir: Path, kind: str = "label_ids") -> Path:
    """Return the sub-folder of a kind if ``pred_dir`` was written by ``dseg infer --out``.

    Args:
        pred_dir: folder of predictions.
        kind: "label_ids" or "train_ids".

    Returns:
        ``pred_dir / kind`` if it exists beside folders of other kinds, else ``pred_dir``.
    """
    present = [name for name in RESULT_KINDS if (pred_dir / name).is_dir()]
    return pred_dir / kind if kind in present and len(present) > 1 else pred_dir


def find_cityscapes_pairs(gt_dir: Path, pred_dir: Path, *, allow_missing: bool = False) -> Pairs:
    """Pair ``<frame>_gtFine_labelIds.png`` with ``<frame>*.png``, each at any depth.

    A frame is ``<city>_<sequence>_<number>``; the next character of the prediction's name must
    not be a letter or digit.

    Args:
        gt_dir: folder of the ground truth, such as ``gtFine/val``.
        pred_dir: folder of the predictions.
        allow_missing: leave out ground truth that has no prediction.

    Raises:
        DsegError: a folder is missing or empty, two files claim one frame, or a prediction is
            missing.
    """
    gt_files = _find_files(
        gt_dir, GT_PATTERN, "ground-truth", lambda name: name.endswith(GT_SUFFIX)
    )
    pred_files = _find_files(pred_dir, "*.png", "prediction", lambda name: name.endswith(".png"))
    frames: dict[str, list[Path]] = defaultdict(list)
    for gt_file in gt_files:
        frames[normal_name(gt_file.name.removesuffix(GT_SUFFIX))].append(gt_file)
    _refuse_two(frames, "ground-truth files", "name one split with --gt-dir.")
    predictions: dict[str, list[Path]] = defaultdict(list)
    for pred_file in pred_files:
        for frame in _prefixes(normal_name(pred_file.name)):
            if frame in frames:
                predictions[frame].append(pred_file)
                break
    _refuse_two(
        predictions, "predictions", "keep one PNG for each frame, and colours in another folder."
    )
    wanted = [(files[0], predictions.get(frame, [])) for frame, files in frames.items()]
    return _make_pairs(wanted, pred_dir, allow_missing)


def find_folder_pairs(gt_dir: Path, pred_dir: Path, *, allow_missing: bool = False) -> Pairs:
    """Pair masks by their path below the folder without suffix, or else by a unique file name.

    Args:
        gt_dir: folder of ground-truth masks, at any depth.
        pred_dir: folder of the predictions, at any depth.
        allow_missing: leave out ground truth that has no prediction.

    Raises:
        DsegError: as ``find_cityscapes_pairs``.
    """
    pattern = ", ".join(f"*{suffix}" for suffix in MASK_SUFFIXES)
    gt_files = _find_files(gt_dir, pattern, "ground-truth", _is_mask)
    pred_files = _find_files(pred_dir, pattern, "prediction", _is_mask)
    truths: dict[str, list[Path]] = defaultdict(list)
    for path in gt_files:
        truths[_stem_below(path, gt_dir)].append(path)
    _refuse_two(truths, "ground-truth files", "keep one mask for each image.")
    by_path: dict[str, list[Path]] = defaultdict(list)
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path in pred_files:
        by_path[_stem_below(path, pred_dir)].append(path)
        by_name[normal_name(path.stem)].append(path)
    namesakes = Counter(normal_name(path.stem) for path in gt_files)
    wanted = []
    for key, (path,) in truths.items():
        stem = normal_name(path.stem)
        by_stem = by_name.get(stem, []) if namesakes[stem] == 1 else []
        wanted.append((path, by_path.get(key) or by_stem))
    claimed = {str(path): files for path, files in wanted}
    _refuse_two(
        claimed, "predictions", "keep one mask for each image, in the tree of the ground truth."
    )
    return _make_pairs(wanted, pred_dir, allow_missing)


def find_dataset_pairs(dataset: Dataset, pred_dir: Path, *, allow_missing: bool = False) -> Pairs:
    """Pair the masks of a split with predictions, by the name of the sample or of its image.

    A prediction's path without suffix is the sample's name, or the end of the image's path from
    any folder on, as ``dseg infer`` writes it. Otherwise its file name must be that of one sample
    only.

    Args:
        dataset: the split.
        pred_dir: folder of the predictions, at any depth.
        allow_missing: leave out samples that have no prediction.

    Returns:
        The masks of the samples, in their order, as ground truth.

    Raises:
        DsegError: the split has no masks, or as ``find_cityscapes_pairs``.
    """
    masks = masks_of(dataset)
    pattern = ", ".join(f"*{suffix}" for suffix in MASK_SUFFIXES)
    by_path: dict[str, list[Path]] = defaultdict(list)
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for path in _find_files(pred_dir, pattern, "prediction", _is_mask):
        by_path[_stem_below(path, pred_dir)].append(path)
        by_stem[normal_name(path.stem)].append(path)
    paths, stems = [_paths_of(s) for s in dataset.samples], [_stems_of(s) for s in dataset.samples]
    owned_paths, owned_stems = Counter(chain(*paths)), Counter(chain(*stems))
    wanted = []
    for mask, sample, own_paths, own_stems in zip(
        masks, dataset.samples, paths, stems, strict=True
    ):
        found = _of_one(own_paths, owned_paths, by_path) or _of_one(own_stems, owned_stems, by_stem)
        _refuse_two({sample.name: found}, "predictions", "keep one mask for each image.")
        wanted.append((mask, found))
    return _make_pairs(wanted, pred_dir, allow_missing, one_split="name the right --split")


def masks_of(dataset: Dataset) -> list[Path]:
    """Return the masks of all samples.

    Raises:
        DsegError: a sample has no mask.
    """
    masks = [sample.mask for sample in dataset.samples if sample.mask is not None]
    if len(masks) < len(dataset):
        raise DsegError(
            f"{len(dataset) - len(masks)} of {len(dataset)} images of the split {dataset.split} "
            f"of {dataset.name} have no mask.",
            hint="its labels may not be public; name a split that has them with --split.",
        )
    return masks


def _paths_of(sample: Sample) -> set[str]:
    """Return the sample's name and the ends of its image's path, two components or more."""
    parts = sample.image.absolute().with_suffix("").parts[1:]
    ends = ("/".join(parts[start:]) for start in range(len(parts) - 1))
    return {normal_name(name) for name in (sample.name, *ends)}


def _stems_of(sample: Sample) -> set[str]:
    return {normal_name(sample.name.rpartition("/")[2]), normal_name(sample.image.stem)}


def _of_one(
    keys: Iterable[str], owned: Mapping[str, int], found: Mapping[str, list[Path]]
) -> list[Path]:
    """Return the files found under the keys that belong to one sample only."""
    return sorted(path for key in keys if owned[key] == 1 for path in found.get(key, ()))


def _find_files(folder: Path, pattern: str, what: str, wanted: Callable[[str], bool]) -> list[Path]:
    """Return the wanted files below a folder, sorted.

    Raises:
        DsegError: the folder does not exist, or there is none.
    """
    option = "--gt-dir" if what == "ground-truth" else "--pred-dir"
    if not folder.is_dir():
        raise DsegError(
            f"The {what} folder {folder} does not exist (searched for {folder}/**/{pattern}).",
            hint=f"check the spelling of {option}.",
        )
    files = sorted(path for path in walk_files(folder) if wanted(path.name))
    if not files:
        raise DsegError(
            f"No {what} file in {folder} (searched for {folder}/**/{pattern}); found: "
            f"{name_kinds(folder)}.",
            hint=f"check {option} and --label-space.",
        )
    return files


def _is_mask(name: str) -> bool:
    return name.lower().endswith(MASK_SUFFIXES)


def _stem_below(path: Path, folder: Path) -> str:
    return normal_name(path.relative_to(folder).with_suffix("").as_posix())


def _prefixes(name: str) -> list[str]:
    """Return the prefixes of a name that end before a separator, longest first."""
    return [name[: match.start()] for match in re.finditer(r"[^0-9A-Za-z]", name)][::-1]


def _refuse_two(found: Mapping[str, list[Path]], what: str, hint: str) -> None:
    for key, files in found.items():
        if len(files) > 1:
            raise DsegError(f"Two {what} for {key}: {files[0]} and {files[1]}.", hint=hint)


def _make_pairs(
    wanted: Iterable[tuple[Path, list[Path]]],
    pred_dir: Path,
    allow_missing: bool,
    one_split: str = "let --gt-dir name one split",
) -> Pairs:
    wanted = list(wanted)
    missing = [gt_file for gt_file, found in wanted if not found]
    if len(missing) == len(wanted) or (missing and not allow_missing):
        raise DsegError(
            f"{len(missing)} of {len(wanted)} ground-truth files have no prediction in "
            f"{pred_dir}: {first_of(missing)}.",
            hint=f"check --pred-dir and the names in it, {one_split}, or score the others with "
            "--allow-missing.",
        )
    return Pairs(
        gt_files=[gt_file for gt_file, found in wanted if found],
        pred_files=[found[0] for _, found in wanted if found],
        missing=missing,
    )


def first_of(files: Sequence[Path]) -> str:
    """Return the names of the first files, for a message."""
    names = ", ".join(path.name for path in files[:MAX_NAMED])
    return names + (", ..." if len(files) > MAX_NAMED else "")


def find_image_pairs(dataset: Dataset, *, official: bool = False) -> Pairs:
    """Pair the masks of a split with their images, for a network to predict.

    Args:
        dataset: the split.
        official: require ``*_labelIds.png``, and sort as ``find_cityscapes_pairs`` does.

    Raises:
        DsegError: a mask is missing, or with ``official`` is not a file of label ids.
    """
    pairs = list(zip(masks_of(dataset), (s.image for s in dataset.samples), strict=True))
    if official:
        pairs.sort()
        others = [mask for mask, _ in pairs if not mask.name.endswith("labelIds.png")]
        if others:
            raise DsegError(
                f"{len(others)} of {len(pairs)} masks are not *_labelIds.png, which the official "
                f"scores require: {first_of(others)}.",
                hint="compute plain scores with --label-space cityscapes.",
            )
    return Pairs(
        gt_files=[mask for mask, _ in pairs],
        pred_files=[image for _, image in pairs],
        missing=[],
    )
