"""From the classes of one label space to those of another."""

from __future__ import annotations

from dseg.errors import DsegError
from dseg.labels import IGNORE, LabelSpace

# CamVid's bicyclist is Cityscapes' rider and bicycle in one, so it is neither.
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
TABLES = {("camvid", "cityscapes"): CAMVID_TO_CITYSCAPES}


def map_classes(own: LabelSpace, target: LabelSpace, *, by_name: bool) -> tuple[int, ...]:
    """Return the train id in ``target`` of each class of ``own``, ``IGNORE`` where there is none.

    Args:
        own: the classes of the masks.
        target: the classes to train or to score.
        by_name: whether equal names, in any case, mean equal classes.

    Raises:
        DsegError: there is no way from one to the other.
    """
    if own.names == target.names:
        return tuple(range(own.num_classes))
    places = {name.lower(): train_id for train_id, name in enumerate(target.names)}
    names = {name: name for name in own.names} if by_name else TABLES.get((own.name, target.name))
    if names is None:
        known = ", ".join(f"{first} onto {second}" for first, second in TABLES)
        raise DsegError(
            f"The classes of {own.name} cannot be mapped onto those of {target.name}.",
            hint=f"leave --label-space away; there is: {known}, and folder by names.",
        )
    mapped = tuple(places.get(names.get(name, "").lower(), IGNORE) for name in own.names)
    if set(mapped) == {IGNORE}:
        raise DsegError(
            f"No class of {own.name} ({', '.join(own.names[:3])}, ...) has the name of one of "
            f"{target.name} ({', '.join(target.names[:3])}, ...).",
            hint="name classes in the class file as the label space does, or leave "
            "--label-space away.",
        )
    return mapped
