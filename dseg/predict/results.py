"""The results of images: what is rendered and written for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from dseg.files import write_json
from dseg.images import Pixels, write_jpeg, write_png
from dseg.labels import LabelSpace, make_lookup
from dseg.predict.coco import describe_image
from dseg.predict.inputs import ImageFile
from dseg.predict.masks import folder_of, make_mask_tables
from dseg.predict.result import Prediction
from dseg.predict.run_files import (
    FRAME,
    JOINED,
    choose_names,
    describe_kept,
    find_joined,
    find_overlays,
    find_overview,
    write_joined,
    write_overview,
)
from dseg.render import (
    OverlayStyle,
    count_pixels,
    heat_palette,
    look_up,
    make_thumb,
    render,
)


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
        shown = images and "overlay" in self.folders
        self._on_sheet = set(
            choose_names(find_overlays(out), (image.name for image in images)) if shown else ()
        )
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
        if image.name in self._on_sheet:
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
        if FRAME.fullmatch(image.name.name) and image.path.stem != image.name.name:  # of a video
            name = f"{image.name.as_posix()}.png"
        if folder == "coco":
            return describe_image(name, train_ids, self.space)
        height, width = train_ids.shape
        pixels = count_pixels(train_ids, self.space)
        return {"file": name, "width": width, "height": height, "pixels": pixels}

    def finish(self, thumbs: dict[Path, Pixels], *, changed: bool) -> list[str]:
        """Write the files of all results of the folder; those that exist stay if none changed.

        Args:
            thumbs: reduced overlays of this run, of all processes.
            changed: whether this run wrote any result.

        Returns:
            A note for each of them that is named otherwise, as the user has a file of its name.
        """
        if "overlay" in self.folders and (changed or find_overview(self.out) is None):
            images = {image.name: image.path for image in self._images}
            write_overview(self.out, thumbs, images, self.space, self.style)
        for kind in JOINED:
            if kind in self.folders and (changed or not find_joined(self.out, kind).exists()):
                write_joined(self.out, kind, self.space)
        return describe_kept(self.out, self.folders)
