"""``dseg.load``: a predictor by the name of a network."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dseg.api.words import in_python
from dseg.config import NetworkConfig
from dseg.errors import Detail, DsegError
from dseg.predict import Predictor, Protocol


@in_python(NetworkConfig)
def load(
    name: str | Path | None = None,
    weights: Path | str | None = None,
    *,
    protocol: Protocol | None = None,
    device: str = "auto",
    precision: str = "fp32",
    runtime: str | None = None,
    partial: bool = False,
    inplace_abn: bool | None = None,
    raw_weights: bool = False,
    quiet: bool = False,
) -> Predictor:
    """Load a network with its weights, which are downloaded on first use, as ``dseg infer`` does.

    Example:
        >>> predictor = dseg.load("dabnet")
        >>> prediction = predictor("street.jpg")
        >>> prediction.areas()["road"]
        0.412

    Args:
        name: network listed by ``dseg models``, or a file in place of ``weights``; by default
            identified by the file, and without a file the bundled demo network.
        weights: checkpoint, exported file, or ``hf://owner/name/file``; by default the network's
            file in ``weights/`` or the cache.
        protocol: inference protocol; by default what the network requires.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        precision: ``fp32``, ``bf16``, ``fp16``; or ``auto``: bf16 on a GPU that has it.
        runtime: ``auto``: OpenVINO on the CPU if it is installed, else PyTorch; ``torch``,
            ``openvino`` or ``onnx``; by default the environment variable DSEG_RUNTIME, else
            ``auto``.
        partial: accept a checkpoint of which only some keys fit.
        inplace_abn: whether the file was trained with in-place activated batch norm.
        raw_weights: use the raw weights of a file that also has EMA weights.
        quiet: do not print notes, such as size and licence of a download, to standard error.

    Raises:
        CheckpointError: the file is missing, cannot be downloaded, or is of another network.
        DsegError: unknown network, device or runtime.
    """

    def note(line: str) -> None:
        if not quiet and not isinstance(line, Detail):
            sys.stderr.write(f"{line}\n")

    if name is not None and not isinstance(name, (str, os.PathLike)):
        raise DsegError(
            f"{name!r} is not the name of a network or a file.",
            hint="name one as in dseg models; for a module of your own, use dseg.Predictor.",
        )
    if weights is None and name is not None and _is_file(name):
        name, weights = None, name
    if name is None and weights is None:
        note(
            "Using the bundled demo network dabnet (weak: see weights/README.md). Better: "
            'dseg.load("dabnet"), trained on Cityscapes (3 MB download).'
        )
    return Predictor.load(
        None if name is None else str(name),
        weights,
        protocol=protocol,
        device=device,
        precision=precision,
        runtime=runtime or os.environ.get("DSEG_RUNTIME") or "auto",
        partial=partial,
        inplace_abn=inplace_abn,
        raw_weights=raw_weights,
        on_note=note,
    )


def _is_file(name: str | Path) -> bool:
    """Return True for a path; the names of networks have no dots and no folders."""
    return isinstance(name, Path) or any(sign in name for sign in "./\\")
