"""Backbone: what the feature extractors have in common, above all how torchvision's files fit."""

from __future__ import annotations

from torch import nn


class Backbone(nn.Module):
    """A classification network without its classifier, torchvision's or its authors'.

    Attributes:
        KEY_MAP: ``(pattern, replacement)`` pairs that turn the file's keys into ours, each
            applied in order; a replacement of None drops the key.
        OTHER_KEY_MAPS: the same for files that name the same parts otherwise.
        ABSENT: prefixes of the parts that the file lacks.
        CLASSIFIERS: prefixes of the parts whose shape depends on the number of classes.
        torchvision_name: of the network there, such as ``densenet121``; empty if it has none.
        out_channels: of the map that ``forward`` returns.
    """

    KEY_MAP: tuple[tuple[str, str | None], ...] = ()
    OTHER_KEY_MAPS: tuple[tuple[tuple[str, str | None], ...], ...] = ()
    ABSENT: tuple[str, ...] = ()
    CLASSIFIERS: tuple[str, ...] = ()
    torchvision_name: str = ""
    out_channels: int

    def settle_absent(self) -> None:
        """Adapt the parts that torchvision lacks to weights just loaded; by default, as built."""

    @property
    def title(self) -> str:
        """Its name in messages: torchvision's, or the class's where torchvision has none."""
        return self.torchvision_name or type(self).__name__
