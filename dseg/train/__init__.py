"""Training: one run from its settings to its weights, resumable to the bit."""

from dseg.train.alone import run_held
from dseg.train.conditions import Conditions
from dseg.train.rhythm import Outcome
from dseg.train.run import run_training
from dseg.train.settings import Settings, read_settings
from dseg.train.signals import Stop, stopping_on_signals

__all__ = [
    "Conditions",
    "Outcome",
    "Settings",
    "Stop",
    "read_settings",
    "run_held",
    "run_training",
    "stopping_on_signals",
]
