"""Training from Python, in one process and without a display."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

from dseg.config import RuntimeConfig, TrainConfig
from dseg.config.train import continue_config
from dseg.distributed import Group
from dseg.errors import DsegError
from dseg.parallel import Advance
from dseg.training.callbacks import Outcome, SilentDisplay
from dseg.training.run import run_training
from dseg.training.run_dir import run_held
from dseg.training.run_json import RUN_FILE, read_config
from dseg.training.signals import stopping_on_signals


def train(
    config: TrainConfig,
    run: Path | str,
    *,
    runtime: RuntimeConfig | None = None,
    resume: bool = False,
    accept_data: bool = False,
) -> Outcome:
    """Train a network as ``dseg train`` does, in this process.

    Ctrl-C saves the state and returns; the outcome then has ``stopped`` set.

    Args:
        config: the network, its data and how it is trained; see ``make_config``.
        run: folder for weights, metrics and plots.
        runtime: runtime options, such as the device; None for the defaults of ``RuntimeConfig``.
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

    with stopping_on_signals() as stop, run_held(run, Group(), lambda remark: None):
        if (run / RUN_FILE).exists():
            if not resume:
                raise DsegError(
                    f"{run} already contains a run.",
                    hint="continue it with resume=True, or name another folder.",
                )
            config = continue_config(run, read_config(run), config)
        return run_training(
            config,
            runtime or RuntimeConfig(),
            run,
            Group(),
            resume=resume,
            accept_data=accept_data,
            show=lambda steps, first: nullcontext(SilentDisplay()),
            progress=no_progress,
            stopping=stop,
        )
