"""Backbone: what the feature extractors have in common, above all how torchvision's files fit."""

from __future__ import annotations

from torch import nn


class Backbone(nn.Module):
    """A classification network of torchvision without its classifier.

    Attributes:
        KEY_MAP: ``(pattern, replacement)`` pairs that turn torchvision's keys into ours, each
            applied in order; a replacement of None drops the key.
        ABSENT: prefixes of the parts that torchvision's network lacks.
        torchvision_name: of the network there, such as ``densenet121``.
        out_channels: of the map that ``forward`` returns.
    """

    KEY_MAP: tuple[tuple[str, str | None], ...] = ()
    ABSENT: tuple[str, ...] = ()
    torchvision_name: str
    out_channels: int

    def settle_absent(self) -> None:
        """Adapt the parts that torchvision lacks to weights just loaded; by default, as built."""
