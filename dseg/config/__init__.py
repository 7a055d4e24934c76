"""What a command is asked to do, as dataclasses without torch, so that commands start at once."""

from dseg.config.evaluation import EvalConfig
from dseg.config.network import NetworkConfig
from dseg.config.runtime import RuntimeConfig
from dseg.config.train import TrainConfig, make_config

__all__ = ["EvalConfig", "NetworkConfig", "RuntimeConfig", "TrainConfig", "make_config"]
