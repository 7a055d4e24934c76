"""Expectation-maximisation attention (Li et al., ICCV 2019)."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.nn.conv import conv_norm_act
from dseg.nn.precision import full_precision, to_float32

EPS = 1e-6  # as in the release, added to the sum of responsibilities and to the length of a base


class ExpectationMaximisation(nn.Module):
    """The paper's EMA unit: a map reconstructed from a few bases, added to the map itself.

    The bases start from a buffer and are fitted to each image. As in the release, but not in the
    paper, no gradient flows through the fitting, so that ``project`` keeps its initial weights. In
    training each forward pass updates the buffer by a moving average of the fitted bases over the
    images of all processes (eq. 15); the release does this outside the network.

    Args:
        channels: channels of input and output.
        bases: number of bases, K in the paper.
        steps: number of EM steps, T in the paper.
        momentum: fraction of the buffer that an update keeps.

    Attributes:
        mu: initial bases of the fitting, (1, channels, bases); unit vectors in a new module.
    """

    mu: Tensor

    def __init__(self, channels: int, bases: int = 64, steps: int = 3, momentum: float = 0.9):
        super().__init__()
        self.steps, self.momentum = steps, momentum
        self.register_buffer("mu", F.normalize(torch.randn(1, channels, bases), dim=1))
        # a parameter would need a gradient in every process
        self.project = nn.Conv2d(channels, channels, 1).requires_grad_(False)
        self.restore = conv_norm_act(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, h, w) to the same shape; fitting is in float32 under autocast too."""
        features = self.project(x.detach()).flatten(2)
        with full_precision(x.device.type):
            bases, responsibilities = self.fit(to_float32(features))
            reconstruction = torch.bmm(bases, responsibilities.transpose(1, 2))
        if self.training:
            self._update(bases)
        reconstruction = reconstruction.to(x.dtype).relu_().view_as(x)
        out: Tensor = (self.restore(reconstruction) + x).relu_()
        return out

    def fit(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Fit the bases to (N, channels, P) features.

        Returns:
            The bases after the last step, (N, channels, bases), as unit vectors, and the
            responsibilities that they were computed from, (N, P, bases), which sum to 1 at each
            position.
        """
        bases = self.mu.to(features.dtype).expand(len(features), -1, -1)
        responsibilities = bases
        for _ in range(self.steps):
            responsibilities = torch.bmm(features.transpose(1, 2), bases).softmax(2)
            bases = torch.bmm(
                features, responsibilities / (EPS + responsibilities.sum(1, keepdim=True))
            )
            bases = bases / (EPS + bases.norm(dim=1, keepdim=True))
        return bases, responsibilities

    @torch.no_grad()
    def _update(self, bases: Tensor) -> None:
        """Update the buffer by the mean of the bases of all images."""
        total = F.pad(bases.sum(0).flatten(), (0, 1), value=len(bases))  # with the number of images
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(total)
        mean = (total[:-1] / total[-1]).view_as(self.mu)
        self.mu.lerp_(mean.to(self.mu.dtype), 1 - self.momentum)
