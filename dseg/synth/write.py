"""Drawn scenes as a data set on disk, in the layout and under the names of Cityscapes."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from dseg.errors import EXIT_FAILED_INPUTS, DsegError
from dseg.files import written_whole
from dseg.images import Pixels, write_png
from dseg.labels import CITYSCAPES_LABELS
from dseg.parallel import Advance, count_cores
from dseg.synth.compose import check_numbers, draw_scene

CITY = "dsegville"
FRAME = "000019"
NOTE = "scenes.txt"


@dataclass(frozen=True, kw_only=True)
class SceneFiles:
    """The files of one scene.

    Attributes:
        image: RGB.
        label_ids: 8 bits a pixel.
        instance_ids: 16 bits a pixel; 1000 times the label id and a number for each thing.
        color: RGB in the colours of Cityscapes.
    """

    image: Path
    label_ids: Path
    instance_ids: Path
    color: Path

    def complete(self) -> bool:
        """Return whether all files are there; each is whole if it is there at all."""
        paths = (self.image, self.label_ids, self.instance_ids, self.color)
        return all(path.is_file() for path in paths)


def scene_files(out: Path, split: str, index: int) -> SceneFiles:
    """Return the paths of a scene below ``out``."""
    name = f"{CITY}_{index:06d}_{FRAME}"
    masks = out / "gtFine" / split / CITY
    return SceneFiles(
        image=out / "leftImg8bit" / split / CITY / f"{name}_leftImg8bit.png",
        label_ids=masks / f"{name}_gtFine_labelIds.png",
        instance_ids=masks / f"{name}_gtFine_instanceIds.png",
        color=masks / f"{name}_gtFine_color.png",
    )


def write_scenes(
    out: Path,
    count: int,
    *,
    split: str = "train",
    size: tuple[int, int] = (512, 1024),
    seed: int = 0,
    start: int = 0,
    workers: int | None = None,
    advance: Advance = lambda: None,
) -> int:
    """Write scenes ``start`` to ``start + count - 1`` of a seed; those that are there stay.

    Args:
        size: height and width, 64 to 2048 each.
        workers: processes; by default one a core.
        advance: called once for each scene that is on disk.

    Returns:
        How many were drawn now.

    Raises:
        DsegError: a size or number out of range, scenes of another size or seed in ``out``, or
            files that cannot be written.
    """
    _check_count(count, start)
    check_numbers(seed, start, size)
    numbers = range(start, start + count)
    missing = [n for n in numbers if not scene_files(out, split, n).complete()]
    _check_recipe(out, size, seed)
    for _ in range(count - len(missing)):
        advance()
    for _ in _drawn(out, split, seed, missing, size, workers or count_cores()):
        advance()
    return len(missing)


def _check_count(count: int, start: int) -> None:
    if count < 1:
        raise DsegError(f"{count} scenes are none.", hint="ask for 1 or more.")
    if start + count > 1_000_000:
        raise DsegError(
            f"Scene {start + count - 1} does not fit the six digits of its name.",
            hint="ask for fewer, or take another seed and folder.",
        )


def _check_recipe(out: Path, size: tuple[int, int], seed: int) -> None:
    """Leave a note of what the scenes were made from; refuse to mix them with other images."""
    note, text = out / NOTE, f"size {size[0]}x{size[1]}\nseed {seed}\n"
    try:
        found = note.read_text(encoding="utf-8", errors="replace")
    except OSError:
        if (out / "leftImg8bit").exists():
            raise DsegError(
                f"{out} holds images, and no {NOTE} that says they are drawn scenes.",
                hint="give the scenes a folder of their own.",
            ) from None
        with written_whole(note) as part:
            part.write_text(text, encoding="utf-8")
        return
    if found != text:
        raise DsegError(
            f"{out} holds scenes of {' and '.join(found.splitlines()[:2])}, not of size "
            f"{size[0]}x{size[1]} and seed {seed}.",
            hint="give these scenes a folder of their own, or the same --size and --seed.",
        )


def _drawn(
    out: Path, split: str, seed: int, numbers: list[int], size: tuple[int, int], workers: int
) -> Iterator[int]:
    """Draw and write scenes, yielding each number when its files are there."""
    if workers == 1 or len(numbers) < 2:
        for number in numbers:
            yield write_scene(out, split, seed, number, size)
        return
    workers = min(workers, len(numbers))
    spawn = multiprocessing.get_context("spawn")  # a fork of many threads may hang
    with ProcessPoolExecutor(workers, spawn, _leave_interrupts) as pool:
        try:
            futures = [pool.submit(write_scene, out, split, seed, n, size) for n in numbers]
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as fault:
            raise DsegError(
                "A process that draws scenes was ended from outside.",
                hint="memory may be short: use fewer workers (-j). What is written stays.",
                exit_code=EXIT_FAILED_INPUTS,
            ) from fault
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _leave_interrupts() -> None:
    """Let Ctrl-C end the process that waits; it lets this one finish its scene."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def write_scene(out: Path, split: str, seed: int, index: int, size: tuple[int, int]) -> int:
    """Draw one scene and write its four files; returns ``index``."""
    image, label_ids, instance_ids = draw_scene(seed, index, size)
    files = scene_files(out, split, index)
    write_png(files.image, image)
    write_png(files.color, _colors()[label_ids])
    with written_whole(files.instance_ids) as part:
        wide = Image.fromarray(instance_ids.astype(np.uint16))
        wide.save(part, "PNG", compress_level=6)
    write_png(files.label_ids, label_ids)
    return index


@cache
def _colors() -> Pixels:
    """Return (256, 3): the colour of each label id, black for what has none."""
    table = np.zeros((256, 3), np.uint8)
    for row in CITYSCAPES_LABELS:
        table[row.id] = row.color
    return table
