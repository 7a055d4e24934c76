"""List files: which image goes with which mask, one pair a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from dseg.datasets.base import Encoding, Sample
from dseg.datasets.tree import Listing
from dseg.errors import DsegError


def read_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the words of each line that is not empty.

    Raises:
        DsegError: the file is missing, unreadable or no text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DsegError(f"{path} is no text in UTF-8.", hint="is it the right file?") from None
    except OSError as fault:
        raise DsegError(
            f"{path} cannot be read: {fault.strerror}.", hint="check that it is there."
        ) from None
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if words:
            yield number, words


def read_pair_list(path: Path, root: Path, encoding: Encoding) -> Listing:
    """Read a list of images and masks, separated by whitespace.

    Paths may have a leading slash or begin with folders that are not here, as those of SegNet's
    tutorial do (``/SegNet/CamVid/train/x.png``): the longest end of a path that exists below
    ``root`` counts.

    Raises:
        DsegError: a line without two paths, no such image, or an image named twice.
    """
    samples: dict[str, Sample] = {}
    unlabelled = []
    for number, words in read_lines(path):
        if len(words) != 2:
            raise DsegError(
                f"{path}, line {number}: {len(words)} words in place of an image and a mask.",
                hint="write both paths, separated by a space; neither may contain one.",
            )
        image, mask = (find_below(root, word) for word in words)
        if image is None:
            raise DsegError(
                f"{path}, line {number}: there is no {words[0]} in {root}.",
                hint="paths count from the data set's folder.",
            )
        name = image.relative_to(root).with_suffix("").as_posix()
        if name in samples or image in unlabelled:
            raise DsegError(f"{path}, line {number}: {name} is listed twice.", hint="keep one.")
        if mask is None:
            unlabelled.append(image)
        else:
            samples[name] = Sample(name=name, image=image, mask=mask, encoding=encoding)
    return Listing(
        samples=tuple(samples[name] for name in sorted(samples)), unlabelled=tuple(unlabelled)
    )


def find_below(root: Path, word: str) -> Path | None:
    """Return the file below ``root`` that the longest end of a path names, or None."""
    parts = [part for part in PurePosixPath(word.replace("\\", "/")).parts if part != "/"]
    if ".." in parts:
        return None
    candidates = (root.joinpath(*parts[start:]) for start in range(len(parts)))
    return next((path for path in candidates if path.is_file()), None)
