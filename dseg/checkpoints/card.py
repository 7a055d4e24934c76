"""Our own files: safetensors whose metadata says which network, classes and normalisation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file

from dseg.errors import CheckpointError
from dseg.images import written_whole
from dseg.labels import LABEL_SPACES, LabelSpace
from dseg.models import ModelCard, SegModel
from dseg.registry import find_model

FORMAT_VERSION = 1


def save_model(model: SegModel, path: Path, *, scores: Mapping[str, float] | None = None) -> None:
    """Write a network as safetensors with its card: name, arguments, classes, normalisation.

    Args:
        model: made by ``build_model`` or ``load_model``.
        scores: measured figures to keep with it.

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
        "scores": dict(card.scores if scores is None else scores),
    }
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    with written_whole(path) as part:
        save_file(state, part, {"dseg": json.dumps(metadata)})


def read_card(path: Path, text: str) -> ModelCard:
    """Return the card that ``save_model`` wrote into a file's metadata.

    Raises:
        CheckpointError: it is not what ``save_model`` writes.
    """
    try:
        data = json.loads(text)
        known = LABEL_SPACES.get(data["label_space"])
        space = LabelSpace(
            name=data["label_space"],
            names=tuple(data["classes"]),
            colors=tuple((int(r), int(g), int(b)) for r, g, b in data["colors"]),
            label_ids=tuple(data["label_ids"]),
        )
        return ModelCard(
            network=find_model(data["network"]),
            kwargs=data["kwargs"],
            label_space=known if known and known.names == space.names else space,
            mean=tuple(data["mean"]),
            std=tuple(data["std"]),
            scores=data["scores"],
        )
    except (KeyError, TypeError, ValueError) as fault:
        raise CheckpointError(
            f"{path} has damaged metadata: {fault!r}.",
            hint="download or copy the file again and compare its size or SHA-256.",
        ) from fault
