"""Training: from a configuration to trained weights; a resumed run gives the same bits."""

from dseg.training.api import train
from dseg.training.callbacks import Outcome
from dseg.training.run import run_training
from dseg.training.run_dir import run_held
from dseg.training.run_json import read_config
from dseg.training.signals import Stop, stopping_on_signals

__all__ = [
    "Outcome",
    "Stop",
    "read_config",
    "run_held",
    "run_training",
    "stopping_on_signals",
    "train",
]
