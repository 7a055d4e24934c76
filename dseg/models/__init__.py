"""build_model: build a registered network by name, importing only that network's module."""

from __future__ import annotations

from importlib import import_module
from inspect import signature
from typing import Any

from dseg.errors import DsegError
from dseg.labels import LABEL_SPACES, LabelSpace, unnamed_label_space
from dseg.models.base import ModelCard, Normaliser, SegModel, SegOutput
from dseg.models.own import OwnNetwork, wrap_network
from dseg.registry import MODELS, ModelSpec, find_model

MAX_REASON = 200  # characters of an error of another package

__all__ = [
    "ModelCard",
    "Normaliser",
    "OwnNetwork",
    "SegModel",
    "SegOutput",
    "build_model",
    "find_class",
    "make_card",
    "wrap_network",
]


def build_model(name: str, num_classes: int | None = None, **kwargs: Any) -> SegModel:
    """Build a network with newly initialised weights, in training mode.

    Example:
        >>> model = dseg.build_model("bisenetv2", num_classes=11)
        >>> model.card.network
        'bisenetv2'

    Args:
        name: network listed by ``dseg models``; case, ``-`` and ``_`` do not matter.
        num_classes: outputs; by default those of the published network (19 for Cityscapes).
        kwargs: constructor arguments in place of the registered ones, such as
            ``output_stride=16``.

    Raises:
        DsegError: unknown network or argument.
    """
    key = find_model(name)
    spec = MODELS[key]
    cls = find_class(key)
    known = list(signature(cls).parameters)[1:]
    strange = [argument for argument in kwargs if argument not in known]
    if strange:
        raise DsegError(
            f"Unknown argument {strange[0]!r} of {key}.", hint=f"it has: {', '.join(known)}."
        )
    outputs = spec.num_classes if num_classes is None else num_classes
    arguments = {**spec.kwargs, **kwargs}
    model = cls(outputs, **arguments)
    model.card = make_card(key, outputs, arguments)
    return model


def make_card(name: str, outputs: int, kwargs: dict[str, Any]) -> ModelCard:
    """Return the model card of a registered network.

    Args:
        name: a key of ``MODELS``.
        outputs: number of outputs; with another number than the published network's, the model
            card keeps only its normalisation, and images are read at their own size.
        kwargs: constructor arguments.
    """
    spec = MODELS[name]
    published = outputs == spec.num_classes
    card = ModelCard(
        network=name,
        kwargs=kwargs,
        label_space=_label_space(spec, outputs),
        mean=spec.mean,
        std=spec.std,
        order=spec.order,
        outputs=spec.outputs if published else (),
        protocol=spec.protocol,
        authors=spec.authors,
    )
    return card if published else card.at_own_size()


def find_class(name: str) -> type[SegModel]:
    """Return the class of a registered network.

    Raises:
        DsegError: unknown network, or one of another package that cannot be imported.
    """
    key = find_model(name)
    module, _, cls = MODELS[key].target.partition(":")
    if key not in MODELS.built_in:
        return _find_added(key, module, cls)
    found: type[SegModel] = getattr(import_module(f"dseg.models.{module}"), cls)
    return found


def _find_added(key: str, module: str, name: str) -> type[SegModel]:
    """Return the class of a network that another package adds.

    Raises:
        DsegError: the package's module cannot be imported, or has no such class.
    """
    hint = f"update or uninstall the package of the module {module}."
    try:
        found = getattr(import_module(module), name)
    except Exception as fault:  # another package's module can raise anything
        reason = " ".join(str(fault).split())[:MAX_REASON].rstrip(".")
        problem = f"The network {key} cannot be imported from {module}:{name}: {reason}."
        raise DsegError(problem, hint=hint) from fault
    if not isinstance(found, type) or not issubclass(found, SegModel):
        raise DsegError(
            f"The network {key}, {module}:{name}, is not derived from dseg.models.SegModel.",
            hint=hint,
        )
    return found


def _label_space(spec: ModelSpec, outputs: int) -> LabelSpace:
    """Return the published network's label space, or an unnamed one if the number differs."""
    if not spec.label_space:
        return unnamed_label_space(outputs)
    space = LABEL_SPACES[spec.label_space]
    fits = outputs in (spec.num_classes, space.num_classes)
    return space if fits else unnamed_label_space(outputs)
