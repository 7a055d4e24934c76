"""Choose network, weights and recipe by rules, from the facts of the data and the machine.

The idea of a plan that is derived from a fingerprint of the data is that of nnU-Net (Isensee et
al., Nature Methods 2021); the rules and their numbers are ours, for street scenes and small sets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod, sqrt

from dseg.errors import counted
from dseg.planning.facts import DataFacts, Machine
from dseg.planning.timing import StepTimes
from dseg.recipes import RECIPES, Recipe
from dseg.recipes.file import BUNDLED, NO_WEIGHTS, names_weights
from dseg.registry import MODELS

NETWORK = "dabnet"  # the one whose weights are bundled
BASE = {NETWORK: "dabnet_camvid"}  # the recipe whose other values hold, if not the network's own
CPU_AREA, GPU_AREA = 360 * 480, 512 * 1024  # pixels of a crop, at most
CPU_STEP, GPU_STEP = 4, 16  # crops of that area in a step
FEWEST, MOST = 4, 16  # images in a step: fewer disturb batch norm
MULTIPLE = 8  # of the crop's sides
SMALL = 1000  # images; of fewer, more passes and stronger augmentation
IMBALANCE = 5.0  # ratio of the most to the least frequent class from which classes are weighted
WARM_UP = 0.05  # of the steps
RATE, DECAY = 0.003, 2e-4  # learning rate and weight decay of Adam
LEAST_STEPS = 40
VALIDATION = 1 / 3  # time of an image in validation, which needs no backward pass, to training
BYTES_PER_PIXEL = 4096  # of training memory for each pixel of a crop, if it is not measured
MEMORY_USED = 0.8  # fraction of the free memory


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A training that fits data and machine.

    Attributes:
        model: name of the network.
        weights: checkpoint to start from: "bundled", "none", or "" for those that the user names.
        reset_head: leave out the classifier of ``weights``.
        base: recipe whose other values hold.
        recipe: the whole recipe.
        reasons: a line for each of ``model``, ``weights`` and the chosen fields of the recipe.
        data: the data in words.
        machine: the machine in words.
        time: how long it takes, as text after ``machine``; "" if it was not measured.
    """

    model: str
    weights: str
    reset_head: bool
    base: str
    recipe: Recipe
    reasons: dict[str, str]
    data: str
    machine: str
    time: str = ""


@dataclass
class _Planner:
    data: DataFacts
    machine: Machine
    model: str
    chosen: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def choose(self, name: str, value: object, reason: str) -> None:
        self.chosen[name], self.reasons[name] = str(value), reason


def make_plan(
    data: DataFacts,
    machine: Machine,
    *,
    model: str = "",
    weights: str = "",
    times: StepTimes | None = None,
    minutes: float = 0.0,
    network_reason: str = "",
) -> Plan:
    """Return a plan.

    Args:
        data: facts of the data.
        machine: facts of the machine.
        model: the network; "" for the one with bundled weights.
        weights: what the user names to start from; "none" for random weights.
        times: measured training steps of the network on crops of ``choose_crop``, which
            ``minutes`` requires.
        minutes: time that the training can take; 0 for enough for the data.
        network_reason: why this network, if it was not named by the user.
    """
    planner = _Planner(data, machine, model or NETWORK)
    base = BASE.get(planner.model, MODELS[planner.model].recipe)
    start = _choose_weights(planner, weights)
    _explain_network(planner, network_reason or planner.model * bool(model))
    height, width = choose_crop(data, machine)
    planner.choose("crop", f"{height}x{width}", _explain_crop(data, height, width))
    crops = _choose_batch(planner, height * width, times)
    tuned = start == BUNDLED or names_weights(weights)
    _choose_loss(planner, RECIPES[base])
    _choose_augmentation(planner)
    seconds = _find_step_seconds(data, height * width, crops, times)
    steps = _choose_length(planner, crops, tuned, seconds, minutes)
    _choose_rate(planner, RECIPES[base], crops, steps, tuned)
    recipe = RECIPES[base].override(f"{name}={value}" for name, value in planner.chosen.items())
    words = _describe(data)
    return Plan(
        model=planner.model,
        weights=start,
        reset_head=start == BUNDLED and not data.cityscapes,
        base=base,
        recipe=_with_source(recipe, f"planned for {words}"),
        reasons=planner.reasons,
        data=words,
        machine=machine.name,
        time=_describe_time(steps * seconds) if times else "",
    )


def _with_source(recipe: Recipe, source: str) -> Recipe:
    from dataclasses import replace

    return replace(recipe, source=source)


def _describe_time(seconds: float) -> str:
    minutes = seconds / 60
    return f"; about {minutes:.0f} min" if minutes < 90 else f"; about {minutes / 60:.1f} h"


def _describe(data: DataFacts) -> str:
    pixels = f"{'' if data.sizes == 1 else 'about '}{data.width}x{data.height} pixels"
    if data.differ:
        ends = (f"{width}x{height}" for height, width in (data.smallest, data.largest))
        pixels = f"{' to '.join(ends)} pixels"
    val = f" and {data.val} to validate" if data.val else ""
    return (
        f"{counted(data.train, 'image')}{val}, {pixels}, "
        f"{counted(len(data.names), 'class', 'classes')}"
    )


def _choose_weights(planner: _Planner, named: str) -> str:
    """Return "bundled", "none", or "" if the user names a file or none are bundled."""
    if named == NO_WEIGHTS:
        planner.reasons["weights"] = "random, as you asked"
        return NO_WEIGHTS
    if named:
        return ""
    if planner.model != NETWORK:
        planner.reasons["weights"] = "none are bundled for this network: name some by --weights"
        return ""
    kept = "classifier too" if planner.data.cityscapes else "with a new classifier"
    planner.reasons["weights"] = f"trained on streets, {kept}: fewer steps needed"
    return BUNDLED


def _explain_network(planner: _Planner, named: str) -> None:
    if named == planner.model:
        planner.reasons["model"] = "as you named it"
    elif named:
        planner.reasons["model"] = named
    else:
        planner.reasons["model"] = "fast to train, and its weights are bundled"


def choose_crop(data: DataFacts, machine: Machine) -> tuple[int, int]:
    """Return height and width of the crops: whole images, or windows with their aspect."""
    most = CPU_AREA if machine.device == "cpu" else GPU_AREA
    scale = min(1.0, sqrt(most / data.area))
    height, width = (
        max(16, round(side * scale) // MULTIPLE * MULTIPLE) for side in (data.height, data.width)
    )
    return height, width


def _explain_crop(data: DataFacts, height: int, width: int) -> str:
    part = height * width / data.area
    if data.differ:
        part = height * width / prod(data.largest)
        return f"fits into most images; {part:.0%} of the largest (height x width)"
    if part > 0.9:
        return "whole images (height x width)"
    return f"windows of {part:.0%} of an image, so that a step stays short (height x width)"


def _choose_batch(planner: _Planner, area: int, times: StepTimes | None) -> int:
    """Choose the images of a step; return their number."""
    data, machine = planner.data, planner.machine
    pixels = CPU_AREA * CPU_STEP if machine.device == "cpu" else GPU_AREA * GPU_STEP
    batch = max(FEWEST, min(pixels // area, max(FEWEST, data.train // 5), MOST))
    batch = -(-batch // machine.processes) * machine.processes
    needed = times.bytes_per_image if times and times.bytes_per_image else BYTES_PER_PIXEL * area
    fits = max(1, round(MEMORY_USED * machine.memory) // needed) if machine.memory else MOST
    micro = 1
    while batch // (machine.processes * micro) > fits and batch % (2 * micro) == 0:
        micro *= 2
    planner.choose("batch", batch, "enough for batch norm, several steps for each pass")
    if micro > 1:
        planner.choose("accumulate", micro, "micro-batches, so that a step fits into the memory")
    return batch


def _choose_loss(planner: _Planner, base: Recipe) -> None:
    fractions = [fraction for fraction in planner.data.fractions if fraction]
    ratio = max(fractions) / min(fractions)
    planner.choose("loss", "ce", "cross-entropy: hard-pixel mining needs many images")
    rarest = planner.data.names[planner.data.fractions.index(min(fractions))]
    if ratio >= IMBALANCE:
        planner.choose(
            "class_weights", "log", f"counted here: {rarest} has {min(fractions):.2%} of the pixels"
        )
    else:
        planner.choose("class_weights", "none", "all classes are frequent")
    if base.loss_mean != "weights":
        planner.choose("loss_mean", "weights", "class weights do not scale the learning rate")


def _choose_augmentation(planner: _Planner) -> None:
    whole = planner.data.area <= (CPU_AREA if planner.machine.device == "cpu" else GPU_AREA)
    few = planner.data.train < SMALL
    if whole:
        inside = "are nearly as large as many images" if planner.data.differ else "are whole images"
        planner.choose("scales", "0.9,1.75", f"mostly enlarged, as crops {inside}")
    else:
        planner.choose("scales", "0.5,1.5", "smaller and larger than the images")
    planner.choose("continuous", "true", "any scale between these two")
    planner.choose("flip", 0.5, "streets can be mirrored")
    planner.choose("jitter", 0.3 if few else 0.2, "brightness, contrast and saturation vary")


def _find_step_seconds(
    data: DataFacts, crop_area: int, batch: int, times: StepTimes | None
) -> float:
    """Return the time of a step with its part of the validation of each pass; 0 if not measured."""
    if times is None:
        return 0.0
    validated = VALIDATION * data.val / data.train * data.area / crop_area
    return times.seconds_per_image * batch * (1 + validated)


def _choose_length(
    planner: _Planner, batch: int, tuned: bool, seconds: float, minutes: float
) -> int:
    """Choose the number of passes, for a time of each step; return the number of steps."""
    data = planner.data
    a_pass = data.train / batch
    if minutes and seconds:
        steps = max(LEAST_STEPS, round(60 * minutes / seconds))
        reason = f"what {counted(minutes, 'minute')} suffice for"
        if LEAST_STEPS * seconds > 60 * minutes:
            reason = f"the fewest of use, in more than {counted(minutes, 'minute')}"
    else:
        on_cpu = planner.machine.device == "cpu"
        passes = 60 if on_cpu else 120
        low, high = (300, 4_000) if on_cpu else (2_000, 60_000)
        if not tuned:
            passes, low = 2 * passes, 2 * low
        steps = round(min(max(passes * a_pass, low), max(high, 2 * a_pass)))
        reason = "from a trained network" if tuned else "from random weights"
    epochs = steps / a_pass
    epochs = round(epochs) if epochs >= 5 else max(1, round(epochs, 1))
    steps = max(1, round(epochs * a_pass))
    planner.choose("steps", 0, "counted in epochs")
    planner.choose("epochs", epochs, f"{counted(steps, 'step')}: {reason}")
    return steps


def _suit_adam(planner: _Planner, base: Recipe) -> None:
    """Replace values that suit another optimizer or a pretrained backbone."""
    wanted: dict[str, tuple[object, str]] = {
        "weight_decay": (DECAY, "suits this rate"),
        "schedule": ("poly", "the rate falls to 0"),
        "head_lr": (1, "all layers start from random weights"),
        "backbone_decay": (1, "all layers start from random weights"),
    }
    for name, (value, reason) in wanted.items():
        if getattr(base, name) != value:
            planner.choose(name, value, reason)


def _choose_rate(planner: _Planner, base: Recipe, batch: int, steps: int, tuned: bool) -> None:
    if planner.model == NETWORK or not tuned:
        planner.choose("optimizer", "adam", "learns more than SGD in few steps")
        planner.choose("lr", RATE, "highest rate; it falls to 0")
        _suit_adam(planner, base)
        planner.choose("ema", 0.95 if steps < 1000 else 0.99, "averaged weights are validated")
    else:
        rate = base.lr * min(1.0, batch / base.batch) * (0.5 if tuned else 1)
        planner.choose(
            "lr", f"{rate:.3g}", f"the recipe's {base.lr:g} for its batch of {base.batch}"
        )
    warm_up = max(1, round(WARM_UP * steps))
    planner.choose("warmup", min(base.warmup or warm_up, warm_up), "steps, a twentieth of all")
