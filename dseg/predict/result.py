"""Prediction: the labels of an image, with what a user does next with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dseg.errors import DsegError
from dseg.images import Pixels, write_jpeg, write_png
from dseg.labels import LabelSpace, make_lookup
from dseg.protocol import Size
from dseg.render import heat_palette, look_up, render_overlay

SAVED_KINDS = ("overlay", "color", "label_ids", "train_ids", "confidence", "entropy")
SHOWN_CLASSES = 4  # in repr
NOTEBOOK_SIDE = 800  # pixels; longer side of the overlay that a notebook shows
JPEG_SUFFIXES = (".jpg", ".jpeg")
Probabilities = NDArray[np.float32]


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """The labels of an image, as returned by a ``Predictor``.

    A notebook shows it as an overlay. ``numpy.asarray`` returns the train ids.

    Example:
        >>> prediction = dseg.load("dabnet")("street.jpg")
        >>> prediction.areas()
        {'road': 0.412, 'building': 0.223, 'sky': 0.155, 'car': 0.064}
        >>> prediction.save("street-overlay.png")

    Attributes:
        train_ids: (H, W) uint8, at the image's size; 255 for outputs that are not a class.
        space: the classes, with their names, colours and label ids.
        confidence: (H, W) uint8, the probability of each pixel's class, 255 for 1.0; None unless
            requested.
        tile: (height, width) of the tiles that were used, None for the whole image.
        image: (H, W, 3) uint8, RGB, the image; None in ``predict_folder``, which keeps none.
        entropy: (H, W) uint8, the entropy of each pixel's probabilities, 0 for certainty, 255 for
            all classes being equally probable; None unless requested.
        find_probabilities: computes what ``probabilities`` returns.
    """

    train_ids: Pixels
    space: LabelSpace
    confidence: Pixels | None = None
    tile: Size | None = None
    image: Pixels | None = None
    entropy: Pixels | None = None
    find_probabilities: Callable[[], Probabilities] | None = None

    @property
    def label_ids(self) -> Pixels:
        """(H, W) uint8: the values of the data set's masks, which its evaluation reads."""
        pairs = enumerate(self.space.label_ids)
        table = make_lookup(pairs, default=self.space.void_label_id)
        return look_up(np.frombuffer(table, np.uint8), self.train_ids)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes in the image, by decreasing area."""
        return tuple(self.areas())

    def areas(self) -> dict[str, float]:
        """Return the fraction of the image that each class covers, 0 to 1, by decreasing area.

        Classes that do not occur are left out, as are pixels of no class, so that the sum can be
        below 1.
        """
        counts = np.asarray(Image.fromarray(self.train_ids).histogram()[: self.space.num_classes])
        order = np.argsort(-counts, kind="stable")
        total = self.train_ids.size
        return {self.space.names[i]: int(counts[i]) / total for i in order if counts[i]}

    def mask(self, name: str) -> NDArray[np.bool_]:
        """Return where a class is, (H, W) bool.

        Raises:
            DsegError: there is no class of that name.
        """
        known = {own.lower(): index for index, own in enumerate(self.space.names)}
        if name.lower() not in known:
            raise DsegError(
                f"There is no class {name!r}.", hint=f"the classes: {', '.join(self.space.names)}."
            )
        found: NDArray[np.bool_] = self.train_ids == known[name.lower()]
        return found

    def probabilities(self) -> Probabilities:
        """Return the probability of each class, (K, H, W) float32, which takes K x 4 bytes a pixel.

        The network computes the image once more, as the scores of the first time are not kept. If
        it has a background output, a pixel's sum is below 1.

        Raises:
            DsegError: an exported file gives labels only, or the image was not kept.
        """
        if self.find_probabilities is None:
            raise DsegError(
                "This prediction has no image to compute probabilities of.",
                hint="call the predictor with the image.",
            )
        return self.find_probabilities()

    def overlay(self, **options: Any) -> Image.Image:
        """Return the image tinted with the colours of its classes, with a legend.

        Args:
            options: arguments of ``dseg.render.render_overlay``, such as ``opacity=0.4``.

        Raises:
            DsegError: a value is out of range, or the image was not kept.
        """
        if self.image is None:
            raise DsegError(
                "This prediction has no image to draw on.",
                hint="call the predictor with the image.",
            )
        drawn = render_overlay(
            image=self.image, train_ids=self.train_ids, space=self.space, **options
        )
        return Image.fromarray(drawn)

    def color(self) -> Image.Image:
        """Return the classes as a palette image: values are train ids, shown in colour."""
        found = Image.fromarray(self.train_ids)
        found.putpalette(self.space.palette())
        return found

    def save(self, path: Path | str, kind: str = "overlay", **options: Any) -> Path:
        """Write the prediction to an image file, and return its path.

        Args:
            path: the file, ``.png``; an overlay can also be ``.jpg``.
            kind: ``overlay``; ``color``, train ids with a palette; ``label_ids``, ``train_ids``,
                ``confidence`` or ``entropy``: files as of ``dseg infer``.
            options: arguments of ``overlay``.

        Raises:
            DsegError: unknown kind or suffix, ids in a JPEG, or the file cannot be written.
        """
        path = Path(path)
        self._check_file(path, kind)
        if kind == "overlay":
            pixels, palette = np.asarray(self.overlay(**options)), None
        elif kind == "color":
            pixels, palette = self.train_ids, self.space.palette()
        elif kind == "entropy" and self.entropy is not None:
            pixels, palette = self.entropy, heat_palette()
        else:
            pixels, palette = getattr(self, kind), None
        if path.suffix.lower() in JPEG_SUFFIXES:
            write_jpeg(path, pixels)
        else:
            write_png(path, pixels, palette)
        return path

    def _check_file(self, path: Path, kind: str) -> None:
        if kind not in SAVED_KINDS:
            known = ", ".join(SAVED_KINDS)
            raise DsegError(f"Unknown kind of result {kind!r}.", hint=f"use one of: {known}.")
        if kind in ("confidence", "entropy") and getattr(self, kind) is None:
            raise DsegError(
                f"This prediction has no {kind}.",
                hint=f"request it: predictor.predict(image, {kind}=True).",
            )
        jpeg = path.suffix.lower() in JPEG_SUFFIXES
        if path.suffix.lower() != ".png" and not jpeg:
            raise DsegError(
                f"{path} does not end in .png or .jpg.", hint="name a file such as overlay.png."
            )
        if jpeg and kind != "overlay":
            raise DsegError(
                f"A JPEG would change the values of {kind}.", hint="name a file that ends in .png."
            )

    def _repr_png_(self) -> bytes | None:
        """Return the overlay as a PNG of moderate size, which notebooks show."""
        if self.image is None:
            return None
        small, side = self, max(self.train_ids.shape)
        if side > NOTEBOOK_SIDE:
            height, width = (
                max(1, round(length * NOTEBOOK_SIDE / side)) for length in self.train_ids.shape
            )
            image = Image.fromarray(self.image).resize((width, height))
            train_ids = Image.fromarray(self.train_ids).resize(
                (width, height), Image.Resampling.NEAREST
            )
            small = replace(self, image=np.asarray(image), train_ids=np.asarray(train_ids))
        file = BytesIO()
        small.overlay().save(file, "PNG")
        return file.getvalue()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the train ids."""
        if copy:
            return np.array(self.train_ids, dtype=dtype)
        return np.asarray(self.train_ids, dtype=dtype)

    def __repr__(self) -> str:
        areas = list(self.areas().items())
        shown = [f"{name} {100 * area:.0f} %" for name, area in areas[:SHOWN_CLASSES]]
        if len(areas) > SHOWN_CLASSES:
            shown.append(f"{len(areas) - SHOWN_CLASSES} more")
        height, width = self.train_ids.shape
        found = ", ".join(shown) or "no class"
        return f"Prediction({height}x{width}, {self.space.name}: {found})"
