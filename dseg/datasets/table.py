"""Table of the supported data sets; packages add theirs by entry points ``dseg.datasets``."""

from __future__ import annotations

from dataclasses import dataclass

from dseg.plugins import Table

TRAIN_VAL_TEST = ("train", "val", "trainval", "test")


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """One row of the table.

    Attributes:
        title: Full name with its publication.
        splits: Usual splits; a folder can have fewer or more.
        label_space: Label space that its masks are read in.
        layout: Description of its folders and files.
        target: ``module:function`` that returns the ``DatasetTree`` of a folder.
        terms: Terms of use.
    """

    title: str
    target: str
    splits: tuple[str, ...] = TRAIN_VAL_TEST
    label_space: str = "its own"
    layout: str = "the layout that its package describes"
    terms: str = "its own"


def plain_dataset_name(name: str) -> str:
    """Return the name of a data set for comparison."""
    return name.lower().replace("_", "-")


BUILT_IN: dict[str, DatasetSpec] = {
    "cityscapes": DatasetSpec(
        title="Cityscapes (Cordts et al., CVPR 2016)",
        splits=(*TRAIN_VAL_TEST, "train_extra", "train_coarse", "val_coarse"),
        label_space="cityscapes",
        layout="leftImg8bit/<split>/<city>/*_leftImg8bit.png and "
        "gtFine/<split>/<city>/*_gtFine_labelIds.png",
        target="dseg.datasets.cityscapes:open_cityscapes",
        terms="its own, for non-commercial research",
    ),
    "camvid": DatasetSpec(
        title="CamVid (Brostow et al., ECCV 2008), 11 classes of SegNet's tutorial",
        splits=TRAIN_VAL_TEST,
        label_space="camvid",
        layout="train/ and trainannot/, val/ and valannot/, test/ and testannot/, or "
        "camvid_<split>_list.txt or <split>.txt with an image and its mask per line",
        target="dseg.datasets.camvid:open_camvid",
        terms="its own, for research",
    ),
    "voc": DatasetSpec(
        title="PASCAL VOC 2012 (Everingham et al., IJCV 2010)",
        splits=("train", "val", "trainval", "trainaug"),
        label_space="voc",
        layout="VOCdevkit/VOC2012 with JPEGImages/, SegmentationClass/ and "
        "ImageSets/Segmentation/<split>.txt",
        target="dseg.datasets.voc:open_voc",
        terms="its own; images under Flickr's terms of use",
    ),
    "mapillary": DatasetSpec(
        title="Mapillary Vistas v1.2 (Neuhold et al., ICCV 2017), as Cityscapes' classes",
        splits=TRAIN_VAL_TEST,
        label_space="cityscapes",
        layout="training/images/*.jpg and training/labels/*.png (or training/v1.2/labels), the "
        "same in validation/",
        target="dseg.datasets.mapillary:open_mapillary",
        terms="CC BY-NC-SA 4.0 for research; other use by agreement with Mapillary",
    ),
    "folder": DatasetSpec(
        title="any images and masks, with a class file",
        splits=TRAIN_VAL_TEST,
        label_space="of the class file",
        layout="classes.toml or classes.json (or --classes FILE), images/<split>/ and "
        "masks/<split>/ with files of equal names",
        target="dseg.datasets.folder:open_folder",
        terms="the owner's",
    ),
    "scenes": DatasetSpec(
        title="synthetic street scenes of dseg scenes",
        splits=("train", "val", "trainval"),
        label_space="cityscapes",
        layout="Cityscapes' layout, leftImg8bit/<split>/ and gtFine/<split>/",
        target="dseg.datasets.cityscapes:open_cityscapes",
        terms="Apache-2.0",
    ),
}
DATASETS: Table[DatasetSpec] = Table(
    BUILT_IN, group="dseg.datasets", kind=DatasetSpec, what="data set", key=plain_dataset_name
)
