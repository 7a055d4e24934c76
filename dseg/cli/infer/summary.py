"""Progress and summary of predictions, which several processes can share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from dseg.cli.console import describe_rate, progress, say
from dseg.errors import counted, quote
from dseg.parallel import Advance

if TYPE_CHECKING:
    from dseg.distributed import Group
    from dseg.predict import ImageFile, Manifest, Predictor, Summary
    from dseg.predict.inputs import VideoFile


def sharded_progress(
    what: str, images: Sequence[object], group: Group, *, quiet: bool
) -> AbstractContextManager[Advance]:
    """Show progress as ``console.progress`` does; of several processes, that of the first."""
    label = what if group.world_size == 1 else f"{what} by process 1 of {group.world_size}"
    count = len(group.shard(images))
    return progress(label, count, quiet=quiet or not group.main or not count)


def make_facts(
    summary: Summary,
    manifest: Manifest,
    predictor: Predictor,
    out: Path,
    group: Group,
    unread: Mapping[str, int],
) -> dict[str, object]:
    """Return what ``--json`` of the predicting commands writes."""
    return {
        "out": str(out),
        "done": summary.done,
        "videos": summary.videos,
        "frames": summary.frames,
        "skipped": summary.skipped,
        "failed": [
            {"file": str(failure.path), "problem": failure.problem, "hint": failure.hint}
            for failure in summary.failed
        ],
        "tiled": summary.tiled,
        "notes": summary.notes,
        "not_read": dict(unread),
        "seconds": round(summary.seconds, 3),
        "stage_seconds": {
            "read": round(summary.read_s, 3),
            "forward": round(summary.forward_s, 3),
            "write": round(summary.write_s, 3),
        },
        "device": str(predictor.device),
        "precision": predictor.precision,
        "runtime": predictor.runtime.name,
        "processes": group.world_size,
        "settings": manifest.as_json(),
    }


def say_summary(
    summary: Summary,
    manifest: Manifest,
    predictor: Predictor,
    out: Path,
    group: Group,
    protocol_name: str,
) -> None:
    """Report the results of all images."""
    from dseg.predict.runtimes import TITLES

    for note in summary.notes:
        say(f"note: {note}")
    if summary.noted > len(summary.notes):
        say(f"note: and {summary.noted - len(summary.notes)} more such images.")
    hints: set[str] = set()
    for path, problem, hint in summary.failed:
        at = "" if str(path) in problem else f"{path}: "
        say(f"failed: {at}{problem}", always=True)
        if hint not in hints:  # once for each hint
            say(f"Hint: {hint}", always=True)
            hints.add(hint)
    speed = describe_rate(summary.done + summary.frames, summary.seconds)
    speed = f", {speed}" if speed else ""
    labelled = str(summary.done)
    if summary.videos:
        frames = f"{counted(summary.frames, 'frame')} of {counted(summary.videos, 'video')}"
        labelled = f"{counted(summary.done, 'image')} and {frames}" if summary.done else frames
    several = f", {group.world_size} processes" if group.world_size > 1 else ""
    runtime = predictor.runtime.name
    by = f"{TITLES[runtime]}, " if predictor.device.type == "cpu" else ""
    where = f"{predictor.device} ({by}{predictor.precision}{several})"
    say(
        f"{labelled} labelled, {summary.skipped} already there, {len(summary.failed)} failed "
        f"in {summary.seconds:.1f} s{speed} on {where}. "
        f"Protocol: {protocol_name} ({manifest.protocol.describe()}). Results: {out}"
    )
    if (summary.done or summary.frames) and predictor.device.type == "cpu":
        _say_what_is_faster(predictor)
    if summary.tiled:
        say(
            f"Too large to be predicted whole, and predicted in tiles: "
            f"{counted(summary.tiled, 'image')}."
        )


def say_where_to_look(
    images: Sequence[ImageFile],
    videos: Sequence[VideoFile],
    summary: Summary,
    predictor: Predictor,
    out: Path,
    kinds: tuple[str, ...],
    overlay_format: str,
) -> None:
    """Name the file to look at first and, where there can be ground truth, how to score."""
    first = _find_picture(images, out, kinds, overlay_format)
    if first is not None:
        say(f"Look first at: {first}")
    for video in videos:
        file = _find_video(video, out, kinds)
        if file is not None:
            say(f"Look {'also' if first else 'first'} at: {file}")
            break
    scores = "label_ids" in kinds and predictor.label_space.name == "cityscapes"
    if images and scores and not summary.failed and (truth := _find_truth(images[0].path)):
        folder, truth = quote(out / "label_ids"), quote(truth)
        say(f"Next: dseg eval --pred-dir {folder} --gt-dir {truth}")


def _find_picture(
    images: Sequence[ImageFile], out: Path, kinds: tuple[str, ...], overlay_format: str
) -> Path | None:
    """Return the result of images that shows most, None if there is none to look at."""
    from dseg.predict.masks import folder_of
    from dseg.predict.run_files import JOINED, find_joined, find_overview

    if "overlay" in kinds and len(images) > 1 and (sheet := find_overview(out)):
        return sheet
    masks = [kind for kind in kinds if kind.startswith("mask:")]
    for kind in ("overlay", "color", "entropy", "confidence", *masks):
        suffix = overlay_format if kind == "overlay" else "png"
        places = (out / folder_of(kind) / f"{image.name}.{suffix}" for image in images)
        found = next(filter(Path.exists, places), None) if kind in kinds else None
        if found is not None:
            return found
    joined = (find_joined(out, kind) for kind in reversed(JOINED) if kind in kinds)
    return next(filter(Path.exists, joined), None) if images else None


def _find_video(video: VideoFile, out: Path, kinds: tuple[str, ...]) -> Path | None:
    """Return the video of overlays, or the folder of the results of frames that shows most."""
    file = out / "video" / f"{video.name}.mp4"
    if "video" in kinds and file.exists():
        return file
    shown = [out / kind / video.name for kind in ("overlay", "color", "entropy") if kind in kinds]
    return next(filter(Path.is_dir, shown), None)


def _find_truth(image: Path) -> str:
    """Return the folder of the ground truth of an image in Cityscapes' layout, "" for others."""
    parts = image.parts[:-1]
    if "leftImg8bit" not in parts:
        return ""
    at = parts.index("leftImg8bit")
    truth = Path(*parts[:at], "gtFine", *parts[at + 1 : at + 2])
    return str(truth)


def _say_what_is_faster(predictor: Predictor) -> None:
    """Name the options that are faster on this CPU, if any."""
    from dseg.device import has_bf16
    from dseg.graphs.needs import is_installed

    if predictor.runtime.name == "torch" and not is_installed("openvino"):
        say(
            "Faster on this CPU: OpenVINO, used as soon as it is installed "
            "(pip install 'dseg[openvino]')."
        )
    elif (
        predictor.runtime.precision == "float32"
        and predictor.runtime.name != "onnx"  # which has no bf16
        and has_bf16(predictor.device)
    ):
        say(
            "Faster on this CPU: --precision bf16, about twice to four times with OpenVINO; up to "
            "2 % of labels change, at borders."
        )
