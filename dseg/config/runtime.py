"""Runtime options of a training run, which do not change its result."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dseg.config.fields import device_field, option
from dseg.errors import DsegError

CACHES = ("none", "ram", "disk", "device")


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """Options that do not change the result of a run: devices, caches, intervals.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        compile: compile the network.
        checkpoint_activations: recompute the activations of dense blocks in the backward pass.
        workers: worker processes of the data loader; None to choose by cores and shared memory.
        cache: ``none``; ``ram``: decoded images in memory; ``disk``: in a file that later runs
            use again; ``device``: on the device, which then augments them.
        cache_dir: folder of that file; "" for ``cache`` in the run's folder.
        check_data: read all masks before training.
        validate_every: epochs between validations; 0 for one at the end.
        save_every: seconds between saved states.
        log_every: steps between rows of metrics.
        draw: images to draw at each validation.
        tensorboard: write TensorBoard event files too.
        wandb: log to Weights & Biases too.
        mlflow: log to MLflow too.

    Raises:
        DsegError: a value is out of range.
    """

    device: str = device_field()
    workers: int | None = option(
        *("-j", "--workers"),
        group="Speed",
        default=None,
        low=0,
        metavar="N",
        help="Worker processes of the data loader (default: one per core with a GPU, else one).",
    )
    cache: str = option(
        "--cache",
        group="Speed",
        default="none",
        choices=CACHES,
        help="Keep decoded images: ram, one copy per machine; disk, a file that later runs use "
        "again; device, where they are also augmented.",
    )
    cache_dir: str = option(
        "--cache-dir",
        group="Speed",
        default="",
        kind="folder",
        metavar="DIR",
        help="Folder of --cache disk (default: RUN/cache); dseg cache fills it beforehand.",
    )
    validate_every: float = option(
        "--validate-every",
        group="Logging",
        default=1.0,
        low=0,
        metavar="EPOCHS",
        help="Validate every so many epochs; 0: at the end only.",
    )
    save_every: float = option(
        "--save-every",
        group="Logging",
        default=60.0,
        low=0,
        metavar="SECONDS",
        help="Save the state to resume from every so many seconds.",
    )
    log_every: int = option(
        "--log-every",
        group="Logging",
        default=10,
        low=1,
        metavar="STEPS",
        help="Write a row to metrics.jsonl every so many steps.",
    )
    draw: int = option(
        "--draw",
        group="Logging",
        default=4,
        low=0,
        metavar="N",
        help="Number of validation images to draw.",
    )
    tensorboard: bool = option(
        "--tensorboard", group="Logging", default=False, help="Also write TensorBoard event files."
    )
    wandb: bool = option(
        "--wandb",
        group="Logging",
        default=False,
        help="Also log to Weights & Biases; with WANDB_MODE=offline to files in the run's folder.",
    )
    mlflow: bool = option(
        "--mlflow",
        group="Logging",
        default=False,
        help="Also log to MLflow: to MLFLOW_TRACKING_URI, else to mlflow.db in the run's folder.",
    )
    compile: bool = option(
        "--compile", group="Speed", default=False, help="Compile the network with torch.compile."
    )
    checkpoint_activations: bool = option(
        "--checkpoint-activations",
        group="Speed",
        default=False,
        help="Recompute activations of dense blocks in the backward pass: slower, less memory.",
    )
    check_data: bool = option(
        "--check/--no-check", group="Data", default=True, help="Read all masks before training."
    )

    def __post_init__(self) -> None:
        if not 0 <= self.validate_every < math.inf:
            raise DsegError(
                f"Validation every {self.validate_every:g} epochs is not possible.",
                hint="use a number of epochs, or 0 for one validation at the end.",
            )
        if not self.save_every >= 0:
            raise DsegError(
                f"Saving every {self.save_every:g} seconds is not possible.",
                hint="use 0 seconds or more.",
            )
        least = {"workers": 0, "log_every": 1, "draw": 0}
        for name, lowest in least.items():
            value = getattr(self, name)
            if value is not None and not lowest <= value < 2**31:
                raise DsegError(f"{name} cannot be {value}.", hint=f"use {lowest} or more.")
        if self.cache not in CACHES:
            raise DsegError(f"Unknown cache {self.cache!r}.", hint=f"use {', '.join(CACHES)}.")
