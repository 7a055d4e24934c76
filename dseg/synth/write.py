"""Write synthetic scenes as a data set in the layout of Cityscapes."""

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
    """Files of one scene.

    Attributes:
        image: RGB image.
        label_ids: Cityscapes label ids, 8 bits per pixel.
        instance_ids: Instance ids, 16 bits per pixel: 1000 times the label id plus a number for
            classes with instances, otherwise the label id.
        color: Labels as RGB image in the colours of Cityscapes.
    """

    image: Path
    label_ids: Path
    instance_ids: Path
    color: Path

    def complete(self) -> bool:
        """Return whether all files exist; files are written atomically, so they are complete."""
        paths = (self.image, self.label_ids, self.instance_ids, self.color)
        return all(path.is_file() for path in paths)


def scene_files(out: Path, split: str, index: int) -> SceneFiles:
    """Return the paths of a scene in ``out``."""
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
    """Write the scenes ``start`` to ``start + count - 1`` of a seed; skip existing ones.

    Args:
        out: Folder of the data set.
        count: Number of scenes.
        split: Name of the split.
        size: Height and width in pixels, 64 to 2048 each.
        seed: Seed of the data set, at least 0.
        start: Number of the first scene.
        workers: Number of processes (default: one per core).
        advance: Function called once per scene when it exists on disk.

    Returns:
        Number of scenes that were drawn.

    Raises:
        DsegError: A size or number is out of range, ``out`` has scenes of another size or seed,
            or a file cannot be written.
    """
    _check_count(count, start)
    check_numbers(seed, start, size)
    numbers = range(start, start + count)
    missing = [n for n in numbers if not scene_files(out, split, n).complete()]
    _check_recipe(out, size, seed)
    for _ in range(count - len(missing)):
        advance()
    for _ in _write_missing(out, split, seed, missing, size, workers or count_cores()):
        advance()
    return len(missing)


def _check_count(count: int, start: int) -> None:
    if count < 1:
        raise DsegError(f"The number of scenes is {count}.", hint="use 1 or more.")
    if start + count > 1_000_000:
        raise DsegError(
            f"Scene {start + count - 1} does not fit the six digits of its name.",
            hint="use fewer scenes, or another seed and folder.",
        )


def _check_recipe(out: Path, size: tuple[int, int], seed: int) -> None:
    """Write a note with size and seed; raise a DsegError if ``out`` has any other images."""
    note, text = out / NOTE, f"size {size[0]}x{size[1]}\nseed {seed}\n"
    try:
        found = note.read_text(encoding="utf-8", errors="replace")
    except OSError:
        if (out / "leftImg8bit").exists():
            raise DsegError(
                f"{out} has images but no {NOTE}, so it was not written by dseg scenes.",
                hint="use a separate folder for the scenes.",
            ) from None
        with written_whole(note) as part:
            part.write_text(text, encoding="utf-8", newline="\n")
        return
    if found != text:
        raise DsegError(
            f"{out} has scenes of {' and '.join(found.splitlines()[:2])}, not of size "
            f"{size[0]}x{size[1]} and seed {seed}.",
            hint="use a separate folder, or the same --size and --seed.",
        )


def _write_missing(
    out: Path, split: str, seed: int, numbers: list[int], size: tuple[int, int], workers: int
) -> Iterator[int]:
    """Draw and write scenes; yield the number of each scene when its files are written."""
    if workers == 1 or len(numbers) < 2:
        for number in numbers:
            yield write_scene(out, split, seed, number, size)
        return
    workers = min(workers, len(numbers))
    spawn = multiprocessing.get_context("spawn")  # forking a process with threads can deadlock
    with ProcessPoolExecutor(workers, spawn, _ignore_interrupts) as pool:
        try:
            futures = [pool.submit(write_scene, out, split, seed, n, size) for n in numbers]
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as fault:
            raise DsegError(
                "A worker process that draws scenes was terminated.",
                hint="if memory is short, use fewer workers (-j). Finished scenes are kept.",
                exit_code=EXIT_FAILED_INPUTS,
            ) from fault
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _ignore_interrupts() -> None:
    """Ignore Ctrl-C in a worker: the parent process handles it and waits for the current scene."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def write_scene(out: Path, split: str, seed: int, index: int, size: tuple[int, int]) -> int:
    """Draw one scene and write its four files; return ``index``."""
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
    """Return the colour of each label id, (256, 3) uint8; black for undefined ids."""
    table = np.zeros((256, 3), np.uint8)
    for row in CITYSCAPES_LABELS:
        table[row.id] = row.color
    return table
