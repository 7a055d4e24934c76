"""Conditions: what a run computes under, which changes nothing of what it computes."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from dseg.errors import DsegError

CACHES = ("none", "ram", "disk", "device")
Advance = Callable[[], None]
Progress = Callable[[str, int], AbstractContextManager[Advance]]


class Display(Protocol):
    """Where a run says how it is getting on."""

    def train(
        self, step: int, *, epoch: float, loss: float, lr: float, images_per_s: float
    ) -> None:
        """Show a row of metrics."""

    def validated(self, step: int, *, miou: float, best: float, seconds: float) -> None:
        """Show a validation."""

    def say(self, text: str) -> None:
        """Show a line."""


Show = Callable[[int, int], AbstractContextManager[Display]]  # (steps, steps done)


@dataclass(frozen=True, kw_only=True)
class Conditions:
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
