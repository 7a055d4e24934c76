"""Gates: factors in 0..1 for the channels of a map, computed from its global mean."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from dseg.nn.conv import conv_norm_act


def channel_gate(channels: int, mid: int = 0) -> nn.Sequential:
    """Build global mean, 1x1 convolutions and sigmoid: (N, C, h, w) to (N, C, 1, 1) in 0..1.

    It has no biases.

    Args:
        mid: hidden channels between two convolutions (squeeze and excitation, Hu et al., CVPR
            2018); 0 for one convolution with batch norm, as in attention refinement.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict(pool=nn.AdaptiveAvgPool2d(1))
    if mid:
        parts["conv1"] = nn.Conv2d(channels, mid, 1, bias=False)
        parts["act"] = nn.ReLU(inplace=True)
        parts["conv2"] = nn.Conv2d(mid, channels, 1, bias=False)
    else:
        parts["conv"] = nn.Conv2d(channels, channels, 1, bias=False)
        parts["norm"] = nn.BatchNorm2d(channels)
    parts["sigmoid"] = nn.Sigmoid()
    return nn.Sequential(parts)


class AttentionRefinement(nn.Module):
    """A map times its channel gate (BiSeNet, Yu et al., ECCV 2018), after a 3x3 convolution.

    In the paper the gate reads the input itself; both public versions first project it to the
    channels of the context path.

    Args:
        in_channels, out_channels: channels of the 3x3 convolution, with norm and ReLU.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.reduce = conv_norm_act(in_channels, out_channels, 3, act=nn.ReLU(inplace=True))
        self.gate = channel_gate(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, h, w)."""
        x = self.reduce(x)
        out: Tensor = x * self.gate(x)
        return out
