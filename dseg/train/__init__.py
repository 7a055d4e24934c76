"""Training: one run from its settings to its weights, resumable to the bit."""

from dseg.config.train import RuntimeConfig, TrainConfig
from dseg.train.callbacks import Outcome
from dseg.train.run import run_training
from dseg.train.run_dir import run_held
from dseg.train.run_file import read_config
from dseg.train.signals import Stop, stopping_on_signals

__all__ = [
    "Outcome",
    "RuntimeConfig",
    "Stop",
    "TrainConfig",
    "read_config",
    "run_held",
    "run_training",
    "stopping_on_signals",
]
