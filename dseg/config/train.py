"""Settings: all that decides what a training run computes, as written to the run's folder."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from dseg.errors import DsegError
from dseg.jsonio import is_count, show
from dseg.recipes import STORED_AS, Recipe

CACHES = ("none", "ram", "disk", "device")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What decides the weights that a run ends with, besides the data.

    Attributes:
        model: the network's name in the table.
        datasets: ``(name, folder)`` of each data set that is joined.
        split, val_split: what is trained on, and what decides on the best weights; "" for none.
        label_space: the classes; "" for the data set's own.
        class_file: of a ``folder`` data set; "" for the one in it.
        recipe_name: what ``--recipe`` named.
        recipe: with all overrides.
        weights: checkpoint that training starts from; "" for fresh weights.
        reset_head: whether that checkpoint's classifier is left out.
        inplace_abn: whether it was trained with in-place activated batch norm; None where its
            keys decide.
        raw_weights: whether, of a checkpoint with averaged weights, the others are taken.
        backbone_weights: ``imagenet``, a file, or "".
        seed: of weights, order and augmentation.
        deterministic: whether only reproducible algorithms are used.
        amp: precision, as ``--amp``.
        tf32: whether float32 products are rounded to TensorFloat-32 on CUDA.
        on_bad_data: ``stop`` or ``skip``.
        world_size: processes.
    """

    model: str
    datasets: tuple[tuple[str, str], ...]
    split: str
    val_split: str
    label_space: str
    class_file: str
    recipe_name: str
    recipe: Recipe
    weights: str
    reset_head: bool
    backbone_weights: str
    seed: int
    deterministic: bool
    amp: str
    on_bad_data: str
    world_size: int
    inplace_abn: bool | None = None
    raw_weights: bool = False
    tf32: bool = True

    def __post_init__(self) -> None:
        wrong = {
            "seed": not is_count(self.seed),
            "world_size": self.world_size < 1,
            "amp": self.amp not in ("off", "auto", "bf16", "fp16"),
            "on_bad_data": self.on_bad_data not in ("stop", "skip"),
            "datasets": not self.datasets,
        }
        for name, is_wrong in wrong.items():
            if is_wrong:
                raise DsegError(
                    f"{name} cannot be {show(getattr(self, name))}.",
                    hint="see dseg train --help for what it can be.",
                )

    def as_json(self) -> dict[str, Any]:
        """Return the settings as JSON has them: lists for tuples, stored names for fields."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        recipe = plain["recipe"].items()
        plain["recipe"] = {STORED_AS.get(name, name): value for name, value in recipe}
        return plain


def find_differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """Return in words where two runs' settings differ."""
    found = []
    for field in fields(TrainConfig):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if before == after:
            continue
        if isinstance(before, Recipe):
            pairs = zip(asdict(before).items(), asdict(after).values(), strict=True)
            found += [
                f"{name} {was} -> {now}"
                for (name, was), now in pairs
                if was != now and name != "source"  # which is words
            ]
        else:
            found.append(f"{field.name} {before} -> {after}")
    return found


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """Under what conditions a run computes; none of them changes what it computes.

    Attributes:
        device: as ``--device``.
        workers: processes that read ahead; None to choose by the cores and the shared memory.
        cache: ``none``; ``ram`` to decode every image once and keep it in memory; ``disk`` to
            keep it in a file that later runs use again; ``device`` to keep and augment them where
            the network is.
        cache_dir: the folder of that file; "" for ``cache`` in the run's folder.
        validate_every: epochs from one validation to the next.
        save_every: seconds from one saved state to the next.
        log_every: steps from one row of metrics to the next.
        draw: images drawn at each validation.
        tensorboard: whether to write TensorBoard's files too.
        compile: whether to compile the network.
        checkpoint_activations: whether dense blocks compute activations twice, to save memory.
        check_data: whether to read all masks first.
    """

    device: str = "auto"
    workers: int | None = None
    cache: str = "none"
    cache_dir: str = ""
    validate_every: float = 1.0
    save_every: float = 60.0
    log_every: int = 10
    draw: int = 4
    tensorboard: bool = False
    compile: bool = False
    checkpoint_activations: bool = False
    check_data: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.validate_every < math.inf:
            raise DsegError(
                f"There is no validation every {self.validate_every:g} epochs.",
                hint="name a number of epochs, or 0 for one at the end only.",
            )
        if not self.save_every >= 0:
            raise DsegError(
                f"The state cannot be saved every {self.save_every:g} seconds.",
                hint="name a number.",
            )
        least = {"workers": 0, "log_every": 1, "draw": 0}
        for name, lowest in least.items():
            value = getattr(self, name)
            if value is not None and not lowest <= value < 2**31:
                raise DsegError(f"{name} cannot be {value}.", hint=f"use {lowest} or more.")
        if self.cache not in CACHES:
            raise DsegError(f"There is no cache {self.cache!r}.", hint=f"use {', '.join(CACHES)}.")
