"""Configurations of the commands, as dataclasses that do not import torch, to start quickly."""

from dseg.config.evaluation import EvalConfig
from dseg.config.network import NetworkConfig
from dseg.config.runtime import RuntimeConfig
from dseg.config.train import TrainConfig, make_config

__all__ = ["EvalConfig", "NetworkConfig", "RuntimeConfig", "TrainConfig", "make_config"]
