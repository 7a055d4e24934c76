"""Dense upsampling convolution (Wang et al., WACV 2018, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


class DenseUpsampling(nn.Module):
    """Predict ``factor ** 2`` channels per class, and rearrange them into a finer map.

    Channel ``factor ** 2 * k + factor * i + j`` of the convolution is class k at row i and column
    j within its cell; the paper does not give the order of the reshaped channels. The
    convolution is the sum of 3x3 ones at several rates, each with a bias, as the atrous pyramid
    that classifies in DeepLabV2 (Chen et al., TPAMI 2018, section 3.2), whose channels the paper
    multiplies.

    Args:
        in_channels: channels of the feature.
        num_classes: number of outputs.
        factor: ratio of the logits' resolution to the feature's.
        rates: dilations of the 3x3 convolutions; (1,) for a single plain one.
    """

    def __init__(self, in_channels: int, num_classes: int, factor: int, rates: Sequence[int]):
        super().__init__()
        self.factor = factor
        channels = num_classes * factor**2
        for rate in rates:
            conv = nn.Conv2d(in_channels, channels, 3, padding=rate, dilation=rate)
            self.add_module(f"rate{rate}", conv)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to logits (N, num_classes, factor * h, factor * w)."""
        first, *others = (conv(x) for conv in self.children())
        return F.pixel_shuffle(sum(others, first), self.factor)
