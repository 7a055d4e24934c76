"""Summary: the outcome of a run over many images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dseg.predict.inputs import ImageFile, VideoFile

MAX_NOTES = 3


class Failure(NamedTuple):
    """An image that could not be read, labelled or written, with the error and its hint.

    Attributes:
        path: the file, or an address.
    """

    path: Path | str
    problem: str
    hint: str


@dataclass
class Summary:
    """The outcome of a run over many images.

    Attributes:
        done: number of images labelled in this run.
        skipped: number of images and videos whose results existed already.
        failed: the images that could not be read, labelled or written.
        videos: number of videos labelled in this run.
        frames: number of their frames.
        tiled: number of images predicted in tiles because they are large.
        notes: the first remarks on files that were read, such as that a file has several pages.
        noted: number of all such remarks.
        seconds: time from the first image to the last file written.
        read_s, forward_s, write_s: time within each stage, summed over images; on a GPU the
            forward stage is the time for which the program waits.
    """

    done: int = 0
    skipped: int = 0
    failed: list[Failure] = field(default_factory=list)
    videos: int = 0
    frames: int = 0
    tiled: int = 0
    notes: list[str] = field(default_factory=list)
    noted: int = 0
    seconds: float = 0.0
    read_s: float = 0.0
    forward_s: float = 0.0
    write_s: float = 0.0

    def add_video(self, video: Summary) -> None:
        """Add the outcome of a video, whose frames were counted as images."""
        self.videos += video.done > 0
        self.frames += video.done
        self.skipped += video.skipped
        self.failed += video.failed
        self.tiled += video.tiled
        for note in video.notes:
            self.note(note)
        self.noted += video.noted - len(video.notes)
        self.read_s += video.read_s
        self.forward_s += video.forward_s
        self.write_s += video.write_s

    def note(self, note: str) -> None:
        """Count a remark on a file, and keep it if it is among the first."""
        self.noted += 1
        if len(self.notes) < MAX_NOTES:
            self.notes.append(note)


def join_summaries(summaries: list[Summary], images: Sequence[ImageFile | VideoFile]) -> Summary:
    """Join the summaries of all processes; failures are in the order of images and videos."""
    order: dict[Path | str, int] = {image.path: index for index, image in enumerate(images)}
    return Summary(
        done=sum(one.done for one in summaries),
        skipped=sum(one.skipped for one in summaries),
        failed=sorted(
            (failure for one in summaries for failure in one.failed),
            key=lambda failure: order.get(failure.path, len(order)),
        ),
        videos=sum(one.videos for one in summaries),
        frames=sum(one.frames for one in summaries),
        tiled=sum(one.tiled for one in summaries),
        notes=[note for one in summaries for note in one.notes][:MAX_NOTES],
        noted=sum(one.noted for one in summaries),
        seconds=max(one.seconds for one in summaries),
        read_s=sum(one.read_s for one in summaries),
        forward_s=sum(one.forward_s for one in summaries),
        write_s=sum(one.write_s for one in summaries),
    )
