"""Recipe: how a network is trained, and how ``--set`` replaces its values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, Literal, get_args

from dseg.errors import DsegError

Optimizer = Literal["sgd", "adam", "adamw"]
Schedule = Literal["poly", "cosine", "halving", "constant"]
LossName = Literal["ce", "ohem", "boundary"]
AuxLossName = Literal["ce", "ohem"]
Weighting = Literal["none", "log", "median", "published"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained; every field can be replaced by ``--set field=value``.

    Attributes:
        source: where the values come from, and which are ours.
        epochs: passes over the training split; fractions count.
        steps: optimizer steps; above 0 it replaces ``epochs``.
        batch: images a step, over all processes and accumulated parts together.
        accumulate: parts that a process's share of the batch is computed in.
        crop: (height, width) of the training crops.
        short_side: first resize images so that the shorter side has so many pixels; 0 for not.
        scales: sizes to draw from; two values with ``continuous`` are a range.
        continuous: draw any scale between the first and the last of ``scales``.
        mirror: probability of mirroring.
        jitter: brightness, contrast and saturation change by factors of up to 1 +- this.
        rotate: half of the crops are turned by up to so many degrees, either way.
        blur: probability of a Gaussian blur of radius 0 to 1 pixel.
        optimizer: ``sgd``, ``adam`` or ``adamw``.
        lr: learning rate after the warm-up.
        head_lr: factor of the learning rate of all that is not the backbone.
        momentum: SGD's momentum, Adam's first beta.
        beta2: Adam's second beta.
        weight_decay: of all parameters.
        backbone_decay: factor of the weight decay of the backbone.
        decay_norms: whether norms and biases decay too.
        schedule: ``poly`` (1 - t)^power, ``cosine`` to ``lr_end``, both per step; ``halving``,
            ``halvings`` times at even distances; ``constant``.
        lr_end: learning rate that ``cosine`` ends at.
        power: of ``poly``.
        halvings: of the learning rate, by ``halving``.
        warmup: steps of rising learning rate.
        warmup_from: factor of the learning rate at the first of them.
        warmup_shape: ``linear`` or ``exponential``.
        loss: ``ce``, cross-entropy; ``ohem``, cross-entropy of the hard pixels; or ``boundary``,
            focal loss with more weight near the borders between classes.
        ohem_threshold: pixels are hard below this probability of their class.
        ohem_keep: pixels kept at least: a count a part, or below 1 a share of its pixels.
        class_weights: ``none``, ``log`` (1 / ln(1.10 + p)), ``median`` (median frequency), or
            ``published``, the numbers of ``published_weights``.
        published_weights: one a class, in the data set's order.
        aux_weight: of each auxiliary output's loss.
        aux_loss: ``ce`` or ``ohem``, of the auxiliary outputs.
        aux_border: they learn only within so many pixels of a border; 0 for everywhere.
        edge_weight: of the loss of each output of borders, which few networks have.
        affinity_weight: of the loss of adaptive affinity fields (Ke et al., ECCV 2018); 0 for
            none.
        affinity_margin: their margin.
        affinity_stride: of the pixels between which they are formed.
        ema: decay of a running mean of the weights, which is then validated and kept; 0 for none.
        clip: largest norm of the gradient; 0 for any.
    """

    source: str
    epochs: float = 100
    steps: int = 0
    batch: int = 8
    accumulate: int = 1
    crop: tuple[int, int] = (512, 512)
    short_side: int = 0
    scales: tuple[float, ...] = (0.5, 2.0)
    continuous: bool = True
    mirror: float = 0.5
    jitter: float = 0.0
    rotate: float = 0.0
    blur: float = 0.0
    optimizer: Optimizer = "sgd"
    lr: float = 0.01
    head_lr: float = 1.0
    momentum: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 1e-4
    backbone_decay: float = 1.0
    decay_norms: bool = True
    schedule: Schedule = "poly"
    lr_end: float = 0.0
    power: float = 0.9
    halvings: int = 2
    warmup: int = 0
    warmup_from: float = 0.1
    warmup_shape: Literal["linear", "exponential"] = "linear"
    loss: LossName = "ce"
    ohem_threshold: float = 0.7
    ohem_keep: float = 1 / 16
    class_weights: Weighting = "none"
    published_weights: tuple[float, ...] = ()
    aux_weight: float = 0.4
    aux_loss: AuxLossName = "ce"
    aux_border: int = 0
    edge_weight: float = 0.1
    affinity_weight: float = 0.0
    affinity_margin: float = 3.0
    affinity_stride: int = 4
    ema: float = 0.0
    clip: float = 0.0

    def __post_init__(self) -> None:
        for name, low, high in RANGES:
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                if not low <= number <= high:
                    raise DsegError(
                        f"{name}={number:g} is out of range.", hint=f"use {low:g} to {high:g}."
                    )
        if not self.steps and not self.epochs:
            raise DsegError("Nothing is to be trained: 0 epochs.", hint="set epochs or steps.")
        if not self.scales:
            raise DsegError("No scale is named.", hint="set scales, for example scales=0.5,2.")

    def override(self, settings: Iterable[str]) -> Recipe:
        """Return the recipe with some ``field=value`` replaced.

        Raises:
            DsegError: no such field, or not such a value.
        """
        changes: dict[str, Any] = {}
        for setting in settings:
            name, equals, text = setting.partition("=")
            name = name.strip().replace("-", "_")
            if not equals or name not in FIELDS or name == "source":
                near = get_close_matches(name, FIELDS, n=2, cutoff=0.5)
                guess = f"did you mean {' or '.join(near)}? " if near else ""
                raise DsegError(
                    f"{setting!r} sets no field of a recipe.",
                    hint=f"{guess}Write field=value, with one of: {', '.join(FIELDS[1:])}.",
                )
            changes[name] = _parse(name, text.strip(), getattr(self, name))
        return replace(self, **changes)


RANGES: tuple[tuple[str, float, float], ...] = (
    ("epochs", 0, 1e6),
    ("steps", 0, 1e9),
    ("batch", 1, 1e6),
    ("accumulate", 1, 1e6),
    ("crop", 16, 8192),
    ("short_side", 0, 8192),
    ("scales", 0.05, 20),
    ("mirror", 0, 1),
    ("jitter", 0, 1),
    ("rotate", 0, 180),
    ("blur", 0, 1),
    ("lr", 0, 100),
    ("head_lr", 0, 1000),
    ("momentum", 0, 0.99999),
    ("beta2", 0, 0.99999999),
    ("weight_decay", 0, 1),
    ("backbone_decay", 0, 1000),
    ("lr_end", 0, 100),
    ("power", 0, 10),
    ("halvings", 0, 100),
    ("warmup", 0, 1e9),
    ("warmup_from", 1e-9, 1),
    ("ohem_threshold", 0, 1),
    ("ohem_keep", 0, 1e9),
    ("published_weights", 0, 1e6),
    ("aux_weight", 0, 100),
    ("aux_border", 0, 8192),
    ("edge_weight", 0, 100),
    ("affinity_weight", 0, 100),
    ("affinity_margin", 0, 100),
    ("affinity_stride", 1, 64),
    ("ema", 0, 0.9999999),
    ("clip", 0, 1e9),
)
FIELDS = [field.name for field in fields(Recipe)]
WHOLE = {field.name: int for field in fields(Recipe) if field.type == "int"}
RECIPE_CHOICES: dict[str, tuple[str, ...]] = {
    "optimizer": get_args(Optimizer),
    "schedule": get_args(Schedule),
    "loss": get_args(LossName),
    "aux_loss": get_args(AuxLossName),
    "class_weights": get_args(Weighting),
    "warmup_shape": ("linear", "exponential"),
}


def _parse(name: str, text: str, old: Any) -> Any:
    """Read a field's value in the form that the old one has."""
    try:
        if name in RECIPE_CHOICES:
            if text not in RECIPE_CHOICES[name]:
                raise ValueError(text)
            return text
        if isinstance(old, bool):
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[
                text.lower()
            ]
        if name == "crop":
            sides = [int(side) for side in text.lower().split("x")]
            height, width = (sides * 2)[:2] if len(sides) == 1 else sides
            return height, width
        if isinstance(old, tuple):
            return tuple(float(part) for part in text.split(",") if part.strip())
        return WHOLE.get(name, float)(text)
    except (ValueError, KeyError, TypeError):
        wanted = {
            "crop": "a size like 512x1024 (height x width)",
            "scales": "numbers separated by commas",
            "published_weights": "numbers separated by commas",
        }.get(name) or (
            f"one of {', '.join(RECIPE_CHOICES[name])}"
            if name in RECIPE_CHOICES
            else "true or false"
            if isinstance(old, bool)
            else "a whole number"
            if name in WHOLE
            else "a number"
        )
        raise DsegError(
            f"{name}={text} cannot be used.", hint=f"{name} is {wanted}, now {old}."
        ) from None
