"""The expansive path of U-Net (Ronneberger et al., MICCAI 2015, section 2, figure 1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dseg.nn.conv import two_3x3
from dseg.nn.fuse import resize_like


class ExpansivePath(nn.Module):
    """Steps from the coarsest map up to each finer one, and a last one to the image.

    Args:
        in_channels: channels of the maps, finest first.
        widths: channels of each step, from the coarsest to the finest, one for each map.
    """

    def __init__(self, in_channels: Sequence[int], widths: Sequence[int]):
        super().__init__()
        *finer, channels = in_channels
        self.steps = nn.ModuleList()
        for skip, width in zip((*reversed(finer), 0), widths, strict=True):
            self.steps.append(two_3x3(channels + skip, width))
            channels = width

    def forward(self, maps: Sequence[Tensor], image: Tensor) -> Tensor:
        """Map (N, in_channels[i], h, w) each to (N, widths[-1], H, W).

        A map is upsampled to the size of the next finer one, in front of which it is concatenated;
        the last one to the size of the image, (N, 3, H, W).
        """
        *finer, x = maps
        *joining, last = self.steps
        for step, skip in zip(joining, reversed(finer), strict=True):
            x = step(torch.cat([resize_like(x, skip), skip], 1))
        out: Tensor = last(resize_like(x, image))
        return out
