"""The hyper-parameters of training, and how ``--set`` replaces them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from dseg.errors import DsegError, suggest

Optimizer = Literal["sgd", "adam", "adamw"]
Schedule = Literal["poly", "cosine", "halving", "constant"]
LossName = Literal["ce", "ohem", "boundary"]
AuxLossName = Literal["ce", "ohem"]
EdgeLossName = Literal["focal", "balanced"]
MeanOver = Literal["weights", "pixels"]
Weighting = Literal["none", "log", "median", "published"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The hyper-parameters of training; ``--set field=value`` replaces any of them.

    Attributes:
        source: publication or release that the values follow, and which values are ours.
        epochs: passes over the training split; can be fractional.
        steps: optimizer steps; replaces ``epochs`` if above 0.
        batch: images per optimizer step, over all processes and micro-batches.
        accumulate: gradient-accumulation steps: micro-batches per process and optimizer step.
        crop: (height, width) of the training crops.
        short_side: length in pixels that the shorter image side is first resized to; 0 for none.
        scales: random scales; the first and last bound a range if ``continuous``.
        continuous: draw any scale between the smallest and the largest of ``scales``.
        flip: probability of a horizontal flip.
        jitter: change brightness, contrast and saturation by factors within 1 +- this value.
        rotate: rotate by up to +- this many degrees with probability 0.5.
        blur: probability of a Gaussian blur with a radius of 0 to 1 pixel.
        optimizer: ``sgd``, ``adam`` or ``adamw``.
        lr: learning rate after warm-up.
        head_lr: factor of the learning rate outside the backbone.
        momentum: momentum of SGD, first beta of Adam.
        beta2: second beta of Adam.
        weight_decay: weight decay of all parameters.
        backbone_decay: factor of the backbone's weight decay.
        decay_norms: whether weight decay applies to norms and biases too.
        schedule: ``poly``, (1 - t)^power; ``cosine`` down to ``lr_end``; ``halving``, halved
            ``halvings`` times at equal distances; or ``constant``.
        lr_end: final learning rate of ``cosine``.
        power: exponent of ``poly``.
        halvings: number of times that ``halving`` halves the learning rate.
        warmup: number of warm-up steps.
        warmup_from: factor of the learning rate at the first warm-up step.
        warmup_shape: ``linear`` or ``exponential``.
        loss: ``ce``, cross-entropy; ``ohem``, cross-entropy of the hard pixels; or ``boundary``,
            focal loss with more weight near the borders between classes.
        loss_mean: what the sum of the pixels' weighted losses is divided by: ``weights``, the sum
            of the class weights of labelled pixels; or ``pixels``, the number of all pixels. With
            OHEM, of the hard ones.
        ohem_threshold: a pixel is hard if the probability of its class is at most this value.
        ohem_keep: least number of hard pixels per micro-batch; below 1, a fraction of its pixels.
        ohem_strict: a pixel is hard if that probability is below the limit, not equal to it.
        class_weights: ``none``; ``log``, 1 / ln(1.10 + p); ``median``, median frequency; or
            ``published``, the values in ``published_weights``.
        published_weights: one weight per class, in order of train ids.
        aux_weight: weight of the loss of each auxiliary output.
        aux_loss: loss of the auxiliary outputs, ``ce`` or ``ohem``.
        aux_border: largest distance in pixels from a class border at which auxiliary outputs are
            trained; 0 for everywhere.
        edge_weight: weight of the loss of each border output, which few networks have.
        edge_loss: loss of border outputs: ``focal``; or ``balanced``, cross-entropy in which border
            pixels and others have the same total weight.
        edge_reach: distance in pixels up to which a border output is trained to mark the pixels
            beside a border.
        edge_aware_weight: weight of a second loss of the main output, of the same kind, on the
            pixels that the border output marks; 0 for none.
        edge_aware_threshold: a pixel is marked if its border probability is above this value.
        affinity_weight: weight of the adaptive affinity field loss (Ke et al., ECCV 2018), which
            is experimental; 0 for none.
        affinity_margin: margin of that loss.
        affinity_stride: distance in pixels between the positions that it reads.
        ema: decay of the exponential moving average of the weights; validation and the best
            checkpoint use the averaged weights; 0 for none.
        clip: largest gradient norm; 0 for no clipping.
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
    flip: float = 0.5
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
    loss_mean: MeanOver = "weights"
    ohem_threshold: float = 0.7
    ohem_keep: float = 1 / 16
    ohem_strict: bool = False
    class_weights: Weighting = "none"
    published_weights: tuple[float, ...] = ()
    aux_weight: float = 0.4
    aux_loss: AuxLossName = "ce"
    aux_border: int = 0
    edge_weight: float = 0.1
    edge_loss: EdgeLossName = "focal"
    edge_reach: int = 2
    edge_aware_weight: float = 0.0
    edge_aware_threshold: float = 0.8
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
            raise DsegError("There is nothing to train: 0 epochs.", hint="set epochs or steps.")
        if not self.scales:
            raise DsegError("The list of scales is empty.", hint="set scales=0.5,2, for example.")

    def override(self, settings: Iterable[str]) -> Recipe:
        """Return a copy of the recipe with the fields in ``settings`` replaced.

        Args:
            settings: ``field=value`` each.

        Raises:
            DsegError: unknown field, or invalid value.
        """
        changes: dict[str, Any] = {}
        for setting in settings:
            name, equals, text = setting.partition("=")
            name = name.strip().replace("-", "_")
            name = LOADED_AS.get(name, name)
            if not equals or name not in FIELDS or name == "source":
                guess = suggest(name, FIELDS, most=2, cutoff=0.5)
                raise DsegError(
                    f"{setting!r} does not set a field of a recipe.",
                    hint=f"{guess}Write field=value, with one of: {', '.join(FIELDS[1:])}.",
                )
            changes[name] = _parse(name, text.strip(), getattr(self, name))
        return replace(self, **changes)


# The name of a field in run.json, states and checkpoints, where it differs; --set accepts both.
STORED_AS = {"flip": "mirror"}
LOADED_AS = {stored: name for name, stored in STORED_AS.items()}
RANGES: tuple[tuple[str, float, float], ...] = (
    ("epochs", 0, 1e6),
    ("steps", 0, 1e9),
    ("batch", 1, 1e6),
    ("accumulate", 1, 1e6),
    ("crop", 16, 8192),
    ("short_side", 0, 8192),
    ("scales", 0.05, 20),
    ("flip", 0, 1),
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
    ("edge_reach", 0, 8192),
    ("edge_aware_weight", 0, 100),
    ("edge_aware_threshold", 0, 1),
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
    "loss_mean": get_args(MeanOver),
    "aux_loss": get_args(AuxLossName),
    "edge_loss": get_args(EdgeLossName),
    "class_weights": get_args(Weighting),
    "warmup_shape": ("linear", "exponential"),
}


def _parse(name: str, text: str, old: Any) -> Any:
    """Convert ``text`` to the type of the field's value ``old``."""
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
            f"{name}={text} is invalid.", hint=f"{name} is {wanted}, now {setting_text(old)}."
        ) from None


def setting_text(value: object) -> str:
    """Return a value as ``--set`` reads it: 512x1024, 0.5,2, true."""
    if isinstance(value, (tuple, list)):
        size = len(value) == 2 and all(isinstance(part, int) for part in value)
        return ("x" if size else ",").join(setting_text(part) for part in value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(float(value))
    return str(value)
