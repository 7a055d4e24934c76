"""What ``dseg init`` found, as tables."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dseg.cli.console import say, show
from dseg.cli.tables import show_table
from dseg.errors import counted, quote

if TYPE_CHECKING:
    from dseg.datasets import Dataset
    from dseg.survey import Survey

SIZES_AT_MOST = 3


def show_survey(survey: Survey) -> None:
    """Print what was found."""
    from dseg.survey.groups import split_pattern
    from dseg.survey.naming import list_values

    pairing = survey.pairing
    sizes = [f"{w}x{h}" for (h, w), _ in survey.sizes.most_common(SIZES_AT_MOST)]
    more = f" and {len(survey.sizes) - SIZES_AT_MOST} more" * (len(survey.sizes) > SIZES_AT_MOST)
    kinds = {"ids": "one value per class", "colours": "one colour per class"}
    endings = (
        pairing.image_ends.text(pairing.images.suffix),
        pairing.mask_ends.text(pairing.masks.suffix),
    )
    facts = {
        "images": f"{_describe_place(split_pattern(pairing.images, survey.root))} ({endings[0]})",
        "masks": f"{_describe_place(split_pattern(pairing.masks, survey.root))} ({endings[1]})",
        "pairs": ", ".join(f"{split} {count}" for split, count in survey.splits.items()),
        "lists": ", ".join(place for place, _ in survey.lists.values()),
        "images without mask": str(survey.unpaired_images or ""),
        "masks without image": str(survey.unpaired_masks or ""),
        "not used": ", ".join(f"{place}: {count}" for place, count in survey.unused.items()),
        "sizes": ", ".join(sizes) + more,
        "masks hold": kinds[survey.values.kind],
    }
    show_table("", ("found", ""), [(what, value) for what, value in facts.items() if value])
    kind = survey.values.kind
    rows = [
        (
            value.text(kind) + " (ignored)" * value.ignored,
            f"{value.fraction:.2%}",
            f"{value.masks} of {survey.masks_read}",
        )
        for value in list_values(survey)
    ]
    show_table("", ("value" if kind == "ids" else "colour", "pixels", "masks"), rows)


def _describe_place(place: str | dict[str, str]) -> str:
    return place if isinstance(place, str) else ", ".join(place.values())


def _validation_options(datasets: list[Dataset]) -> str:
    """Return the options that a training without a split ``val`` needs."""
    counts = {dataset.split: len(dataset) for dataset in datasets}
    if "val" in counts or "train" not in counts:
        return ""
    if counts["train"] == 1:
        return "--split all --val-split none "
    return f"--val-split {0.2 if counts['train'] > 2 else 0.5} "


def list_tables() -> None:
    """Print the ready-made class files."""
    from dseg.datasets.known import KNOWN

    for name, known in KNOWN.items():
        show(f"{name:18}{known.title}", indent=" " * 18)


def at_terminal() -> bool:
    """Return True if questions can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def say_finished(
    folder: Path, target: Path, datasets: list[Dataset], sheet: Path, drawn: int
) -> None:
    """Say what was written, what to look at, and what comes next.

    Args:
        folder: the data.
        target: the class file.
        datasets: the splits.
        sheet: the contact sheet.
        drawn: number of images on it; 0 if there is none.
    """
    say(f"Written: {target}, {counted(len(datasets[0].space.names), 'class', 'classes')}.")
    if len(datasets[0].space.names) == 1:
        say("WARNING: There is one class only, and nothing to tell it from: it is not trained.")
    if datasets[0].note:
        say(datasets[0].note)
    if drawn:
        say(f"Look at {sheet}: {counted(drawn, 'image')} beside the masks.")
    classes = "" if target.parent == folder else f" --classes {quote(target)}"
    say(
        f"Next: dseg train --data-dir {quote(folder)}{classes} "
        f"{_validation_options(datasets)}--out run"
    )
