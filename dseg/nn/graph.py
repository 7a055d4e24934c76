"""Dual graph convolution: one graph of positions, one of features (Zhang et al., BMVC 2019).

x (N,C,h,w)
  -> shrink      three depth-wise 3x3 of stride 2     (N,C,h/8,w/8)
  -> coordinate  graph of positions -> up, x + x * up (N,C,h,w)
  -> feature     graph of features, in parallel       (N,C,h,w)
  -> fuse        1x1 on both                          (N,C,h,w)
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from dseg.nn.conv import conv_norm_act
from dseg.nn.fuse import resize_like
from dseg.nn.precision import full_precision, to_float32

# keys of the release's module, alone or as a context's ``attend``, to ours
DUAL_GRAPH_KEYS = (
    (r"(^|attend\.)gcn_local_attention\.", r"\1coordinate."),
    (r"coordinate\.node_q\.", "coordinate.query."),
    (r"coordinate\.node_k\.", "coordinate.key."),
    (r"coordinate\.node_v\.", "coordinate.value."),
    (r"coordinate\.conv_wg\.", "coordinate.update.conv."),
    (r"coordinate\.bn_wg\.", "coordinate.update.norm."),
    (r"coordinate\.out\.0\.", "coordinate.expand.conv."),
    (r"coordinate\.out\.1\.", "coordinate.expand.norm."),
    (r"(^|attend\.)(phi|theta)\.", r"\1feature.\2.conv."),
    (r"(^|attend\.)bn_(phi|theta)\.", r"\1feature.\2.norm."),
    (r"(^|attend\.)conv_adj\.", r"\1feature.adjacency.conv."),
    (r"(^|attend\.)bn_adj\.", r"\1feature.adjacency.norm."),
    (r"(^|attend\.)conv_wg\.", r"\1feature.update.conv."),
    (r"(^|attend\.)bn_wg\.", r"\1feature.update.norm."),
    (r"(^|attend\.)conv3\.", r"\1feature.expand.conv."),
    (r"(^|attend\.)bn3\.", r"\1feature.expand.norm."),
    (r"(^|attend\.)local\.0\.", r"\1shrink.0.conv."),
    (r"(^|attend\.)local\.1\.", r"\1shrink.0.norm."),
    (r"(^|attend\.)local\.2\.", r"\1shrink.1.conv."),
    (r"(^|attend\.)local\.3\.", r"\1shrink.1.norm."),
    (r"(^|attend\.)local\.4\.", r"\1shrink.2.conv."),
    (r"(^|attend\.)local\.5\.", r"\1shrink.2.norm."),
    (r"(^|attend\.)final\.0\.", r"\1fuse.conv."),
    (r"(^|attend\.)final\.1\.", r"\1fuse.norm."),
)


class DualGraph(nn.Module):
    """Both graphs on one map, and a 1x1 convolution with norm on their results.

    The two spaces are the paper's. The release adds that the graph of positions gates the map, and
    that no activation follows the strided convolutions and the last one.

    Args:
        channels: channels of input and output, a multiple of 4.
    """

    def __init__(self, channels: int):
        super().__init__()
        strided = (
            conv_norm_act(channels, channels, 3, stride=2, groups=channels) for _ in range(3)
        )
        self.shrink = nn.Sequential(*strided)
        self.coordinate = CoordinateGraph(channels)
        self.feature = FeatureGraph(channels)
        self.fuse = conv_norm_act(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, h, w) to the same shape."""
        places = resize_like(self.coordinate(self.shrink(x)), x, True)
        out: Tensor = self.fuse(torch.cat([x + x * places, self.feature(x)], 1))
        return out


class CoordinateGraph(nn.Module):
    """Graph convolution between all positions of a coarse map: the paper's coordinate space.

    ``value (query^T key)`` would need an adjacency of all P positions. It is not formed:
    ``query value^T``, of size c x c, comes first, under an unscaled softmax over the features of
    ``value``, and its transpose times ``key`` after, so that the cost is linear in P. The names
    are the release's.

    Args:
        channels: channels of input and output; c is half of them.
    """

    def __init__(self, channels: int):
        super().__init__()
        mid = channels // 2
        self.query = nn.Conv2d(channels, mid, 1)
        self.key = nn.Conv2d(channels, mid, 1)
        self.value = nn.Conv2d(channels, mid, 1)
        self.update = _node_conv(mid)
        self.expand = conv_norm_act(mid, channels, 1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, h, w) to the same shape, without negative values."""
        query, key, value = (layer(x).flatten(2) for layer in (self.query, self.key, self.value))
        affinity = torch.bmm(query, value.transpose(1, 2)).softmax(2)
        nodes = self.update(torch.bmm(affinity.transpose(1, 2), key))
        out: Tensor = x + self.expand(_as_map(nodes, x))
        return out.relu_()


class FeatureGraph(nn.Module):
    """Graph convolution between K nodes, each a weighted sum over the map: the feature space.

    The projection ``phi theta^T`` to K nodes of c features, not divided by the number of positions;
    a step ``I + A`` along a learned adjacency of the nodes; a learned update of their features; and
    the reprojection, nodes times ``theta``. The step of GloRe (Chen et al., CVPR 2019) is
    ``I - A``; the release adds, and the norm after ``A`` can take either sign.

    Args:
        channels: channels of input and output; c is half and K a quarter of them.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.phi = conv_norm_act(channels, channels // 2, 1)
        self.theta = conv_norm_act(channels, channels // 4, 1)
        self.adjacency = _node_conv(channels // 4)
        self.update = _node_conv(channels // 2)
        self.expand = conv_norm_act(channels // 2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, h, w) to the same shape, without negative values."""
        phi, theta = self.phi(x).flatten(2), self.theta(x).flatten(2)
        with full_precision(x.device.type):  # nodes are sums over the whole map
            theta = to_float32(theta)
            nodes = torch.bmm(to_float32(phi), theta.transpose(1, 2))
            nodes = nodes + self.adjacency(nodes.transpose(1, 2)).transpose(1, 2)
            reprojected = torch.bmm(self.update(nodes), theta)
            expanded = self.expand(_as_map(reprojected, x))
        out: Tensor = x + expanded.to(x.dtype)
        return out.relu_()


def _node_conv(channels: int) -> nn.Sequential:
    """Build a 1x1 convolution over the channels of (N, channels, L), with norm."""
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv1d(channels, channels, 1, bias=False), norm=nn.BatchNorm1d(channels)
        )
    )


def _as_map(nodes: Tensor, like: Tensor) -> Tensor:
    return nodes.reshape(*nodes.shape[:2], *like.shape[-2:])
