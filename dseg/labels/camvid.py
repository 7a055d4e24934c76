"""CamVid: the 11 classes of SegNet (Badrinarayanan et al., PAMI 2017, section 4.1)."""

from __future__ import annotations

from dseg.labels.space import IGNORE, Color, LabelSpace

CLASSES: tuple[tuple[str, Color], ...] = (
    ("Sky", (128, 128, 128)),
    ("Building", (128, 0, 0)),
    ("Pole", (192, 192, 128)),
    ("Road", (128, 64, 128)),
    ("Pavement", (0, 0, 192)),
    ("Tree", (128, 128, 0)),
    ("SignSymbol", (192, 128, 128)),
    ("Fence", (64, 64, 128)),
    ("Car", (64, 0, 128)),
    ("Pedestrian", (64, 64, 0)),
    ("Bicyclist", (0, 128, 192)),
)

CAMVID = LabelSpace(
    name="camvid",
    names=tuple(name for name, _ in CLASSES),
    colors=tuple(color for _, color in CLASSES),
    label_ids=tuple(range(11)),
    ignored_ids=(11, IGNORE),
    ignored_colors=(((0, 0, 0), 11),),
    other_colors=(((60, 40, 222), 4),),  # pavement in DABNet's release
)
