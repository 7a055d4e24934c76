"""The results of images: what is rendered and written for each of them, and of a whole run."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from dseg.errors import DsegError
from dseg.files import write_json, written_whole
from dseg.images import Pixels, read_image, read_size, write_jpeg, write_png
from dseg.labels import LabelSpace, make_lookup
from dseg.predict.coco import describe_image, join, read_part
from dseg.predict.inputs import ImageFile
from dseg.predict.masks import folder_of, make_mask_tables
from dseg.predict.result import Prediction
from dseg.render import (
    OverlayStyle,
    choose_evenly,
    count_pixels,
    draw_sheet,
    heat_palette,
    look_up,
    make_thumb,
    render,
)

JOINED = {"coco": "coco.json", "areas": "areas.csv"}  # files of a run, by kind
OVERVIEW = "overview.jpg"
SHEET_QUALITY = 85


class Results:
    """Writes the results of images below a folder.

    Args:
        out: folder of all results.
        kinds: kinds of results, from ``RESULT_KINDS``, or ``mask:`` and class names.
        space: the classes.
        style: how overlays look.
        overlay_format: ``png`` or ``jpg``.
        images: the images of the run, some of which the contact sheet shows.

    Raises:
        DsegError: the network has no such class.
    """

    def __init__(
        self,
        out: Path,
        kinds: Sequence[str],
        space: LabelSpace,
        style: OverlayStyle,
        overlay_format: str = "png",
        images: Sequence[ImageFile] = (),
    ) -> None:
        self.out, self.space, self.style = out, space, style
        self.folders = [folder_of(kind) for kind in kinds]
        self.overlay_format = overlay_format
        self._masks = make_mask_tables(kinds, space)
        to_label_ids = make_lookup(enumerate(space.label_ids), default=space.void_label_id)
        self._label_ids = np.frombuffer(to_label_ids, np.uint8)
        self._images = images
        shown = "overlay" in self.folders and len(images) > 1
        self._on_sheet = [images[i] for i in choose_evenly(len(images))] if shown else []
        self.thumbs: dict[Path, Pixels] = {}
        self._lock = Lock()

    def target(self, folder: str, image: ImageFile) -> Path:
        """Return the file of a result."""
        suffix = "json" if folder in JOINED else "png"
        if folder == "overlay":
            suffix = self.overlay_format
        return self.out / folder / f"{image.name}.{suffix}"

    def exist(self, image: ImageFile) -> bool:
        """Return True if all results of an image exist."""
        return all(self.target(folder, image).exists() for folder in self.folders)

    def write(
        self,
        image: ImageFile,
        pixels: Pixels,
        prediction: Prediction,
        overlay: Pixels | None = None,
    ) -> None:
        """Write all kinds of results of an image.

        Args:
            overlay: the overlay, if it is drawn already.
        """
        if overlay is None and "overlay" in self.folders:
            overlay = self.render_overlay(image, pixels, prediction)
        for folder in self.folders:
            target = self.target(folder, image)
            if folder in JOINED:
                write_json(target, self._describe(folder, image, prediction.train_ids))
                continue
            rendered, palette = self._render(folder, prediction, overlay)
            if target.suffix == ".jpg":
                write_jpeg(target, rendered)
            else:
                write_png(target, rendered, palette)

    def render_overlay(self, image: ImageFile, pixels: Pixels, prediction: Prediction) -> Pixels:
        """Return the overlay of an image, and keep it for the contact sheet if that shows it."""
        overlay = render(pixels, prediction.train_ids, self.space, self.style)
        if image in self._on_sheet:
            thumb = make_thumb(overlay[: pixels.shape[0], -pixels.shape[1] :])
            with self._lock:
                self.thumbs[image.name] = thumb
        return overlay

    def _render(
        self, folder: str, prediction: Prediction, overlay: Pixels | None
    ) -> tuple[Pixels, list[int] | None]:
        """Return the pixels of a kind of result, and their palette if they are shown in colour."""
        if folder == "color":
            return prediction.train_ids, self.space.palette()
        if folder == "overlay":
            assert overlay is not None
            return overlay, None
        if folder == "confidence":
            assert prediction.confidence is not None
            return prediction.confidence, None
        if folder == "entropy":
            assert prediction.entropy is not None
            return prediction.entropy, heat_palette()
        if folder == "label_ids":
            return look_up(self._label_ids, prediction.train_ids), None
        if folder in self._masks:
            return look_up(self._masks[folder], prediction.train_ids), None
        return prediction.train_ids, None

    def _describe(self, folder: str, image: ImageFile, train_ids: Pixels) -> dict[str, Any]:
        name = (image.name.parent / image.path.name).as_posix()
        if folder == "coco":
            return describe_image(name, train_ids, self.space)
        height, width = train_ids.shape
        pixels = count_pixels(train_ids, self.space)
        return {"file": name, "width": width, "height": height, "pixels": pixels}

    # Files of the whole run

    def finish(self, thumbs: dict[Path, Pixels], *, changed: bool) -> None:
        """Write the files of the whole run; those that exist stay if no result has changed.

        Images whose results an earlier run wrote are included.

        Args:
            thumbs: reduced overlays of this run, of all processes.
            changed: whether this run wrote any result.
        """
        if self._on_sheet and (changed or not (self.out / OVERVIEW).exists()):
            shown = []
            for image in self._on_sheet:
                thumb = thumbs.get(image.name)
                thumb = self._read_thumb(image) if thumb is None else thumb
                if thumb is not None:
                    shown.append((str(image.name), thumb))
            if shown:
                write_jpeg(
                    self.out / OVERVIEW,
                    draw_sheet(shown, self.space, self.style.opacity),
                    SHEET_QUALITY,
                )
        for folder, name in JOINED.items():
            if folder in self.folders and (changed or not (self.out / name).exists()):
                parts = [self.target(folder, image) for image in self._images]
                parts = [part for part in parts if part.exists()]
                with written_whole(self.out / name) as target:
                    if folder == "coco":
                        join(parts, self.space, target)
                    else:
                        _join_areas(parts, self.space, target)

    def _read_thumb(self, image: ImageFile) -> Pixels | None:
        """Return the reduced overlay that an earlier run wrote, None if there is none."""
        try:
            height, width = read_size(image.path)
            overlay = read_image(self.target("overlay", image))
        except DsegError:
            return None
        return make_thumb(overlay[:height, -width:])


def _join_areas(parts: Iterable[Path], space: LabelSpace, target: Path) -> None:
    """Write a table: a row for each image, with the fraction of each class of its pixels."""
    with target.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "width", "height", *space.names])
        for part in parts:
            name, width, height, pixels = read_part(part, "file", "width", "height", "pixels")
            fractions = [f"{count / (width * height):.6f}" for count in pixels]
            table.writerow([name, width, height, *fractions])
