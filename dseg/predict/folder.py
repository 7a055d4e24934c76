"""predict_folder: the images of a folder to the results that ``dseg infer`` writes."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from dseg.errors import DsegError
from dseg.files import sha256
from dseg.images import MAX_PIXELS, RESULT_KINDS
from dseg.models import OwnNetwork, SegModel
from dseg.predict.inputs import ImageFile, describe_unread, find_images, split_videos
from dseg.predict.manifest import Manifest
from dseg.predict.masks import MASK
from dseg.predict.prediction import MEASURES
from dseg.predict.predictor import Predictor
from dseg.predict.runs import predict_images
from dseg.predict.summary import Summary
from dseg.predict.videos import VideoOptions
from dseg.render import OverlayStyle
from dseg.video import Sampling, has_library, library_error

FOLDER_KINDS = tuple(kind for kind in RESULT_KINDS if kind != "mask")
DEFAULT_KINDS = ("label_ids", "color", "overlay")  # of images


def predict_folder(
    predictor: Predictor,
    source: Path | str | Sequence[Path | str],
    out: Path | str,
    *,
    kinds: Sequence[str] | None = None,
    overwrite: bool = False,
    overlay_format: str = "png",
    style: OverlayStyle | None = None,
    batch_size: int | None = None,
    max_pixels: int = MAX_PIXELS,
    sampling: Sampling | None = None,
) -> Summary:
    """Label all images of a folder and write ``<out>/<kind>/<name>.png``, as ``dseg infer`` does.

    Videos are labelled after the images, into ``<out>/video/<name>.mp4``. Results that exist are
    kept, so that a second call continues the first. Memory does not depend on the number of
    images. Messages of the command are Python warnings.

    Args:
        predictor: the network.
        source: folder (any depth), file or pattern such as ``frames/*.png``, or several of them.
        out: folder for the results.
        kinds: kinds of results: ``label_ids``, ``color``, ``overlay``, ``train_ids``,
            ``confidence``, ``entropy``, ``coco``, ``areas``, ``video``, or ``mask:`` and a class
            name; by default ``label_ids``, ``color`` and ``overlay`` of images, and ``video`` of
            videos. If kinds are given, those other than ``video`` are written for each frame.
        overwrite: replace existing results.
        overlay_format: ``png`` or ``jpg``.
        style: how overlays look: opacity, legend, side by side.
        batch_size: number of images of one size that are labelled at once; by default 1 on the
            CPU, more on a GPU.
        max_pixels: refuse images with more pixels.
        sampling: which frames of videos are read; by default all.

    Returns:
        What was done; an image that cannot be read is listed in ``failed``, with a warning.

    Raises:
        DsegError: there is no image or video, or a video without PyAV; ``out`` holds results of
            another run or is the folder of the images; or a value is out of range.
    """
    sources: list[str | Path] = [source] if isinstance(source, str | os.PathLike) else list(source)
    out = Path(out)
    _check(sources, out, kinds, overlay_format, batch_size)
    unread: Counter[str] = Counter()
    images, videos = split_videos(
        find_images(sources, leave_out=out, unread=unread, videos=has_library())
    )
    if videos and not has_library():
        raise library_error(str(videos[0].path))
    of_images, of_videos = split_kinds(kinds, images)
    used = {*(of_images if images else ()), *(of_videos if videos else ())}
    if any(kind in MEASURES for kind in used):
        predictor.refuse_labels_only()
    manifest = make_manifest(predictor)
    if used & {"overlay", "video"}:
        manifest = replace(manifest, overlay=style or OverlayStyle())
    summary = predict_images(
        predictor,
        images,
        out,
        manifest,
        kinds=of_images,
        overwrite=overwrite,
        overlay_format=overlay_format,
        max_pixels=max_pixels,
        batch_size=batch_size,
        videos=videos,
        video_options=VideoOptions(kinds=of_videos, sampling=sampling or Sampling()),
    )
    for path, problem, _ in summary.failed:
        shown = problem if str(path) in problem else f"{path}: {problem}"
        warnings.warn(f"failed: {shown}", stacklevel=3)
    if unread:
        warnings.warn(f"Files of unsupported formats: {describe_unread(unread)}.", stacklevel=3)
    return summary


def split_kinds(
    kinds: Sequence[str] | None, images: Sequence[ImageFile]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the kinds of results of images, and those of videos.

    Args:
        kinds: those that the user named, None for the default.
        images: the images of the run.

    Raises:
        DsegError: only ``video`` is named, but there are images.
    """
    if kinds is None:
        return DEFAULT_KINDS, ("video",)
    of_images = tuple(kind for kind in kinds if kind != "video")
    if images and not of_images:
        raise DsegError(
            f"The kind video is for videos, but not only videos are named ({images[0].path}).",
            hint="add a kind for images, as in: overlay,video.",
        )
    return of_images, tuple(kinds)


def make_manifest(predictor: Predictor) -> Manifest:
    """Return the manifest of a predictor; for one of a file, that of ``dseg infer`` with it."""
    loaded = predictor.loaded
    if loaded is None:
        model = predictor.model
        if predictor.runtime.name != "torch":  # the model has no weights then
            raise DsegError(
                f"The weights of {model.card.network} are not in a file, which results name.",
                hint='use runtime="torch", or save it first: dseg.save_model.',
            )
        name = f"module {model.card.network}" if isinstance(model, OwnNetwork) else "in memory"
        return Manifest.of(predictor, name, digest_of(model))
    return Manifest.of(
        predictor,
        loaded.file.name,
        sha256(loaded.file),
        inplace_abn=loaded.inplace_abn,
        raw_weights=loaded.raw_weights,
    )


def digest_of(model: SegModel) -> str:
    """Return the SHA-256 of a network's weights, in hexadecimal."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        held = value.detach().cpu().contiguous()
        digest.update(f"{name} {held.dtype} {list(held.shape)}".encode())
        if held.numel():
            digest.update(held.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _check(
    sources: Sequence[str | Path],
    out: Path,
    kinds: Sequence[str] | None,
    overlay_format: str,
    batch_size: int | None,
) -> None:
    """Refuse values that the command line would refuse.

    Raises:
        DsegError: one of them.
    """
    wrong = [kind for kind in kinds or () if kind not in FOLDER_KINDS and not kind.startswith(MASK)]
    if isinstance(kinds, str) or wrong or (kinds is not None and not len(kinds)):
        raise DsegError(
            f"Kinds of results cannot be {kinds!r}.",
            hint=f"give a list of: {', '.join(FOLDER_KINDS)}, {MASK}CLASS.",
        )
    if overlay_format not in ("png", "jpg"):
        raise DsegError(f"Overlays cannot be {overlay_format!r}.", hint='use "png" or "jpg".')
    if batch_size is not None and not 1 <= batch_size <= 256:
        raise DsegError(f"A batch of {batch_size} images is not possible.", hint="use 1 to 256.")
    results = Path(os.path.realpath(out))
    for source in sources:
        place = Path(os.path.realpath(source))
        if place == results or any(place.is_relative_to(results / kind) for kind in RESULT_KINDS):
            raise DsegError(
                f"Results in {out} would lie among the images.", hint="name another out."
            )
