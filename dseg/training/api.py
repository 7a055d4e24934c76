"""Training from Python, in one process and without a display."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from dseg.config import RuntimeConfig, TrainConfig
from dseg.config.resumed import continue_config
from dseg.distributed import Group
from dseg.errors import DsegError
from dseg.parallel import Advance
from dseg.training.callbacks import Outcome, Summary
from dseg.training.run import run_training
from dseg.training.run_dir import run_held
from dseg.training.run_json import RUN_FILE, read_config, read_runtime
from dseg.training.signals import stopping_on_signals


def _warn(text: str) -> None:
    warnings.warn(text.removeprefix("WARNING: "), stacklevel=2)


class WarningDisplay:
    """A display that shows no progress; its messages are Python warnings."""

    def step(self, step: int) -> None: ...

    def train(
        self, step: int, *, epoch: float, loss: float, lr: float, images_per_s: float
    ) -> None: ...

    def validating(self, images: int) -> Advance:
        """Return a function that does nothing."""
        return lambda: None

    def summary(self, summary: Summary) -> None: ...

    def say_facts(self, facts: Sequence[tuple[str, str]]) -> None: ...

    def say(self, text: str) -> None:
        """Emit a warning."""
        _warn(text)


def train(
    config: TrainConfig,
    run: Path | str,
    *,
    runtime: RuntimeConfig | None = None,
    resume: bool = False,
    accept_data: bool = False,
) -> Outcome:
    """Train a network as ``dseg train`` does, in this process.

    Ctrl-C saves the state and returns, and the outcome then has ``stopped`` set; before the first
    step is done, and the second time, it raises ``KeyboardInterrupt``. Messages of the command are
    Python warnings here. PyTorch's settings for determinism and TF32 stay changed.

    Args:
        config: the network, its data and how it is trained; see ``make_config``.
        run: folder for weights, metrics and plots.
        runtime: runtime options, such as the device; None for those of the resumed run, or
            else the defaults of ``RuntimeConfig``.
        resume: continue the run in the folder if it contains one.
        accept_data: continue although the data have changed.

    Raises:
        DsegError: the folder contains a run and ``resume`` is False, or the run was started with
            another configuration; otherwise as ``dseg train``.

    Example:
        >>> import dseg
        >>> from dseg.config import make_config
        >>> config = make_config("DABNet", [("scenes", "scenes")], overrides=["epochs=2"])
        >>> dseg.train(config, "run").best  # doctest: +SKIP
        0.31
    """
    run = Path(run)

    def no_progress(what: str, total: int) -> nullcontext[Advance]:
        return nullcontext(lambda: None)

    with stopping_on_signals() as stop, run_held(run, Group(), _warn):
        if (run / RUN_FILE).exists():
            if not resume:
                raise DsegError(
                    f"{run} already contains a run.",
                    hint="continue it with resume=True, or name another folder.",
                )
            config = continue_config(run, read_config(run), config)
            runtime = runtime or read_runtime(run)
        return run_training(
            config,
            runtime or RuntimeConfig(),
            run,
            Group(),
            resume=resume,
            accept_data=accept_data,
            show=lambda start: nullcontext(WarningDisplay()),
            progress=no_progress,
            stopping=stop,
        )
