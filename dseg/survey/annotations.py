"""Masks from the polygons of annotation tools: LabelMe's JSON files, and COCO and CVAT exports.

LabelMe's files are read here; the others by Datumaro (Apache-2.0), an optional dependency.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from dseg.errors import DsegError
from dseg.files import walk_files, written_whole
from dseg.images import IMAGE_SUFFIXES, Pixels, read_size, write_png
from dseg.jsonio import read_object
from dseg.parallel import Progress

MASKS = "masks"
TABLE = "labels.csv"
LOOKED_AT_MOST = 50  # files, to find out their kind
BACKGROUND = "background"
FORMATS = ("coco_instances", "coco", "cvat", "label_me", "roboflow_coco", "mmdet_coco")
EXTRA = "pip install 'dseg[formats]'"
Points = list[tuple[float, float]]


class Shape(NamedTuple):
    """A labelled region: a polygon, or a boolean mask (H, W)."""

    label: str
    points: Points
    mask: Pixels | None = None


@dataclass(frozen=True)
class Annotated:
    """An image and its shapes, later ones on top."""

    image: Path
    shapes: list[Shape]
    left_out: tuple[str, ...] = ()  # kinds of shapes that enclose no region


def find_annotations(root: Path) -> str:
    """Return the kind of annotation files below a folder: ``labelme``, ``other`` or ""."""
    other = ""
    named = (path for path in walk_files(root) if path.suffix.lower() in (".json", ".xml"))
    for path in islice(named, LOOKED_AT_MOST):
        suffix = path.suffix.lower()
        if suffix == ".json" and _is_labelme(path):
            return "labelme"
        if suffix == ".json" and _is_coco(path):
            other = "other"
        if suffix == ".xml" and path.name.lower() == "annotations.xml":
            other = "other"
    return other


def _is_labelme(path: Path) -> bool:
    fields = _read(path)
    return isinstance(fields.get("shapes"), list) and "imagePath" in fields


def _is_coco(path: Path) -> bool:
    fields = _read(path)
    return "annotations" in fields and "images" in fields and "categories" in fields


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except (OSError, ValueError, DsegError):
        return {}


def write_masks(root: Path, kind: str, progress: Progress) -> tuple[int, Counter[str]]:
    """Write the masks of all annotated images, and the table of their labels.

    Masks go to ``masks/`` with the folders and names of the images; 0 is the background, the
    labels follow in alphabetical order. The table is ``labels.csv``.

    Returns:
        The number of masks, and of shapes of each kind that were left out.

    Raises:
        DsegError: the folder ``masks`` exists, there are no regions, or Datumaro is missing.
    """
    target = root / MASKS
    if target.exists():
        raise DsegError(
            f"{target} exists, but its masks do not correspond to the images.",
            hint="move it away, to have masks made from the annotations.",
        )
    if (root / TABLE).exists():
        raise DsegError(
            f"{root / TABLE} already exists.",
            hint="move it away: the table of the annotations' labels gets this name.",
        )
    found = list(read_labelme(root) if kind == "labelme" else read_by_datumaro(root))
    labels = sorted({shape.label for one in found for shape in one.shapes} - {BACKGROUND})
    if not labels:
        raise DsegError(f"The annotations in {root} have no regions.", hint="draw polygons.")
    if len(labels) > 254:
        raise DsegError(f"There are {len(labels)} labels.", hint="use at most 254.")
    ids = {BACKGROUND: 0} | {label: at for at, label in enumerate(labels, 1)}
    with progress("masks drawn", len(found)) as advance:
        for one in found:
            below = one.image.resolve().relative_to(root.resolve()).with_suffix(".png")
            place = target / below
            place.parent.mkdir(parents=True, exist_ok=True)
            write_png(place, draw_mask(one, ids))
            advance()
    with written_whole(root / TABLE) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        file.write("name,id\n")
        writer.writerows(ids.items())
    return len(found), Counter(kind for one in found for kind in one.left_out)


def draw_mask(one: Annotated, ids: dict[str, int]) -> Pixels:
    """Return the mask of an image: (H, W) uint8."""
    height, width = read_size(one.image)
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    for shape in one.shapes:
        value = ids[shape.label]
        if shape.mask is None:
            draw.polygon(shape.points, fill=value)
        else:
            region = Image.fromarray(shape.mask.astype(np.uint8) * 255)
            mask.paste(value, (0, 0), region)
    return np.asarray(mask)


def read_labelme(root: Path) -> Iterator[Annotated]:
    """Yield the images of LabelMe's JSON files; points, lines and masks are left out.

    Raises:
        DsegError: a file is damaged, its image is missing, or of another size.
    """
    for path in walk_files(root):
        if path.suffix.lower() != ".json":
            continue
        if not _is_labelme(path):
            _refuse_damaged(path)
            continue
        fields = _read(path)
        named = str(fields["imagePath"]).replace("\\", "/")
        image = next(
            (
                place
                for place in (path.parent / named, path.parent / Path(named).name)
                if place.is_file()
            ),
            None,
        )
        if image is None or not image.resolve().is_relative_to(root.resolve()):
            raise DsegError(
                f"{path} belongs to the image {named}, which is not in {root}.",
                hint="put the images beside their JSON files.",
            )
        size = fields.get("imageHeight"), fields.get("imageWidth")
        if None not in size and size != read_size(image):
            raise DsegError(
                f"{path} is of an image of {size[1]}x{size[0]} pixels, which {image} is not.",
                hint="put the image beside it that was annotated.",
            )
        yield _read_labelme_shapes(path, image, fields["shapes"])


def _refuse_damaged(path: Path) -> None:
    """Raise a DsegError for a JSON file beside an image that cannot be read."""
    beside = (path.with_suffix(suffix) for suffix in IMAGE_SUFFIXES)
    try:
        read_object(path)
    except (OSError, ValueError, DsegError):
        if any(image.exists() for image in beside):
            raise DsegError(
                f"{path} cannot be read as JSON.", hint="save it again, or remove it."
            ) from None


def _read_labelme_shapes(path: Path, image: Path, shapes: Iterable[Any]) -> Annotated:
    found, left_out = [], []
    for shape in shapes:
        try:
            kind = shape.get("shape_type") or "polygon"
            label = str(shape["label"])
            points = [(float(x), float(y)) for x, y in shape["points"]]
        except (AttributeError, KeyError, TypeError, ValueError):
            raise DsegError(f"{path} has a damaged shape.", hint="save it again.") from None
        if kind == "rectangle" and len(points) == 2:
            (left, top), (right, bottom) = points
            corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
            found.append(Shape(label, corners))
        elif kind == "circle" and len(points) == 2:
            found.append(Shape(label, _circle(*points)))
        elif kind == "polygon" and len(points) > 2:
            found.append(Shape(label, points))
        else:
            left_out.append(str(kind))
    return Annotated(image, found, tuple(left_out))


def _circle(middle: tuple[float, float], edge: tuple[float, float]) -> Points:
    radius = float(np.hypot(edge[0] - middle[0], edge[1] - middle[1]))
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    return [
        (middle[0] + radius * float(np.cos(angle)), middle[1] + radius * float(np.sin(angle)))
        for angle in angles
    ]


def read_by_datumaro(root: Path) -> Iterator[Annotated]:
    """Yield the images of an export that Datumaro recognises, such as COCO or CVAT.

    Raises:
        DsegError: Datumaro is not installed, or cannot read the export.
    """
    try:
        import datumaro
        from datumaro.components.environment import Environment
    except ImportError:
        raise DsegError(
            f"{root} holds annotations of COCO or CVAT, which are read by Datumaro.",
            hint=f"{EXTRA}; or export masks as PNG instead (CVAT: Segmentation mask).",
        ) from None
    try:
        kinds = [kind for kind in Environment().detect_dataset(str(root)) if kind in FORMATS]
        dataset = datumaro.Dataset.import_from(str(root), kinds[0])
        names = [item.name for item in dataset.categories()[datumaro.AnnotationType.label].items]
    except Exception as fault:  # its importers raise errors of many kinds
        raise DsegError(
            f"Datumaro cannot read the annotations in {root}: {str(fault)[:200]}.",
            hint="for COCO, put images into images/ and the JSON file into annotations/, named "
            "instances_train.json; or export masks as PNG.",
        ) from None
    for item in dataset:
        path = Path(getattr(item.media, "path", "") or "")
        if path.is_file():
            yield Annotated(path, list(_datumaro_shapes(item, names)))


def _datumaro_shapes(item: Any, names: list[str]) -> Iterator[Shape]:
    """Yield polygons and masks in drawing order; boxes are left out."""
    drawn = [one for one in item.annotations if type(one).__name__ != "Bbox"]
    for one in sorted(drawn, key=lambda one: getattr(one, "z_order", 0)):
        if getattr(one, "label", None) is None:
            continue
        if type(one).__name__ == "Polygon":
            pairs = zip(one.points[::2], one.points[1::2], strict=True)
            yield Shape(names[one.label], [(float(x), float(y)) for x, y in pairs])
        elif "Mask" in type(one).__name__:
            yield Shape(names[one.label], [], np.asarray(one.image, bool))
