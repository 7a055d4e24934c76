"""Our own files: safetensors whose metadata says which network, classes and normalisation."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save

from dseg.errors import CheckpointError
from dseg.images import written_whole
from dseg.labels import LABEL_SPACES, LabelSpace
from dseg.models import ModelCard, SegModel
from dseg.registry import MODELS, find_model, plain_name

FORMAT_VERSION = 1


def save_model(
    model: SegModel,
    path: Path,
    *,
    scores: Mapping[str, float] | None = None,
    training: Mapping[str, Any] | None = None,
    half: bool = False,
) -> None:
    """Write a network as safetensors with its card: name, arguments, classes, normalisation.

    Args:
        model: made by ``build_model`` or ``load_model``.
        scores: measured figures to keep with it.
        training: what else is to be kept: how it was trained, as JSON has it.
        half: write 16 bits a number (IEEE half precision) where the network has 32.

    Raises:
        DsegError: the file cannot be written.
    """
    card = model.card
    space = card.label_space
    metadata = {
        "format": FORMAT_VERSION,
        "network": card.network,
        "kwargs": card.kwargs,
        "label_space": space.name,
        "classes": space.names,
        "colors": space.colors,
        "label_ids": space.label_ids,
        "mean": card.mean,
        "std": card.std,
        "order": card.order,
        "scores": _without_nan(card.scores if scores is None else scores),
        "training": dict(training or {}),
    }
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    if half:
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    # not save_file, whose files nobody else on the machine may read
    data = save(state, {"dseg": json.dumps(metadata)})
    with written_whole(path) as part:
        part.write_bytes(data)


def read_card(path: Path, text: str) -> ModelCard:
    """Return the card that ``save_model`` wrote into a file's metadata.

    Raises:
        CheckpointError: it is not what ``save_model`` writes, or what a newer one does.
    """
    try:
        data = json.loads(text)
        if data["format"] > FORMAT_VERSION or plain_name(data["network"]) not in _known_networks():
            raise CheckpointError(
                f"{path} is written for {data['network']!r} by a newer dseg "
                f"(format {data['format']}, this one reads {FORMAT_VERSION}).",
                hint="pip install -U dseg",
            )
        return ModelCard(
            network=find_model(data["network"]),
            kwargs=dict(data["kwargs"]),
            label_space=_read_space(data),
            mean=_read_rgb(data["mean"]),
            std=_read_rgb(data["std"]),
            order=_read_order(data.get("order", "RGB")),  # older files do not say
            scores={
                str(name): float("nan" if score is None else score)
                for name, score in data["scores"].items()
            },
        )
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise CheckpointError(
            f"{path} has damaged metadata: {fault!r}.",
            hint="download or copy the file again and compare its size or SHA-256.",
        ) from fault


def _known_networks() -> set[str]:
    return {plain_name(name) for name in MODELS}


def _read_space(data: dict[str, Any]) -> LabelSpace:
    known = LABEL_SPACES.get(data["label_space"])
    names = tuple(map(str, data["classes"]))
    if known is not None and known.names == names:
        return known
    colors = tuple((int(r), int(g), int(b)) for r, g, b in data["colors"])
    label_ids = tuple(map(int, data["label_ids"]))
    if not len(names) == len(colors) == len(label_ids):
        raise ValueError(f"{len(names)} classes, {len(colors)} colors, {len(label_ids)} ids")
    return LabelSpace(
        name=str(data["label_space"]), names=names, colors=colors, label_ids=label_ids
    )


def _read_rgb(numbers: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = map(float, numbers)
    return red, green, blue


def _read_order(order: str) -> str:
    if order not in ("RGB", "BGR"):
        raise ValueError(f"channels in the order {order!r}")
    return order


def _without_nan(scores: Mapping[str, float]) -> dict[str, float | None]:
    """Return scores as strict JSON has them: null where there is no number."""
    return {name: score if math.isfinite(score) else None for name, score in scores.items()}
