"""Backbone: the base class of feature extractors, with the key maps of torchvision's files."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


class Backbone(nn.Module):
    """A classification network of torchvision or its authors, without the classifier.

    Attributes:
        KEY_MAP: ``(pattern, replacement)`` pairs that map the file's keys to ours, each
            applied in order; a replacement of None drops the key.
        OTHER_KEY_MAPS: key maps of files with other names.
        ABSENT: prefixes of the keys that the file lacks.
        OTHER_STEM: prefixes of the keys that keep their initial values if a file has torchvision's
            stem instead of the network's deep one; empty if both are the same.
        stem_note: which layers these are, in words.
        CLASSIFIERS: prefixes of the keys whose shape depends on the number of classes.
        torchvision_name: torchvision's name of the network, such as ``densenet121``; "" if none.
        out_channels: channels of the map that ``forward`` returns.
        pyramid_channels: channels of the maps that ``pyramid`` returns.
    """

    KEY_MAP: tuple[tuple[str, str | None], ...] = ()
    OTHER_KEY_MAPS: tuple[tuple[tuple[str, str | None], ...], ...] = ()
    ABSENT: tuple[str, ...] = ()
    OTHER_STEM: tuple[str, ...] = ()
    stem_note: str = ""
    CLASSIFIERS: tuple[str, ...] = ()
    torchvision_name: str = ""
    out_channels: int
    pyramid_channels: tuple[int, ...]

    def pyramid(self, image: Tensor) -> list[Tensor]:
        """Return the last map of each stride from 2 on, finest first, for a decoder.

        Args:
            image: (N, 3, H, W).

        Returns:
            (N, pyramid_channels[i], h, w) each.

        Raises:
            NotImplementedError: the backbone has no such maps.
        """
        raise NotImplementedError

    def init_absent(self) -> None:
        """Adapt the layers that torchvision lacks to the loaded weights; by default do nothing."""

    def has_other_stem(self, state: Mapping[str, Tensor]) -> bool:
        """Return True if a state dict with our keys has torchvision's stem, and ours differs."""
        return False

    @property
    def title(self) -> str:
        """The name in messages: torchvision's, otherwise that of the class."""
        name = self.torchvision_name or type(self).__name__
        return f"{name} with a deep stem" if self.OTHER_STEM else name
