"""What became of many images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dseg.predict.inputs import ImageFile

NOTES_AT_MOST = 3


class Failure(NamedTuple):
    """An image that could not be read, labelled or written, why, and what to do."""

    path: Path
    problem: str
    hint: str


@dataclass
class Summary:
    """What became of the images.

    Attributes:
        done: images labelled in this run.
        skipped: images whose results were there already.
        failed: the images that could not be read or labelled.
        tiled: images predicted in tiles because they are large.
        seconds: from the first image to the last file written.
        notes: what is to be known of images that were read, such as that they have pages; the
            first of them.
        noted: how many such notes there are.
        read_s, forward_s, write_s: seconds within each stage, summed over images; on a GPU
            forward is what the program waits for.
    """

    done: int = 0
    skipped: int = 0
    failed: list[Failure] = field(default_factory=list)
    tiled: int = 0
    notes: list[str] = field(default_factory=list)
    noted: int = 0
    seconds: float = 0.0
    read_s: float = 0.0
    forward_s: float = 0.0
    write_s: float = 0.0

    def note(self, note: str) -> None:
        """Count what is to be known of an image, and keep it if it is among the first."""
        self.noted += 1
        if len(self.notes) < NOTES_AT_MOST:
            self.notes.append(note)


def join(parts: list[Summary], images: Sequence[ImageFile]) -> Summary:
    """Return one summary of all processes' parts; its failures are in the order of the images."""
    places = {image.path: place for place, image in enumerate(images)}
    return Summary(
        done=sum(part.done for part in parts),
        skipped=sum(part.skipped for part in parts),
        failed=sorted(
            (failure for part in parts for failure in part.failed),
            key=lambda failure: places[failure.path],
        ),
        tiled=sum(part.tiled for part in parts),
        notes=[note for part in parts for note in part.notes][:NOTES_AT_MOST],
        noted=sum(part.noted for part in parts),
        seconds=max(part.seconds for part in parts),
        read_s=sum(part.read_s for part in parts),
        forward_s=sum(part.forward_s for part in parts),
        write_s=sum(part.write_s for part in parts),
    )
