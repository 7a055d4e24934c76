"""Configurations of the commands, as dataclasses that do not import torch, to start quickly."""

from dseg.config.distill import DistillConfig
from dseg.config.evaluation import EvalConfig
from dseg.config.network import NetworkConfig
from dseg.config.runtime import RuntimeConfig
from dseg.config.train import TrainConfig, make_config

__all__ = [
    "DistillConfig",
    "EvalConfig",
    "NetworkConfig",
    "RuntimeConfig",
    "TrainConfig",
    "make_config",
]
