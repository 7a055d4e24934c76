"""Training recipes: one frozen dataclass each, with the published protocol it follows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, Literal, get_args

from dseg.errors import DsegError

Optimizer = Literal["sgd", "adam", "adamw"]
Schedule = Literal["poly", "cosine", "constant"]
LossName = Literal["ce", "ohem"]
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
        blur: probability of a Gaussian blur of radius 0 to 1 pixel.
        optimizer: ``sgd``, ``adam`` or ``adamw``.
        lr: learning rate after the warm-up.
        head_lr: factor of the learning rate of all that is not the backbone.
        momentum: SGD's momentum, Adam's first beta.
        beta2: Adam's second beta.
        weight_decay: of all parameters.
        decay_norms: whether norms and biases decay too.
        schedule: ``poly`` (1 - t)^power, ``cosine`` to 0, ``constant``; per step.
        power: of ``poly``.
        warmup: steps of rising learning rate.
        warmup_from: factor of the learning rate at the first of them.
        warmup_shape: ``linear`` or ``exponential``.
        loss: ``ce``, cross-entropy, or ``ohem``, cross-entropy of the hard pixels.
        ohem_threshold: pixels are hard below this probability of their class.
        ohem_keep: pixels kept at least: a count a part, or below 1 a share of its pixels.
        class_weights: ``none``, ``log`` (1 / ln(1.10 + p)), ``median`` (median frequency), or
            ``published``, the numbers of ``published_weights``.
        published_weights: one a class, in the data set's order.
        aux_weight: of each auxiliary output's loss.
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
    blur: float = 0.0
    optimizer: Optimizer = "sgd"
    lr: float = 0.01
    head_lr: float = 1.0
    momentum: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 1e-4
    decay_norms: bool = True
    schedule: Schedule = "poly"
    power: float = 0.9
    warmup: int = 0
    warmup_from: float = 0.1
    warmup_shape: Literal["linear", "exponential"] = "linear"
    loss: LossName = "ce"
    ohem_threshold: float = 0.7
    ohem_keep: float = 1 / 16
    class_weights: Weighting = "none"
    published_weights: tuple[float, ...] = ()
    aux_weight: float = 0.4
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
    ("blur", 0, 1),
    ("lr", 0, 100),
    ("head_lr", 0, 1000),
    ("momentum", 0, 0.99999),
    ("beta2", 0, 0.99999999),
    ("weight_decay", 0, 1),
    ("power", 0, 10),
    ("warmup", 0, 1e9),
    ("warmup_from", 1e-9, 1),
    ("ohem_threshold", 0, 1),
    ("ohem_keep", 0, 1e9),
    ("published_weights", 0, 1e6),
    ("aux_weight", 0, 100),
    ("ema", 0, 0.9999999),
    ("clip", 0, 1e9),
)
FIELDS = [field.name for field in fields(Recipe)]
WHOLE = {field.name: int for field in fields(Recipe) if field.type == "int"}
CHOICES: dict[str, tuple[str, ...]] = {
    "optimizer": get_args(Optimizer),
    "schedule": get_args(Schedule),
    "loss": get_args(LossName),
    "class_weights": get_args(Weighting),
    "warmup_shape": ("linear", "exponential"),
}


def _parse(name: str, text: str, old: Any) -> Any:
    """Read a field's value in the form that the old one has."""
    try:
        if name in CHOICES:
            if text not in CHOICES[name]:
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
            f"one of {', '.join(CHOICES[name])}"
            if name in CHOICES
            else "true or false"
            if isinstance(old, bool)
            else "a whole number"
            if name in WHOLE
            else "a number"
        )
        raise DsegError(
            f"{name}={text} cannot be used.", hint=f"{name} is {wanted}, now {old}."
        ) from None


DABNET_SCALES: dict[str, Any] = {"scales": (0.75, 1.0, 1.25, 1.5, 1.75, 2.0), "continuous": False}

RECIPES: dict[str, Recipe] = {
    "dabnet_cityscapes": Recipe(
        source="Li et al., BMVC 2019, and the authors' release: val 69.57, test 70.07",
        epochs=1000,
        batch=8,
        crop=(512, 1024),
        **DABNET_SCALES,
        lr=4.5e-2,
        weight_decay=1e-4,
        warmup=500,
        warmup_from=1 / 3,
        loss="ohem",
        ohem_threshold=0.7,
        ohem_keep=1 / 16,
    ),
    "dabnet_camvid": Recipe(
        source="Li et al., BMVC 2019, and the authors' release: test 66.72 after "
        "training on train and val; the last class's weight counts void pixels as bicyclists",
        epochs=1000,
        batch=16,
        crop=(360, 480),
        **DABNET_SCALES,
        optimizer="adam",
        lr=1e-3,
        weight_decay=2e-4,
        warmup=500,
        warmup_from=1 / 3,
        class_weights="published",
        published_weights=(
            *(4.42865, 3.44323, 9.62717, 2.90823, 6.98834, 5.21192),
            *(9.49020, 9.15048, 7.16546, 9.88860, 7.54554),
        ),
    ),
    "denseaspp_cityscapes": Recipe(
        source="no training code was released: crop, batch, Adam, 3e-4, 1e-5 and 80 epochs are "
        "commonly reported and not verified against the paper; scales and mirror are ours",
        epochs=80,
        batch=8,
        crop=(512, 512),
        scales=(0.5, 2.0),
        optimizer="adam",
        lr=3e-4,
        weight_decay=1e-5,
    ),
    "denseaspp_voc": Recipe(
        source="the second public version's release: 50 to 80 epochs; its padding fills masks "
        "with background, ours with ignore",
        epochs=50,
        batch=4,
        crop=(480, 480),
        short_side=520,
        scales=(0.5, 2.0),
        blur=0.5,
        lr=1e-4,
        head_lr=10,
        weight_decay=1e-4,
        aux_weight=0.4,
    ),
}


def find_recipe(name: str) -> Recipe:
    """Return a recipe by its name, in any case and with ``-`` for ``_``.

    Raises:
        DsegError: there is none; the hint lists them.
    """
    key = name.lower().replace("-", "_")
    if key not in RECIPES:
        near = get_close_matches(key, RECIPES, n=2, cutoff=0.5)
        guess = f"did you mean {' or '.join(near)}? " if near else ""
        raise DsegError(
            f"No recipe named {name!r}.", hint=f"{guess}There are: {', '.join(RECIPES)}."
        )
    return RECIPES[key]
