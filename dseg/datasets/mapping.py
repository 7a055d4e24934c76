"""Map the classes of one label space onto those of another."""

from __future__ import annotations

from dseg.errors import DsegError
from dseg.labels import IGNORE, LabelSpace

# CamVid's class Bicyclist includes Cityscapes' rider and bicycle, so it is mapped to neither.
CAMVID_TO_CITYSCAPES = {
    "Sky": "sky",
    "Building": "building",
    "Pole": "pole",
    "Road": "road",
    "Pavement": "sidewalk",
    "Tree": "vegetation",
    "SignSymbol": "traffic sign",
    "Fence": "fence",
    "Car": "car",
    "Pedestrian": "person",
}
# By the usual grouping of CamVid's 32 classes into 11, as in its ready-made class file.
CITYSCAPES_TO_CAMVID = {
    "road": "Road",
    "sidewalk": "Pavement",
    "building": "Building",
    "wall": "Building",
    "fence": "Fence",
    "pole": "Pole",
    "traffic light": "SignSymbol",
    "traffic sign": "SignSymbol",
    "vegetation": "Tree",
    "terrain": "Tree",
    "sky": "Sky",
    "person": "Pedestrian",
    "rider": "Bicyclist",
    "car": "Car",
    "truck": "Car",
    "bus": "Car",
    "train": "Car",
    "motorcycle": "Bicyclist",
    "bicycle": "Bicyclist",
}
TABLES = {
    ("camvid", "cityscapes"): CAMVID_TO_CITYSCAPES,
    ("cityscapes", "camvid"): CITYSCAPES_TO_CAMVID,
}


def map_classes(own: LabelSpace, target: LabelSpace, *, by_name: bool) -> tuple[int, ...]:
    """Return the train id in ``target`` of each class of ``own``, ``IGNORE`` if there is none.

    Args:
        own: Label space of the masks.
        target: Label space to train or evaluate.
        by_name: Whether classes of equal names, compared without case, are the same class.

    Raises:
        DsegError: There is no mapping between the two label spaces.
    """
    if own.names == target.names:
        return tuple(range(own.num_classes))
    places = {name.lower(): train_id for train_id, name in enumerate(target.names)}
    names = {name: name for name in own.names} if by_name else TABLES.get((own.name, target.name))
    if names is None:
        known = ", ".join(f"{first} onto {second}" for first, second in TABLES)
        raise DsegError(
            f"The classes of {own.name} cannot be mapped onto those of {target.name}.",
            hint=f"remove --label-space. Mappings exist for: {known}, and folder by class names.",
        )
    mapped = tuple(places.get(names.get(name, "").lower(), IGNORE) for name in own.names)
    if set(mapped) == {IGNORE}:
        raise DsegError(
            f"No class of {own.name} ({', '.join(own.names[:3])}, ...) has the same name as a "
            f"class of {target.name} ({', '.join(target.names[:3])}, ...).",
            hint="use the label space's names in the class file, or remove --label-space.",
        )
    return mapped


def match_outputs(own: LabelSpace, target: LabelSpace) -> tuple[int, ...]:
    """Return the train id in ``target`` of each class that a network for ``own`` predicts.

    Classes are matched by ``TABLES``, else by equal names, compared without case; a class without a
    counterpart has ``IGNORE``, and several can have the same one.

    Args:
        own: Label space of the network's outputs.
        target: Label space to predict.

    Raises:
        DsegError: No class has a counterpart.
    """
    return map_classes(own, target, by_name=(own.name, target.name) not in TABLES)
