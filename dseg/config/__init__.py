"""What a run is asked to do: its configuration, without torch, so that commands start at once."""

from dseg.config.train import RuntimeConfig, TrainConfig

__all__ = ["RuntimeConfig", "TrainConfig"]
