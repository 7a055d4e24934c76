"""Graphs of networks in the user's cache folder, found by the digest of the weights."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from dseg import __version__
from dseg.downloads import cache_folder
from dseg.errors import DsegError
from dseg.files import written_whole
from dseg.graphs.facts import GraphFacts, add_facts
from dseg.graphs.trace import trace
from dseg.models import SegModel
from dseg.protocol import Size

KEPT_BYTES = 4_000_000_000  # of graphs; those not used for the longest time are removed
FORMAT = 1  # of the graphs; a change of dseg's tracing raises it


def graphs_folder() -> Path:
    """Return the folder of cached graphs, ``~/.cache/dseg/graphs`` by default."""
    return cache_folder() / "graphs"


def cached_graph(
    model: SegModel,
    size: Size | None = None,
    *,
    on_trace: Callable[[], None] = lambda: None,
    check: Callable[[bytes], None] = lambda graph: None,
) -> Path | bytes:
    """Return the ONNX graph of a network, traced on first use.

    Args:
        model: network with its weights.
        size: the only size of image; None for any.
        on_trace: called before the network is traced, which takes some seconds.
        check: raises an error for a new graph that is wrong; it is not kept then.

    Returns:
        The cached file; the serialised graph itself if the cache cannot be written.

    Raises:
        TraceError: the network cannot be traced.
    """
    folder = _folder_if_any()
    prefix = f"{model.card.network}-{_digest(model, size)}"
    kept = _find(folder, prefix) if folder else None
    if kept is not None:
        return kept
    on_trace()
    graph = trace(model, size=size)
    add_facts(graph, model.card, GraphFacts(size=size, version=__version__))
    data: bytes = graph.SerializeToString()
    check(data)
    if folder is None:
        return data
    path = folder / f"{prefix}-{_digest_of_file(data)}.onnx"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as part:
            part.write_bytes(data)
        _remove_old(folder, path)
    except (OSError, DsegError):  # a full disk, or a home that cannot be written
        return data
    return path


def _folder_if_any() -> Path | None:
    """Return the folder of cached graphs, None for a user without a home."""
    try:
        return graphs_folder()
    except DsegError:
        return None


def _find(folder: Path, prefix: str) -> Path | None:
    """Return the whole cached file of a network; remove damaged ones, which would compute others.

    A file's name ends with the digest of what is in it.
    """
    for path in folder.glob(f"{prefix}-*.onnx"):
        with suppress(OSError):
            if path.stem.endswith(f"-{_digest_of_file(path.read_bytes())}"):
                with suppress(OSError):
                    os.utime(path)  # was used just now
                return path
            path.unlink()
    return None


def _digest_of_file(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _digest(model: SegModel, size: Size | None) -> str:
    """Return a digest of everything that a graph depends on."""
    card = model.card
    digest = hashlib.sha256()
    facts = (FORMAT, __version__, torch.__version__, card.network, sorted(card.kwargs.items()))
    digest.update(repr((*facts, type(model).__qualname__, size)).encode())
    for key, value in model.state_dict().items():
        digest.update(f"{key} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def _remove_old(folder: Path, kept: Path) -> None:
    """Remove the graphs that were not used for the longest time, beyond ``KEPT_BYTES``."""
    used = []
    for file in folder.glob("*.onnx"):
        with suppress(OSError):
            state = file.stat()
            used.append((time.time() if file == kept else state.st_mtime, state.st_size, file))
    held = 0
    for _, length, file in sorted(used, reverse=True):
        held += length
        if held > KEPT_BYTES and file != kept:
            with suppress(OSError):
                file.unlink()
