"""Further masks of the same images, such as one for each object, of which a class file uses one."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path

from dseg.errors import DsegError, counted
from dseg.survey.content import count_values
from dseg.survey.groups import Group
from dseg.survey.pairs import SAMPLED, Pairing

SHOWN = 3
ADVICE = (
    "dseg reads one mask for each image: move all others away, or write them into one, as in "
    "mask = np.zeros(size, np.uint8); mask[first > 0] = 1; mask[second > 0] = 2."
)


def find_further(groups: list[Group], pairing: Pairing) -> dict[str, list[Path]]:
    """Return files that belong to an image besides its mask, by the ending of their names."""
    used = {path for pair in pairing.pairs.values() for path in pair}
    names = {
        (split, bare)
        for split, name in pairing.images.names()
        if (bare := pairing.image_ends.strip(name)) is not None
    } & _bare_keys(pairing)
    further: defaultdict[str, list[Path]] = defaultdict(list)
    for group in groups:
        if group.pattern not in (pairing.images.pattern, pairing.masks.pattern):
            continue
        for split, named in group.files.items():
            for name, path in named.items():
                ending = "" if path in used else _ending_of(name, split, names, pairing)
                if ending:
                    further[f"{ending}{group.suffix}"].append(path)
    return dict(further)


def _bare_keys(pairing: Pairing) -> set[tuple[str, str]]:
    """Return splits and names of masks that are paired, without their ends."""
    masks = {mask for _, mask in pairing.pairs.values()}
    return {
        (split, bare)
        for split, named in pairing.masks.files.items()
        for name, path in named.items()
        if path in masks and (bare := pairing.mask_ends.strip(name)) is not None
    }


def _ending_of(name: str, split: str, names: set[tuple[str, str]], pairing: Pairing) -> str:
    """Return what a name has more than that of an image, "" if it is not of one."""
    for prefix in dict.fromkeys((pairing.mask_ends.prefix, "")):
        folder, _, last = name.rpartition("/")
        short = last.removeprefix(prefix)
        for found in re.finditer(r"[_\-. ]", short):
            bare = short[: found.start()]
            if (split, f"{folder}/{bare}" if folder else bare) in names:
                return short[found.start() :]
    return ""


def refuse_several(pairing: Pairing, further: dict[str, list[Path]]) -> None:
    """Raise a DsegError if images have several masks that each mark one thing.

    Raises:
        DsegError: most of the further files and of the masks hold two values, one of them 0.
    """
    paths = [path for found in further.values() for path in found]
    masks = [mask for _, mask in pairing.pairs.values()]
    if not paths or not (_mark_one_thing(paths) and _mark_one_thing(masks)):
        return
    first = min(paths)
    image, mask = next(
        (pair for pair in pairing.pairs.values() if first.name.startswith(_stem(pair[0], pairing))),
        next(iter(pairing.pairs.values())),
    )
    shown = ", ".join(path.name for path in sorted({mask, first}))
    endings = [ending.rpartition(".")[0] for ending in further]
    numbered = all(re.fullmatch(r".*\d+", ending) for ending in endings)
    raise DsegError(
        f"{image.name} has several masks of two values ({shown}, ...), as there are "
        f"{len(paths) + len(masks)} masks for {counted(len(pairing.pairs), 'image')}: one for each "
        f"{'object' if numbered else 'class'}.",
        hint=ADVICE,
    )


def _stem(image: Path, pairing: Pairing) -> str:
    return pairing.image_ends.strip(image.stem) or image.stem


def _mark_one_thing(paths: list[Path]) -> bool:
    """Return True if most of some files hold two values, one of them 0."""
    spread = sorted(paths)[:: -(-len(paths) // SAMPLED)]
    binary = 0
    for path in spread:
        try:
            values = count_values(path)
        except DsegError:
            continue
        binary += len(values.pixels) <= 2 and 0 in values.pixels
    return 2 * binary > len(spread)


def find_folders_of_masks(groups: list[Group]) -> DsegError | None:
    """Return the error for masks in a folder for each class, or for each image; None if not."""
    for images in groups:
        for masks in groups:
            if images is masks or masks.count < 2 * images.count:
                continue
            whole = {name for _, name in images.names()}
            ends = Counter(name.partition("/")[2] for _, name in masks.names() if "/" in name)
            folders = {name.partition("/")[0] for _, name in masks.names() if "/" in name}
            per_class = sum(min(1, ends[name]) for name in whole) > len(whole) / 2
            owners = {name.partition("/")[0] for name in whole if "/" in name}
            per_image = len(owners) == images.count and len(folders & owners) > len(owners) / 2
            if not (per_class or per_image):
                continue
            example = next(iter(sorted(next(iter(masks.files.values())).values())))
            kind = "class" if per_class else "object"
            shown = f", in the folders {', '.join(sorted(folders)[:SHOWN])}" if per_class else ""
            return DsegError(
                f"There are {masks.count} masks for {images.count} images, one for each "
                f"{kind}{shown}, for example {example}.",
                hint=ADVICE,
            )
    return None
