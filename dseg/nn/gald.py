"""Global aggregation, then local distribution (Li et al., BMVC 2019)."""

from __future__ import annotations

from torch import Tensor, nn

from dseg.nn.conv import conv_norm_act
from dseg.nn.fuse import resize_like
from dseg.nn.precision import full_precision, to_float32

# keys of the release's modules, alone or as a context's ``attend``, to ours
GALD_KEYS = (
    (r"(^|attend\.)long_relation\.", r"\1aggregate."),
    (r"(^|attend\.)local_attention\.", r"\1distribute."),
    (r"(^|attend\.)down\.0\.", r"\1down.conv."),
    (r"(^|attend\.)down\.1\.", r"\1down.norm."),
    (r"(^|aggregate\.)t\.", r"\1theta."),
    (r"(^|aggregate\.)p\.", r"\1phi."),
    (r"(^|aggregate\.)z\.", r"\1expand."),
    (r"(^|aggregate\.)gn\.", r"\1norm."),
    (r"(^|distribute\.)dconv1\.", r"\1mask.0."),
    (r"(^|distribute\.)dconv2\.", r"\1mask.1."),
    (r"(^|distribute\.)dconv3\.", r"\1mask.2."),
    (r"(mask\.\d)\.0\.", r"\1.conv."),
    (r"(mask\.\d)\.1\.", r"\1.norm."),
)


class GALDBlock(nn.Module):
    """Global context at half the size of the map, distributed to each position by a mask.

    The order and the mask are the paper's; the residual sum around the distribution, twice the
    context plus its masked part, is the release's.

    Args:
        channels: channels of the map, in and out.
        mid: hidden channels of the aggregation.
    """

    def __init__(self, channels: int, mid: int):
        super().__init__()
        self.down = _halve(channels)
        self.aggregate = CompactNonLocal(channels, mid)
        self.distribute = LocalDistribution(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, h, w), with sides of 15 and more, to the same shape."""
        context = resize_like(self.aggregate(self.down(x)), x, True)
        out: Tensor = context + self.distribute(context)
        return out


class CompactNonLocal(nn.Module):
    """Non-local attention between all channels and positions of a group of channels.

    The compact generalised non-local module (Yue et al., NeurIPS 2018) with the kernel of dot
    products: a group's ``theta phi^T g`` over all its values equals ``theta (phi^T g)``, which is
    one factor for each image and group. No factor is divided by the number of values, and
    group norm replaces that paper's batch norm, as in the release: the norm removes nearly all of
    ``phi`` and ``g`` except the factor's sign.

    Args:
        channels: channels of the map, in and out.
        mid: channels of ``theta``, ``phi`` and ``g``.
        groups: number of groups, a divisor of both.
    """

    def __init__(self, channels: int, mid: int, groups: int = 8):
        super().__init__()
        self.groups = groups
        self.theta = nn.Conv2d(channels, mid, 1, bias=False)
        self.phi = nn.Conv2d(channels, mid, 1, bias=False)
        self.g = nn.Conv2d(channels, mid, 1, bias=False)
        self.expand = nn.Conv2d(mid, channels, 1, groups=groups, bias=False)
        self.norm = nn.GroupNorm(groups, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, h, w) to the same shape: the input plus the attention."""
        count, _, height, width = x.shape
        theta, phi, g = (
            layer(x).reshape(count, self.groups, -1, 1) for layer in (self.theta, self.phi, self.g)
        )
        with full_precision(x.device.type):  # a factor is a sum over the whole map
            attended = to_float32(theta) @ (to_float32(phi).transpose(2, 3) @ to_float32(g))
            added = self.norm(self.expand(attended.reshape(count, -1, height, width)))
        out: Tensor = x + added.to(x.dtype)
        return out


class LocalDistribution(nn.Module):
    """A map plus itself times a mask, which each channel predicts from its coarse copy.

    The paper's local distribution: ``x + x * sigmoid(up(down(x)))``, three strided depth-wise
    convolutions down.

    Args:
        channels: channels of the map, in and out.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.mask = nn.Sequential(*(_halve(channels) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, h, w), with sides of 15 and more, to the same shape."""
        out: Tensor = x + x * resize_like(self.mask(x), x, True).sigmoid_()
        return out


def _halve(channels: int) -> nn.Sequential:
    """Build an unpadded depth-wise 3x3 of stride 2: a side of n becomes (n - 1) // 2.

    It has a bias, as in the release.
    """
    act = nn.ReLU(inplace=True)
    return conv_norm_act(
        *(channels, channels, 3), stride=2, padding=0, groups=channels, bias=True, act=act
    )
