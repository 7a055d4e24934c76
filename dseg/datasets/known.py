"""Public data sets of streets whose masks become Cityscapes' classes by a ready-made class file.

``source`` names the label table; it says "not verified" where neither table nor files were read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dseg.errors import DsegError, suggest
from dseg.labels import CITYSCAPES_LABELS, IGNORE, LABEL_SPACES, Color

Ids = Mapping[str, tuple[int, ...]]
CITYSCAPES = LABEL_SPACES["cityscapes"]


@dataclass(frozen=True, kw_only=True)
class KnownData:
    """A data set with a ready-made class file.

    Attributes:
        title: name and publication.
        layout: fields of the class file that say where images and masks are.
        classes: mask values of each class, in order of train ids.
        ignore: values that are ignored, beside 255.
        colors, ignored_colors: colours of each class and of none, for masks without ids.
        source: where the values are from.
        terms: terms of use, as known.
        remark: what to do before, or what the table leaves out.
    """

    title: str
    layout: Mapping[str, Any]
    classes: Ids = field(default_factory=dict)
    ignore: tuple[int, ...] = ()
    colors: Mapping[str, tuple[Color, ...]] = field(default_factory=dict)
    ignored_colors: tuple[Color, ...] = ()
    source: str
    terms: str
    remark: str = ""

    def fields(self, name: str) -> dict[str, Any]:
        """Return the fields of the class file."""
        if self.colors:
            return {**self.layout, "name": name, "mask_colors": True, **self._color_fields()}
        rows = [
            {"name": title, "ids": list(ids), "color": list(_color_of(title))}
            for title, ids in self.classes.items()
        ]
        ignore = sorted({*self.ignore, IGNORE})
        return {"name": name, **self.layout, "ignore": ignore, "class": rows}

    def _color_fields(self) -> dict[str, Any]:
        rows = [
            {"name": title, "colors": [list(color) for color in colors]}
            for title, colors in self.colors.items()
        ]
        return {"ignore_colors": [list(color) for color in self.ignored_colors], "class": rows}


def _color_of(title: str) -> Color:
    return CITYSCAPES.colors[CITYSCAPES.names.index(title)]


TRAIN_IDS: Ids = {name: (at,) for at, name in enumerate(CITYSCAPES.names)}
LABEL_IDS: Ids = {
    name: (value,) for name, value in zip(CITYSCAPES.names, CITYSCAPES.label_ids, strict=True)
}
UNSCORED = tuple(row.id for row in CITYSCAPES_LABELS if row.ignored)
RESEARCH = "research only"


def _order(**values: tuple[int, ...]) -> Ids:
    """Return the ids of classes in Cityscapes' order."""
    named = {name.replace("_", " "): ids for name, ids in values.items()}
    return {name: named[name] for name in CITYSCAPES.names if name in named}


KNOWN: dict[str, KnownData] = {
    "bdd100k": KnownData(
        title="BDD100K semantic segmentation, 10k images (Yu et al., CVPR 2020)",
        layout={"images": "images/10k/{split}", "masks": "labels/sem_seg/masks/{split}"},
        classes=TRAIN_IDS,
        source="BDD100K's documentation: Cityscapes' train ids",
        terms=RESEARCH,
    ),
    "idd": KnownData(
        title="India Driving Dataset, ids of the masks *_labelids (Varma et al., WACV 2019)",
        layout={
            "images": "leftImg8bit/{split}",
            "masks": "gtFine/{split}",
            "image_suffix": "_leftImg8bit",
            "mask_suffix": "_gtFine_labelids",
        },
        classes=_order(
            **{"road": (0,), "sidewalk": (3,), "terrain": (5,), "person": (6,), "rider": (8,)},
            **{"motorcycle": (9,), "bicycle": (10,), "car": (12,), "truck": (13,), "bus": (14,)},
            **{"train": (17,), "wall": (20,), "fence": (21,), "traffic_sign": (24,), "sky": (33,)},
            **{"traffic_light": (25,), "pole": (26,), "building": (29,), "vegetation": (32,)},
        ),
        ignore=(1, 2, 4, 7, 11, 15, 16, 18, 19, 22, 23, 27, 28, 30, 31, *range(34, 40)),
        source="column csTrainId of the label table in the data set's public code",
        terms="ask its authors",
        remark="For *_labellevel3Ids, use idd-level3; for *_labelcsTrainIds, idd-trainids.",
    ),
    "idd-level3": KnownData(
        title="India Driving Dataset, level-3 ids of the masks *_labellevel3Ids",
        layout={
            "images": "leftImg8bit/{split}",
            "masks": "gtFine/{split}",
            "image_suffix": "_leftImg8bit",
            "mask_suffix": "_gtFine_labellevel3Ids",
        },
        classes=_order(
            **{"road": (0,), "sidewalk": (2,), "person": (4,), "rider": (5,), "motorcycle": (6,)},
            **{"bicycle": (7,), "car": (9,), "truck": (10,), "bus": (11,), "wall": (14,)},
            **{"fence": (15,), "traffic_sign": (18,), "traffic_light": (19,), "pole": (20,)},
            **{"building": (22,), "vegetation": (24,), "sky": (25,)},
        ),
        ignore=(1, 3, 8, 12, 13, 16, 17, 21, 23),
        source="columns level3Id and csTrainId of the label table in the data set's public code",
        terms="ask its authors",
        remark="Level 3 joins classes: terrain and train are not separate, animals count as "
        "person, the fallback background as sky, groups of poles as pole.",
    ),
    "idd-trainids": KnownData(
        title="India Driving Dataset, Cityscapes' train ids made by its tools",
        layout={
            "images": "leftImg8bit/{split}",
            "masks": "gtFine/{split}",
            "image_suffix": "_leftImg8bit",
            "mask_suffix": "_gtFine_labelcsTrainIds",
        },
        classes=TRAIN_IDS,
        source="the data set's public code",
        terms="ask its authors",
    ),
    "acdc": KnownData(
        title="ACDC, adverse conditions (Sakaridis et al., ICCV 2021)",
        layout={
            "images": "rgb_anon/*/{split}",
            "masks": "gt/*/{split}",
            "image_suffix": "_rgb_anon",
            "mask_suffix": "_gt_labelTrainIds",
        },
        classes=TRAIN_IDS,
        source="the data set's documentation: Cityscapes' train ids",
        terms=RESEARCH,
    ),
    "dark-zurich": KnownData(
        title="Dark Zurich, labelled night images (Sakaridis et al., ICCV 2019)",
        layout={
            "images": "rgb_anon/{split}/night",
            "masks": "gt/{split}/night",
            "image_suffix": "_rgb_anon",
            "mask_suffix": "_gt_labelTrainIds",
        },
        classes=TRAIN_IDS,
        source="Cityscapes' train ids; folders from memory, not verified",
        terms=RESEARCH,
    ),
    "foggy-cityscapes": KnownData(
        title="Foggy Cityscapes (Sakaridis et al., IJCV 2018)",
        layout={
            "images": "leftImg8bit_foggy/{split}",
            "masks": "gtFine/{split}",
            "image_suffix": [
                f"_leftImg8bit_foggy_beta_{beta}" for beta in ("0.005", "0.01", "0.02")
            ],
            "mask_suffix": "_gtFine_labelIds",
        },
        classes=LABEL_IDS,
        ignore=UNSCORED,
        source="Cityscapes' label ids; three images for each mask",
        terms="Cityscapes' own, non-commercial research",
        remark="To use one density of fog only, keep one of the three in image_suffix.",
    ),
    "kitti": KnownData(
        title="KITTI semantics 2015 (Alhaija et al., IJCV 2018)",
        layout={"images": "training/image_2", "masks": "training/semantic"},
        classes=LABEL_IDS,
        ignore=UNSCORED,
        source="Cityscapes' label ids, as the benchmark's page says",
        terms="CC BY-NC-SA 3.0",
    ),
    "gta5": KnownData(
        title="GTA5, Playing for Data (Richter et al., ECCV 2016)",
        layout={"images": "images", "masks": "labels"},
        classes=LABEL_IDS,
        ignore=(*UNSCORED, 34),
        source="Cityscapes' label ids in palette files, and 34 (licence plate)",
        terms=RESEARCH,
    ),
    "synthia": KnownData(
        title="SYNTHIA-RAND-CITYSCAPES (Ros et al., CVPR 2016)",
        layout={"images": "RGB", "masks": "GT/LABELS", "mask_channel": "red"},
        classes=_order(
            **{"road": (3,), "sidewalk": (4,), "building": (2,), "wall": (21,), "fence": (5,)},
            **{"pole": (7,), "traffic_light": (15,), "traffic_sign": (9,), "vegetation": (6,)},
            **{"sky": (1,), "person": (10,), "rider": (17,), "car": (8,), "bus": (19,)},
            **{"motorcycle": (12,), "bicycle": (11,)},
        ),
        ignore=(0, 13, 14, 16, 18, 20, 22),
        source="the 16 classes that are compared with Cityscapes; 16-bit colour PNG, whose first "
        "channel is the class",
        terms="CC BY-NC-SA 3.0",
        remark="Without terrain, truck and train, which these masks mark as other classes or void.",
    ),
    "wilddash2": KnownData(
        title="WildDash 2 (Zendel et al., CVPR 2022)",
        layout={"images": "images", "masks": "labels"},
        classes={**LABEL_IDS, "road": (7, 38), "car": (26, 35), "truck": (27, 34)},
        ignore=(*UNSCORED, 36, 37),
        source="the ids of the Robust Vision Challenge's table and WildDash's policy: pickups are "
        "trucks, vans cars, road markings road",
        terms=RESEARCH,
        remark="Ids above 38 of the unified release are not in the table.",
    ),
    "mapillary2": KnownData(
        title="Mapillary Vistas v2.0, 124 classes (Neuhold et al., ICCV 2017)",
        layout={
            "images": {"train": "training/images", "val": "validation/images"},
            "masks": {"train": "training/v2.0/labels", "val": "validation/v2.0/labels"},
        },
        classes=_order(
            road=(13, 14, 21, 22, 23, *range(35, 59), 74, 77),
            sidewalk=(4, 15, 19, 24),
            building=(27, 28),
            wall=(12,),
            fence=(5,),
            pole=(85, 86, 87, 88),
            traffic_light=(90, 91, 92, 93, 94, 95),
            traffic_sign=(99, 100, 101, 103),
            vegetation=(64,),
            terrain=(60, 63),
            sky=(61,),
            person=(30, 31),
            rider=(32, 33, 34),
            car=(108,),
            truck=(114,),
            bus=(107,),
            train=(111,),
            motorcycle=(110,),
            bicycle=(105,),
        ),
        ignore=(
            *(0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 16, 17, 18, 20, 25, 26, 29, 59, 62),
            *range(65, 74),
            *(75, 76, 78, 79, 80, 81, 82, 83, 84, 89, 96, 97, 98, 102, 104, 106, 109, 112, 113),
            *range(115, 124),
        ),
        source="ids of the Robust Vision Challenge's table for v2.0, which lacks 2, 30, 31, 38, "
        "79, 86, 96 and 115: these not verified; the classes by the mapping of v1.2",
        terms="CC BY-NC-SA 4.0, or commercial",
    ),
    "camvid32": KnownData(
        title="CamVid as published, 32 colours (Brostow et al., PRL 2009), as 11 classes",
        layout={
            "images": "701_StillsRaw_full",
            "masks": "LabeledApproved_full",
            "mask_suffix": "_L",
        },
        colors={
            "Sky": ((128, 128, 128),),
            "Building": (*((128, 0, 0), (0, 128, 64), (64, 192, 0), (64, 0, 64), (192, 0, 128)),),
            "Pole": ((192, 192, 128), (0, 0, 64)),
            "Road": ((128, 64, 128), (128, 0, 192), (192, 0, 64)),
            "Pavement": ((0, 0, 192), (64, 192, 128), (128, 128, 192)),
            "Tree": ((128, 128, 0), (192, 192, 0)),
            "SignSymbol": ((192, 128, 128), (128, 128, 64), (0, 64, 64)),
            "Fence": ((64, 64, 128),),
            "Car": (
                *((64, 0, 128), (64, 128, 192), (192, 128, 192), (192, 64, 128), (128, 64, 64)),
            ),
            "Pedestrian": ((64, 64, 0), (192, 128, 64), (64, 0, 192), (64, 128, 64)),
            "Bicyclist": ((0, 128, 192), (192, 0, 192)),
        },
        ignored_colors=((0, 0, 0),),
        source="CamVid's label_colors.txt; the usual grouping into 11 classes, by comparison with "
        "SegNet's label maps not verified",
        terms=RESEARCH,
    ),
}


def find_known_data(name: str) -> tuple[str, KnownData]:
    """Return a data set of ``KNOWN`` and its name as the table spells it.

    Raises:
        DsegError: there is none; the hint lists them.
    """
    plain = name.lower().replace("_", "-")
    if plain not in KNOWN:
        raise DsegError(
            f"There is no ready-made class file for {name!r}.",
            hint=f"{suggest(plain, KNOWN)}choose one of: {', '.join(KNOWN)}.",
        )
    return plain, KNOWN[plain]
