"""What a user should know of the masks in a folder, before they are named."""

from __future__ import annotations

from dseg.errors import counted
from dseg.survey.look import Survey

SHOWN = 3
MANY = 10  # masks
ODD = 1e-4  # fraction of the pixels


def make_remarks(survey: Survey) -> list[str]:
    """Return sentences on masks that are not read as one may expect."""
    values = survey.values
    remarks = [f"WARNING: A list is not used: {fault}" for fault in survey.unread_lists]
    if values.clashing:
        remarks.append(_describe_palettes(survey))
    if values.joined:
        remarks.append(
            "The masks hold 0 and 255 and values between them, as lossy compression and smoothed "
            "edges cause: values below 128 count as 0, others as 255. Better: masks saved as PNG, "
            "without smoothing."
        )
    count, pixels = values.left_out
    if count:
        total = pixels + sum(values.pixels.values())
        remarks.append(
            f"{count:,} rare colours ({pixels / total:.2%} of the pixels together) are not listed: "
            "they look like smoothed edges or lossy compression, and are ignored (unlisted in the "
            "class file). If one of them is a class, add it to the class file."
        )
    if survey.left_out and survey.unpaired_images:
        remarks.append(
            f"Images without a mask ({survey.unpaired_images:,}) are left out (without_mask in the "
            "class file)."
        )
    remarks += _describe_odd(survey)
    count, first = survey.unequal
    if count and first is not None:
        remarks.append(
            f"WARNING: Masks that differ in size from their images: {count:,} (first: {first}). "
            "Training refuses them: resize them by nearest neighbour, or remove them."
        )
    return remarks


def _describe_odd(survey: Survey) -> list[str]:
    """Return a warning of ids with few pixels in one mask of many, as mistakes are."""
    values, total = survey.values, sum(survey.values.pixels.values())
    if values.kind != "ids" or survey.masks_read < MANY:
        return []
    odd = [
        f"{value} ({counted(pixels, 'pixel')} in {values.first[value]})"
        for value, pixels in sorted(values.pixels.items())
        if values.masks[value] == 1 and pixels < ODD * total and value in values.first
    ]
    if not odd:
        return []
    more = f" and {len(odd) - SHOWN} more" * (len(odd) > SHOWN)
    return [
        f"WARNING: Only one mask holds the value {', '.join(odd[:SHOWN])}{more}: a mistake? "
        "The name - ignores a value."
    ]


def _describe_palettes(survey: Survey) -> str:
    files = sorted(path.relative_to(survey.root).as_posix() for path in survey.values.clashing)
    more = f" and {len(files) - SHOWN} more" * (len(files) > SHOWN)
    named = f"{', '.join(files[:SHOWN])}{more}"
    if survey.values.kind == "colours":
        return (
            f"The palettes of the masks differ (in {named}), so that one index has several "
            "colours: the masks are read by colour (mask_colors in the class file)."
        )
    return (
        f"WARNING: The palettes of the masks differ (in {named}), but the masks are read by index, "
        "as they have more colours than indices. If the colours are right, set mask_colors = true "
        "in the class file and give each class its color."
    )
