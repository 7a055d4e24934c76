"""From what masks hold and the names of their classes to the fields of a class file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dseg.datasets.class_rows import IGNORED_NAMES, read_label_table
from dseg.errors import DsegError, suggest
from dseg.labels import IGNORE, LABEL_SPACES, Color, LabelSpace, voc_color
from dseg.survey.content import FEW, unpack
from dseg.survey.groups import split_pattern
from dseg.survey.lists import list_pattern
from dseg.survey.look import Survey

UNNAMED = ("-", "")  # names that ignore a value, beside IGNORED_NAMES
BLACK = (0, 0, 0)  # of pixels that nobody labelled, in masks of colours
BINARY = ("background", "foreground")


@dataclass(frozen=True)
class Value:
    """An id or a colour in the masks.

    Attributes:
        value: the id, or the colour packed as ``0xRRGGBB``.
        color: the colour; of an id, that of the palette or None.
        fraction: of all pixels.
        masks: number of masks that hold it.
        ignored: it is 255 beside other ids, which is ignored by custom.
        joined: values that mean the same, among them this one.
    """

    value: int
    color: Color | None
    fraction: float
    masks: int
    ignored: bool = False
    joined: range = range(0)

    def text(self, kind: str) -> str:
        """Return the id, or the colour as three numbers."""
        if self.joined:
            return f"{self.joined[0]}-{self.joined[-1]}"
        return str(self.value) if kind == "ids" else "{} {} {}".format(*unpack(self.value))

    def ids(self) -> list[int | str]:
        """Return the id, and ranges of the values that mean the same."""
        first, last = (self.joined[0], self.joined[-1]) if self.joined else (0, 0)
        ends = [(first, self.value - 1), (self.value + 1, last)] if self.joined else []
        return [self.value, *(f"{low}-{high}" for low, high in ends if low <= high)]


def list_values(survey: Survey) -> list[Value]:
    """Return what the masks hold: ids in increasing order, or colours by decreasing area."""
    found = survey.values
    total = sum(found.pixels.values())
    ids = found.kind == "ids"
    order = sorted(found.pixels, key=lambda value: value if ids else (-found.pixels[value], value))
    custom = ids and IGNORE in found.pixels and len(set(found.pixels) - {IGNORE}) > 1
    return [
        Value(
            value,
            found.palette.get(value) if ids else unpack(value),
            found.pixels[value] / total,
            found.masks[value],
            ignored=bool(custom) and value == IGNORE,
            joined=found.joined.get(value, range(0)),
        )
        for value in order
    ]


def default_names(values: Sequence[Value]) -> list[str]:
    """Return a name for each value that is not ignored by custom."""
    named = [value for value in values if not value.ignored]
    if [value.value for value in named] in ([0, 255], [0, 1]):
        return list(BINARY)
    return [f"class {place}" for place in range(len(named))]


def make_fields(
    survey: Survey, names: Sequence[str] | None, *, label_text: str | None = None
) -> dict[str, Any]:
    """Return the fields of the class file.

    Args:
        survey: what the folder contains.
        names: a name for each of ``list_values`` that is not ignored by custom: equal names join
            values, and ``ignore``, ``void`` or ``-`` ignores them. One name is enough for masks
            of 0 and 255 or 1. The name of a label space, such as ``cityscapes``, names its ids.
        label_text: contents of the table of labels, in place of names.

    Raises:
        DsegError: there are more or fewer names than values, or the table lacks a value.
    """
    values = list_values(survey)
    refuse_large(survey)
    if label_text is not None and survey.label_file is not None:
        classes = _from_table(survey, values, label_text)
    elif names is not None and len(names) == 1 and names[0].lower() in LABEL_SPACES:
        space = LABEL_SPACES[names[0].lower()]
        by_color = survey.values.kind == "colours"
        classes = _from_colors(values, space) if by_color else _from_space(values, space)
    else:
        classes = _from_names(survey, values, names or default_names(values))
    if not classes["class"]:
        raise DsegError("All values are ignored.", hint="give at least one class a name.")
    if survey.values.left_out[0]:
        classes["unlisted"] = "ignore"
    return {"name": survey.root.resolve().name or "data", **_places(survey), **classes}


def refuse_large(survey: Survey) -> None:
    """Raise a DsegError if masks hold ids above 255."""
    found = survey.values
    largest = max(found.pixels)
    if found.kind != "ids" or largest <= 255:
        return
    hint = "class ids are 0 to 255; are these instance ids? Export class ids instead."
    if len(found.pixels) <= FEW:
        hint = "class ids are 0 to 255: save these values as 0, 1, 2 and so on, and void as 255."
    raise DsegError(
        f"The masks hold {len(found.pixels):,} values up to {largest}, for example "
        f"{found.first.get(largest, survey.root)}.",
        hint=hint,
    )


def _places(survey: Survey) -> dict[str, Any]:
    """Return the fields that say where images and masks are; nothing for the usual folders."""
    pairing = survey.pairing
    images, masks = pairing.images, pairing.masks
    fields: dict[str, Any] = {
        "images": split_pattern(images, survey.root),
        "masks": split_pattern(masks, survey.root),
    }
    if isinstance(fields["masks"], dict) and isinstance(fields["images"], dict):
        shared = [split for split in fields["images"] if split in fields["masks"]]
        fields = {key: {split: of[split] for split in shared} for key, of in fields.items()}
    if survey.left_out:
        fields["without_mask"] = "skip"
    if survey.lists:
        fields["lists"] = list_pattern(survey.lists)
    for kind, ends in (("image", pairing.image_ends), ("mask", pairing.mask_ends)):
        if ends.prefix:
            fields[f"{kind}_prefix"] = ends.prefix
        if len(ends.suffixes) > 1:
            fields[f"{kind}_suffix"] = list(ends.suffixes)
        elif ends.suffixes[0]:
            fields[f"{kind}_suffix"] = ends.suffixes[0]
    if images.pattern == masks.pattern and images.suffix != masks.suffix:
        fields |= {"image_types": images.suffix[1:], "mask_types": masks.suffix[1:]}
    return fields


def _from_names(survey: Survey, values: list[Value], names: Sequence[str]) -> dict[str, Any]:
    named = [value for value in values if not value.ignored]
    if len(names) == 1 and default_names(values) == list(BINARY):
        names = (BINARY[0], *names)
    if len(names) != len(named):
        kind = survey.values.kind
        shown = ", ".join(value.text(kind) for value in named[:12]) + ", ..." * (len(named) > 12)
        raise DsegError(
            f"{len(names)} names are given, but the masks hold {len(named)} "
            f"{'ids' if kind == 'ids' else 'colours'}: {shown}.",
            hint="give one name for each, in this order; equal names join values, - ignores one.",
        )
    rows: dict[str, list[Value]] = {}
    ignored = [value for value in values if value.ignored]
    for value, name in zip(named, names, strict=True):
        if name.strip().lower() in (*IGNORED_NAMES, *UNNAMED):
            ignored.append(value)
        else:
            rows.setdefault(name.strip(), []).append(value)
    if survey.values.kind == "ids":
        ids = [
            {
                "name": name,
                **_ids_of([number for value in own for number in value.ids()]),
                "color": list(own[0].color or voc_color(place + 1)),
                "note": _describe(own, survey),
            }
            for place, (name, own) in enumerate(rows.items())
        ]
        return {"ignore": [number for value in ignored for number in value.ids()], "class": ids}
    colors = [
        {
            "name": name,
            "color": list(unpack(own[0].value)),
            **({"colors": [list(unpack(v.value)) for v in own[1:]]} if own[1:] else {}),
            "note": _describe(own, survey),
        }
        for name, own in rows.items()
    ]
    left_out = [list(unpack(value.value)) for value in ignored]
    return {"mask_colors": True, "ignore_colors": left_out, "class": colors}


def _ids_of(ids: list[int | str]) -> dict[str, Any]:
    return {"id": ids[0]} if len(ids) == 1 else {"ids": ids}


def _describe(values: list[Value], survey: Survey) -> str:
    fraction = sum(value.fraction for value in values)
    masks = max(value.masks for value in values)
    return f"{fraction:.2%} of the pixels, in {masks} of {survey.masks_read} masks"


def _from_colors(values: list[Value], space: LabelSpace) -> dict[str, Any]:
    """Return the classes of a label space whose colours the masks hold."""
    odd = [value for value in values if unpack(value.value) not in (*space.colors, BLACK)]
    if odd:
        shown = ", ".join(value.text("colours") for value in odd[:5])
        raise DsegError(
            f"The masks hold the {'colour' if len(odd) == 1 else 'colours'} {shown}, which no "
            f"class of {space.name} has.",
            hint="give the names one by one: --names road,car,...",
        )
    rows = [
        {"name": name, "color": list(color)}
        for name, color in zip(space.names, space.colors, strict=True)
    ]
    left_out = [] if BLACK in space.colors else [list(BLACK)]
    return {"mask_colors": True, "ignore_colors": left_out, "class": rows}


def _from_space(values: list[Value], space: LabelSpace) -> dict[str, Any]:
    """Return the classes of a label space whose label ids or train ids the masks hold."""
    held = {value.value for value in values if not value.ignored}
    label_ids = {*space.label_ids, *space.ignored_ids, IGNORE}
    by_label = space.label_ids
    if held <= set(range(space.num_classes)):
        by_label = tuple(range(space.num_classes))
    elif not held <= label_ids:
        odd = sorted(held - label_ids)
        raise DsegError(
            f"The masks hold {', '.join(map(str, odd[:5]))}, which no class of {space.name} has.",
            hint="give the names one by one: --names road,car,...",
        )
    rows = [
        {"name": name, "id": value, "color": list(color)}
        for name, value, color in zip(space.names, by_label, space.colors, strict=True)
    ]
    return {"ignore": sorted({*label_ids, *held} - set(by_label)), "class": rows}


def _from_table(survey: Survey, values: list[Value], text: str) -> dict[str, Any]:
    """Return the classes of a table of labels, after a check against the masks."""
    assert survey.label_file is not None
    colours = survey.values.kind == "colours"
    fields = read_label_table(survey.label_file, text, by_color=colours)
    by_color = bool(fields.get("mask_colors"))
    if by_color != (survey.values.kind == "colours"):
        listed = "colours" if by_color else "ids"
        raise DsegError(
            f"{survey.label_file} lists {listed}, but the masks hold {survey.values.kind}.",
            hint="name the classes by --names, or give another --labels.",
        )
    if by_color:
        known = {
            tuple(c) for row in fields["class"] for c in (row["color"], *row.get("colors", []))
        }
        known |= {tuple(color) for color in fields.get("ignore_colors", [])}
        lacking = [value for value in values if value.color not in known]
    else:
        ids = {number for row in fields["class"] for number in row.get("ids", [row.get("id")])}
        fields.setdefault("ignore", [IGNORE] if IGNORE not in ids else [])
        lacking = [v for v in values if v.value not in {*ids, *fields["ignore"], IGNORE}]
    if lacking:
        shown = "; ".join(value.text(survey.values.kind) for value in lacking[:5])
        raise DsegError(
            f"{survey.label_file} lacks {len(lacking)} values of the masks: {shown}.",
            hint="add them to the table, or name the classes by --names.",
        )
    return fields


def check_names(text: str) -> list[str]:
    """Return names separated by commas.

    Raises:
        DsegError: a name is empty or cannot be printed.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if not name.isprintable():
            raise DsegError(f"{name!r} is not a name.", hint=f"{suggest(name, ())}use plain text.")
    return names
