"""Write and read our own checkpoints: safetensors with a model card in their metadata."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from inspect import signature
from pathlib import Path
from typing import Any

from safetensors.torch import save

from dseg.errors import CheckpointError, DsegError
from dseg.files import written_whole
from dseg.jsonio import is_count, is_number, parse_object, show
from dseg.labels import IGNORE, LABEL_SPACES, LabelSpace
from dseg.models import ModelCard, SegModel, find_class
from dseg.protocol import PLAIN, Protocol
from dseg.registry import MODELS, find_model, plain_name

FORMAT_VERSION = 2
MOST_CLASSES = 255
MOST_ARGUMENT = 4096  # largest width, depth or count among constructor arguments
PLAIN_VERSION = 1  # format of files with the default protocol, which every version of dseg reads


def save_model(
    model: SegModel,
    path: Path | str,
    *,
    scores: Mapping[str, float] | None = None,
    training: Mapping[str, Any] | None = None,
    half: bool = False,
) -> None:
    """Write a network as safetensors with its model card.

    The model card holds the network's name, constructor arguments, classes, normalisation and
    protocol, so that ``load_model`` needs only the file.

    Args:
        model: network made by ``build_model`` or ``load_model``.
        path: file to write, usually ``*.safetensors``.
        scores: measured scores to store; by default those of the model card.
        training: JSON-compatible facts on how it was trained.
        half: write float16 instead of float32.

    Raises:
        DsegError: the file cannot be written.

    Example:
        >>> model = dseg.build_model("dabnet", num_classes=11)
        >>> dseg.save_model(model, "dabnet.safetensors", scores={"val_miou": 0.66})
        >>> dseg.load_model(weights="dabnet.safetensors").card.network
        'dabnet'
    """
    path = Path(path)
    metadata = {**describe_card(model.card, scores), "training": dict(training or {})}
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    if half:
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    # save_file would write files that no other user can read
    data = save(state, {"dseg": json.dumps(metadata)})
    with written_whole(path) as part:
        part.write_bytes(data)


def describe_card(card: ModelCard, scores: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Return a model card as JSON-compatible values, which ``read_card`` parses.

    Args:
        scores: measured scores; by default those of the model card.
    """
    space = card.label_space
    plain = card.protocol == PLAIN and not card.outputs
    return {
        "format": PLAIN_VERSION if plain else FORMAT_VERSION,
        "network": card.network,
        "kwargs": card.kwargs,
        "label_space": space.name,
        "classes": space.names,
        "colors": space.colors,
        "label_ids": space.label_ids,
        "mean": card.mean,
        "std": card.std,
        "order": card.order,
        "outputs": card.outputs,
        "protocol": card.protocol.changes(),
        "authors": card.authors.changes() if card.authors is not None else None,
        "scores": _without_nan(card.scores if scores is None else scores),
    }


def read_card(path: Path, text: str) -> ModelCard:
    """Parse the model card that ``save_model`` wrote into a file's metadata.

    Raises:
        CheckpointError: invalid, or written by a newer version of dseg.
    """
    try:
        data = parse_object(text)
        number, network = data["format"], data["network"]
        if not is_count(number) or not isinstance(network, str):
            raise ValueError(f"format {show(number)} of network {show(network)}")
        if number > FORMAT_VERSION or plain_name(network) not in _known_networks():
            raise CheckpointError(
                f"{path} was written for {show(network)} by a newer dseg or with another package "
                f"(format {number}, this one reads {FORMAT_VERSION}).",
                hint="pip install -U dseg, or install the package that adds this network.",
            )
        return _read_card(data)
    except CheckpointError:
        raise
    except KeyError as fault:
        raise _damaged(path, f"{fault.args[0]!r} is missing") from fault
    except (DsegError, TypeError, ValueError, AttributeError, OverflowError) as fault:
        reason = fault.problem if isinstance(fault, DsegError) else str(fault)
        raise _damaged(path, reason) from fault


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{path} has damaged metadata: {reason.rstrip('.')}.",
        hint="download or copy the file again and compare its size or SHA-256.",
    )


def _read_card(data: dict[str, Any]) -> ModelCard:
    """Build a model card from parsed metadata."""
    authors = data.get("authors")
    network = find_model(data["network"])
    space = _read_space(data)
    return ModelCard(
        network=network,
        kwargs=_read_arguments(network, data["kwargs"]),
        label_space=space,
        mean=_read_rgb(data["mean"]),
        std=_read_deviation(data["std"]),
        order=_read_order(data.get("order", "RGB")),  # older files do not have it
        outputs=_read_outputs(data.get("outputs", []), space),
        protocol=read_protocol(data.get("protocol", {})),
        authors=read_protocol(authors) if authors is not None else None,
        scores=_read_scores(data["scores"]),
    )


def _read_scores(scores: Any) -> dict[str, float]:
    """Return scores, with NaN for null."""
    if not isinstance(scores, dict):
        raise ValueError(f"scores is {show(scores)}")
    for name, score in scores.items():
        if score is not None and not is_number(score):
            raise ValueError(f"the score {show(name)} is {show(score)}")
    return {name: math.nan if score is None else float(score) for name, score in scores.items()}


def _known_networks() -> set[str]:
    return {plain_name(name) for name in MODELS}


def read_protocol(data: dict[str, Any]) -> Protocol:
    """Build a protocol from the fields that ``Protocol.changes`` returned.

    Raises:
        DsegError: a value is out of range.
        TypeError, ValueError: invalid data, or a newer version's.
    """
    if not isinstance(data, dict):
        raise ValueError(f"protocol is {show(data)}")
    known = {field.name for field in fields(Protocol)}
    if unknown := sorted(data.keys() - known):
        raise ValueError(f"unknown field {unknown[0]!r} in the protocol")
    values: dict[str, Any] = {}
    for name, value in data.items():
        default = getattr(PLAIN, name)
        sizes = name in ("input_size", "tile")
        if sizes or name == "scales":
            kind: tuple[type, ...] = (int,) if sizes else (int, float)
            if not isinstance(value, list) or (sizes and len(value) != 2):
                raise ValueError(f"{name} of a protocol cannot be {show(value)}")
            values[name] = tuple(_checked(name, number, kind) for number in value)
        elif default is None:
            values[name] = _checked(name, value, (str,) if name == "rescale" else (int,))
        else:
            kind = (int, float) if type(default) is float else (type(default),)
            values[name] = _checked(name, value, kind)
    return Protocol(**values)


def _checked(name: str, value: object, kinds: tuple[type, ...]) -> Any:
    """Return a value whose type is exactly one of ``kinds``; a bool is not a number here."""
    if type(value) not in kinds:
        raise ValueError(f"{name} of a protocol cannot be {show(value)}")
    return value


def _read_arguments(network: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return constructor arguments after checking that the network's class accepts them."""
    if not isinstance(kwargs, dict):
        raise ValueError(f"the arguments of {network} are {show(kwargs)}")
    known = signature(find_class(network)).parameters
    for name, value in kwargs.items():
        if name not in known or name == "num_classes":
            raise ValueError(f"unknown argument {show(name)} of {network}")
        if not _is_argument(value) and not (
            isinstance(value, list) and len(value) <= MOST_CLASSES and all(map(_is_argument, value))
        ):
            raise ValueError(f"{name} of {network} cannot be {show(value)}")
    return dict(kwargs)


def _is_argument(value: object) -> bool:
    if isinstance(value, (bool, str, type(None))):
        return True
    return is_number(value) and 0 <= value <= MOST_ARGUMENT  # type: ignore[operator]


def _read_space(data: dict[str, Any]) -> LabelSpace:
    name = _read_text(data["label_space"], "a label space")
    known = LABEL_SPACES.get(name)
    names = tuple(_read_text(text, "a class") for text in _read_list(data["classes"], "classes"))
    if known is not None and known.names == names:
        return known
    colors = tuple(_read_color(color) for color in _read_list(data["colors"], "colors"))
    label_ids = tuple(map(_read_byte, _read_list(data["label_ids"], "label ids")))
    if not len(names) == len(colors) == len(label_ids):
        raise ValueError(f"{len(names)} classes, {len(colors)} colors, {len(label_ids)} ids")
    if not 1 <= len(names) <= MOST_CLASSES:
        raise ValueError(f"{len(names)} classes")
    return LabelSpace(name=name, names=names, colors=colors, label_ids=label_ids)


def _read_list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{what} are {show(value)}")
    return value


def _read_text(value: Any, what: str) -> str:
    """Return a name after checking that it can be written to any file."""
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"{what} is named {show(value)}")
    return value


def _read_color(color: Any) -> tuple[int, int, int]:
    red, green, blue = map(_read_byte, _read_list(color, "the channels of a color"))
    return red, green, blue


def _read_byte(value: Any) -> int:
    if not is_number(value) or value != int(value) or not 0 <= value <= 255:
        raise ValueError(f"{show(value)} instead of a number from 0 to 255")
    return int(value)


def _read_outputs(outputs: Any, space: LabelSpace) -> tuple[int, ...]:
    found = tuple(map(_read_byte, _read_list(outputs, "outputs")))
    if strange := [value for value in found if value != IGNORE and value >= space.num_classes]:
        raise ValueError(f"output class {strange[0]} of only {space.num_classes} classes")
    return found


def _read_rgb(numbers: Any) -> tuple[float, float, float]:
    if not isinstance(numbers, list) or len(numbers) != 3 or not all(map(is_number, numbers)):
        shown = numbers if isinstance(numbers, list) and len(numbers) < 9 else show(numbers)
        raise ValueError(f"{shown} instead of three numbers")
    red, green, blue = map(float, numbers)
    return red, green, blue


def _read_deviation(numbers: Any) -> tuple[float, float, float]:
    red, green, blue = _read_rgb(numbers)
    if min(red, green, blue) <= 0:
        raise ValueError(f"a standard deviation of {list(numbers)}")
    return red, green, blue


def _read_order(order: str) -> str:
    if order not in ("RGB", "BGR"):
        raise ValueError(f"unknown channel order {show(order)}")
    return order


def _without_nan(scores: Mapping[str, float]) -> dict[str, float | None]:
    """Return scores for strict JSON, with null for NaN and infinity."""
    return {name: score if math.isfinite(score) else None for name, score in scores.items()}
