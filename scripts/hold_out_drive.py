"""Split CamVid's training images by drive: train on all but one, validate on that one.

CamVid's validation frames are of the same drive as most of its training frames, so that they hardly
tell a network that knows the drive from one that knows streets. The test split stays out of it.

Example:
    python scripts/hold_out_drive.py CamVid held
    dseg train --model dabnet --dataset camvid --data-dir held --recipe small-data --out run
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path


def hold_out(source: Path, target: Path, drive: str) -> tuple[int, int]:
    """Copy the training images and masks; return the number of those to train and to validate.

    Args:
        source: folder of CamVid, with ``train`` and ``trainannot``.
        target: folder to make, with ``train``, ``trainannot``, ``val`` and ``valannot``.
        drive: the drive to validate on, such as 0006R0, with which names of files begin.
    """
    images = sorted((source / "train").iterdir())
    held = [image for image in images if image.name.startswith(f"{drive}_")]
    if not 0 < len(held) < len(images):
        raise SystemExit(f"{source}: no image of the drive {drive}, or none of another one")
    for image in images:
        split = "val" if image in held else "train"
        for kind in ("", "annot"):
            folder = target / f"{split}{kind}"
            folder.mkdir(parents=True, exist_ok=True)
            for file in (source / f"train{kind}").glob(f"{image.stem}.*"):
                shutil.copyfile(file, folder / file.name)
    return len(images) - len(held), len(held)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("source", type=Path, help="folder of CamVid")
    parser.add_argument("target", type=Path, help="folder to make")
    parser.add_argument("--drive", default="0006R0", help="drive to hold out (default: 0006R0)")
    args = parser.parse_args()
    train, val = hold_out(args.source, args.target, args.drive)
    print(f"{args.target}: {train} images to train, {val} of {args.drive} to validate")


if __name__ == "__main__":
    main()
