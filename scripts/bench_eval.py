"""Time dseg's evaluation and the official script on drawn scenes, and compare the scores.

Both engines run in this process on the same files. "With decoding" times PNG files to scores, as a
user waits for it: ground truth as Pillow writes it, which Cityscapes' files come from, predictions
as dseg infer writes them. "Without decoding" gives both engines the same arrays from memory, on one
core.
The official engine is unchanged but for a function that NumPy 2.4 removed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dseg.allocator import keep_freed_memory
from dseg.evaluation import evaluate_cityscapes, evaluate_official
from dseg.evaluation.cityscapes.instances import count_instances
from dseg.evaluation.cityscapes.labels import NUM_LABELS, PREDICTIONS, SCORED, TRUTH, WITH_INSTANCES
from dseg.evaluation.cityscapes.official_script import official_module, run_official
from dseg.evaluation.confusion import fold_counts, join_runs, joint_counts
from dseg.images import write_png
from dseg.parallel import count_cores

Files = tuple[list[Path], list[Path]]


def draw_scene(
    rng: np.random.Generator, height: int, width: int, things: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Draw the label ids of a street (bands, blobs of stuff, instances) and a faulty prediction.

    Returns:
        Ground truth and prediction, (H, W) uint8, and instances, (H, W) uint16.
    """
    rows, columns = np.mgrid[:height, :width]
    wave = height * 0.03 * np.sin(columns / width * 12)
    truth = np.select([rows + wave < height * 0.25, rows + wave < height * 0.55], [23, 11], 7)
    truth[-height // 10 :] = 1  # the bonnet, which is ignored
    truth = truth.astype(np.uint8)
    instances = truth.astype(np.uint16)

    def ellipse(scale: float) -> NDArray[Any]:
        middle = rng.uniform(0.1, 0.8) * height, rng.uniform(0, 1) * width
        radii = rng.uniform(0.2, 1, 2) * scale * height
        down, across = (rows - middle[0]) / radii[0], (columns - middle[1]) / radii[1]
        return np.asarray(down**2 + across**2 < 1)

    for _ in range(30):
        blob = ellipse(0.12)
        truth[blob] = instances[blob] = rng.choice([8, 12, 13, 17, 19, 20, 21, 22, 4])
    for number in range(things):
        blob, label = ellipse(0.08), rng.choice(WITH_INSTANCES)
        truth[blob], instances[blob] = label, label * 1000 + number
    prediction = np.roll(truth, (2, 3), (0, 1))  # wrong along every edge, as predictions are
    blob = ellipse(0.2)
    prediction[blob] = rng.choice(SCORED)
    prediction[prediction == 1] = 7
    return truth, prediction, instances


def write_scenes(folder: Path, options: argparse.Namespace) -> Files:
    """Write the scenes under file names of Cityscapes."""
    rng = np.random.default_rng(options.seed)
    gt_files, pred_files = [], []
    for number in range(options.images):
        frame = f"drawn_000000_{number:06}"
        truth, prediction, instances = draw_scene(
            rng, options.height, options.width, options.instances
        )
        gt_files.append(folder / f"{frame}_gtFine_labelIds.png")
        pred_files.append(folder / f"{frame}_pred.png")
        Image.fromarray(truth).save(gt_files[-1])
        write_png(pred_files[-1], prediction)
        Image.fromarray(instances).save(folder / f"{frame}_gtFine_instanceIds.png")
    return gt_files, pred_files


def best_seconds(repeat: int, call: Callable[[], object]) -> float:
    """Return the seconds of the fastest call."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def time_without_decoding(files: Files, repeat: int) -> tuple[float, float]:
    """Return the seconds of the official engine and of dseg, from arrays, on one core."""
    gt_files, pred_files = files
    names = [path.name.replace("labelIds", "instanceIds") for path in gt_files]
    paths = [*gt_files, *pred_files, *(gt_files[0].with_name(name) for name in names)]
    images = {str(path): Image.open(path).copy() for path in paths}
    arrays = {path: np.asarray(image) for path, image in images.items()}

    def ours() -> None:
        for gt_file, pred_file, name in zip(gt_files, pred_files, names, strict=True):
            paths = gt_file, pred_file, gt_file.with_name(name)
            runs, lengths = join_runs(*(arrays[str(path)] for path in paths))
            joint = joint_counts(runs[0], runs[1], lengths)
            indices = TRUTH.indices, PREDICTIONS["label"].indices
            fold_counts(joint, *indices, (NUM_LABELS, NUM_LABELS))
            count_instances(runs[2], runs[1], lengths)

    with official_module() as module:
        opener, module.Image = module.Image, SimpleNamespace(open=images.__getitem__)
        try:
            official = best_seconds(repeat, lambda: run_official(module, gt_files, pred_files))
        finally:
            module.Image = opener
    return official, best_seconds(repeat, ours)


def refuse_other_scores(files: Files) -> None:
    """Exit unless every score of both engines is the same to the last bit."""
    ours, official = evaluate_cityscapes(*files), evaluate_official(*files)
    first, second = ours.official_dict(), official.official_dict()
    for key, value in first.items():
        # repr differs for different floats, and is the same for NaN and NaN
        if repr(value) != repr(second[key]):
            sys.exit(f"The engines differ in {key}:\n{value}\n{second[key]}")
    print(f"equal to the last bit: all scores of {ours.num_images} images ({len(first)} keys)")


def main() -> None:
    """Draw scenes, compare the scores of both engines, and print their times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=24, help="pairs to draw (default: 24)")
    parser.add_argument(
        "--instances", type=int, default=40, help="instances per scene (default: 40)"
    )
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument(
        "--repeat", type=int, default=3, help="runs, of which the fastest counts (default: 3)"
    )
    parser.add_argument("--workers", type=int, default=count_cores(), help="default: all cores")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    keep_freed_memory()  # as dseg eval does
    with tempfile.TemporaryDirectory() as folder:
        files = write_scenes(Path(folder), options)
        refuse_other_scores(files)
        official = best_seconds(options.repeat, lambda: evaluate_official(*files))
        threads = dict.fromkeys((1, options.workers))
        seconds = [
            best_seconds(options.repeat, partial(evaluate_cityscapes, *files, workers=n))
            for n in threads
        ]
        bare = time_without_decoding(files, options.repeat)
    print(f"{options.width}x{options.height}, {options.instances} instances, ms per image", end="")
    print(" (with imagecodecs):" if find_spec("imagecodecs") else " (without imagecodecs):")
    each = 1000 / options.images
    print(f"  with decoding     official {official * each:7.1f}")
    for n, spent in zip(threads, seconds, strict=True):
        print(f"    dseg, {n:2} threads         {spent * each:7.1f}   {official / spent:5.1f}x")
    print(f"  without decoding  official {bare[0] * each:7.1f}")
    print(f"    dseg, one core           {bare[1] * each:7.1f}   {bare[0] / bare[1]:5.1f}x")


if __name__ == "__main__":
    main()
