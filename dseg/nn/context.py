"""EmbeddedContext: a context module between two convolutions, with a skip connection."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dseg.nn.conv import conv_norm_act, rectifier


class EmbeddedContext(nn.Module):
    """Reduce, apply a context module, refine, and concatenate the result with the input.

    The head of CCNet (Huang et al., ICCV 2019, figure 2), and of GALD-Net and DGCNet after it.

    Args:
        in_channels: channels of the backbone's map.
        channels: channels of the reduced map, of the result of ``attend`` and of the output.
        attend: context module that maps (N, channels, h, w) to the same shape.
        slope: negative slope of the three activations; see ``rectifier``.
        dropout: probability of dropping whole maps, after the last one.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        attend: nn.Module,
        *,
        slope: float = 0.0,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.reduce = conv_norm_act(in_channels, channels, 3, act=rectifier(slope))
        self.attend = attend
        self.refine = conv_norm_act(channels, channels, 3, act=rectifier(slope))
        self.join = conv_norm_act(in_channels + channels, channels, 3, act=rectifier(slope))
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, channels, h, w)."""
        context = self.refine(self.attend(self.reduce(x)))
        out: Tensor = self.dropout(self.join(torch.cat([x, context], 1)))
        return out
