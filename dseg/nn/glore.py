"""Global reasoning on a small graph (Chen et al., CVPR 2019, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GlobalReasoning(nn.Module):
    """Pool a map into graph nodes, apply a graph convolution, and project back to the map.

    The GloRe unit, a residual. With states ``s(x)`` of (N, S, L) and an assignment ``b(x)`` of
    (N, M, L) of the L positions to M nodes, both 1x1 convolutions,

        V = s(x) b(x)^T                    pooling, weighted by the assignment
        Z = W relu(V + V A^T + a)          graph convolution; A and W are learned
        y = x + norm(E (Z b(x)))           projection back by the same assignment

    The paper has ``(I - A) V W``; the sign is learned here. The ReLU and the bias a of each node
    are the release's. The norm's weights start at zero, so that a new unit returns its input.

    Args:
        in_channels: channels of the map.
        nodes: number of nodes, M.
        states: states per node, S; by default twice ``nodes``, as in the release.
        normalize: divide V by L, so that it does not grow with the image. The release does not,
            since all its images have one size.
    """

    def __init__(
        self,
        in_channels: int,
        nodes: int,
        states: int | None = None,
        *,
        normalize: bool = True,
    ):
        super().__init__()
        states = 2 * nodes if states is None else states
        self.normalize = normalize
        self.state = nn.Conv2d(in_channels, states, 1)
        self.assign = nn.Conv2d(in_channels, nodes, 1)
        self.mix_nodes = nn.Conv1d(nodes, nodes, 1)
        self.mix_states = nn.Conv1d(states, states, 1, bias=False)
        self.extend = nn.Conv2d(states, in_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(in_channels, eps=1e-4)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to the same shape."""
        states, assigned = self.state(x).flatten(2), self.assign(x).flatten(2)
        graph = torch.bmm(states, assigned.transpose(1, 2))
        if self.normalize:
            graph = graph / states.shape[2]
        mixed = self.mix_nodes(graph.transpose(1, 2)).transpose(1, 2)
        graph = self.mix_states((graph + mixed).relu())
        spread = torch.unflatten(torch.bmm(graph, assigned), 2, x.shape[2:])
        out: Tensor = x + self.norm(self.extend(spread))
        return out
