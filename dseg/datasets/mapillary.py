"""Mapillary Vistas v1.2 (Neuhold et al., ICCV 2017), with 66 classes mapped to Cityscapes' 19.

The mapping follows the definitions of Cityscapes' classes (Cordts et al., CVPR 2016, appendix A
and the data set's site): road includes its markings, lanes separated only by markings, and
emergency lanes; sidewalk includes the curb; terrain includes sand and soil; rider is any rider.
Classes that Cityscapes has but does not score are ignored (parking, rail track, guard rail,
bridge, tunnel, caravan, trailer), and so are classes without an unambiguous counterpart.
"""

from __future__ import annotations

from pathlib import Path

from dseg.datasets.base import Encoding
from dseg.datasets.listing import DatasetTree, Listing, pair_files, walk_images
from dseg.errors import DsegError, counted
from dseg.jsonio import read_object
from dseg.labels import IGNORE, LABEL_SPACES

SPACE = LABEL_SPACES["cityscapes"]
FOLDERS = {"train": "training", "val": "validation", "test": "testing"}
CONFIGS = ("config_v1.2.json", "config.json")
UNSCORED = ""

# Vistas' class and Cityscapes' class of each id, 0 to 65.
CLASSES: tuple[tuple[str, str], ...] = (
    ("animal--bird", UNSCORED),
    ("animal--ground-animal", UNSCORED),
    ("construction--barrier--curb", "sidewalk"),
    ("construction--barrier--fence", "fence"),
    ("construction--barrier--guard-rail", UNSCORED),
    ("construction--barrier--other-barrier", UNSCORED),  # concrete blocks, walls, fences
    ("construction--barrier--wall", "wall"),
    ("construction--flat--bike-lane", "road"),  # separated from the road by markings
    ("construction--flat--crosswalk-plain", "road"),
    ("construction--flat--curb-cut", "sidewalk"),
    ("construction--flat--parking", UNSCORED),
    ("construction--flat--pedestrian-area", "sidewalk"),
    ("construction--flat--rail-track", UNSCORED),
    ("construction--flat--road", "road"),
    ("construction--flat--service-lane", "road"),
    ("construction--flat--sidewalk", "sidewalk"),
    ("construction--structure--bridge", UNSCORED),
    ("construction--structure--building", "building"),
    ("construction--structure--tunnel", UNSCORED),
    ("human--person", "person"),
    ("human--rider--bicyclist", "rider"),
    ("human--rider--motorcyclist", "rider"),
    ("human--rider--other-rider", "rider"),
    ("marking--crosswalk-zebra", "road"),
    ("marking--general", "road"),
    ("nature--mountain", UNSCORED),
    ("nature--sand", "terrain"),
    ("nature--sky", "sky"),
    ("nature--snow", UNSCORED),
    ("nature--terrain", "terrain"),
    ("nature--vegetation", "vegetation"),
    ("nature--water", UNSCORED),
    ("object--banner", UNSCORED),
    ("object--bench", UNSCORED),
    ("object--bike-rack", UNSCORED),
    ("object--billboard", UNSCORED),
    ("object--catch-basin", UNSCORED),  # as manholes and potholes, on roads and sidewalks
    ("object--cctv-camera", UNSCORED),
    ("object--fire-hydrant", UNSCORED),
    ("object--junction-box", UNSCORED),
    ("object--mailbox", UNSCORED),
    ("object--manhole", UNSCORED),
    ("object--phone-booth", UNSCORED),
    ("object--pothole", UNSCORED),
    ("object--street-light", UNSCORED),  # without its pole, which is labelled as pole
    ("object--support--pole", "pole"),
    ("object--support--traffic-sign-frame", "pole"),  # horizontal parts count as pole
    ("object--support--utility-pole", "pole"),
    ("object--traffic-light", "traffic light"),
    ("object--traffic-sign--back", UNSCORED),
    ("object--traffic-sign--front", "traffic sign"),
    ("object--trash-can", UNSCORED),
    ("object--vehicle--bicycle", "bicycle"),
    ("object--vehicle--boat", UNSCORED),
    ("object--vehicle--bus", "bus"),
    ("object--vehicle--car", "car"),
    ("object--vehicle--caravan", UNSCORED),
    ("object--vehicle--motorcycle", "motorcycle"),
    ("object--vehicle--on-rails", "train"),
    ("object--vehicle--other-vehicle", UNSCORED),
    ("object--vehicle--trailer", UNSCORED),
    ("object--vehicle--truck", "truck"),
    ("object--vehicle--wheeled-slow", UNSCORED),
    ("void--car-mount", UNSCORED),
    ("void--ego-vehicle", UNSCORED),
    ("void--unlabeled", UNSCORED),
)


def open_mapillary(root: Path) -> DatasetTree:
    """Describe a Vistas folder; the ids are read from ``config.json`` in the root if it exists.

    Raises:
        DsegError: That file is broken or belongs to another version.
    """
    encoding = _make_encoding(_read_names(root))
    splits = tuple(split for split, name in FOLDERS.items() if (root / name / "images").is_dir())
    return DatasetTree(
        space=SPACE, splits=splits, listing=lambda split: _list_split(root, split, encoding)
    )


def _make_encoding(names: list[str]) -> Encoding:
    onto = dict(CLASSES)
    return Encoding(
        train_ids={
            value: SPACE.names.index(onto[name]) if onto[name] else IGNORE
            for value, name in enumerate(names)
        },
        allowed=f"the ids of Vistas v1.2 are 0 to {len(names) - 1}",
    )


def _read_names(root: Path) -> list[str]:
    """Return the Vistas class of each id."""
    path = next((root / name for name in CONFIGS if (root / name).is_file()), None)
    if path is None:
        return [name for name, _ in CLASSES]
    try:
        names = [row["name"] for row in read_object(path)["labels"]]
    except (OSError, ValueError, TypeError, KeyError):
        raise DsegError(
            f"{path} does not list the classes of Mapillary Vistas.",
            hint="replace it with the file that came with the data set, or remove it.",
        ) from None
    if sorted(map(str, names)) != sorted(dict(CLASSES)):
        raise DsegError(
            f"{path} names {counted(len(names), 'class', 'classes')}, which are not the "
            f"{len(CLASSES)} of v1.2.",
            hint="use v1.2; if both versions are unpacked, put config_v1.2.json there.",
        )
    return names


def _list_split(root: Path, split: str, encoding: Encoding) -> Listing:
    home = root / FOLDERS[split]
    places = (home / "v1.2" / "labels", home / "labels")
    labels = next((place for place in places if place.is_dir()), None)
    if labels is None and (home / "v2.0").is_dir():
        raise DsegError(
            f"{home} has the labels of Vistas v2.0 only, whose ids differ.",
            hint=f"unpack v1.2 as well, into {places[0]}.",
        )
    masks = walk_images(labels, suffixes=(".png",)) if labels else {}
    images = walk_images(home / "images")
    return pair_files(images, masks, encoding, masks_optional=split == "test")
