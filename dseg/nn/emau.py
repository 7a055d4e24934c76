"""Expectation-maximisation attention (Li et al., ICCV 2019)."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.nn.conv import conv_norm_act
from dseg.nn.precision import full_precision, to_float32

EPS = 1e-6  # the release's, added to a base's responsibilities and to its length


class ExpectationMaximisation(nn.Module):
    """The paper's EMA unit: a map rebuilt from a few bases, added to the map itself.

    The bases start from a buffer and are fitted to each image anew. No gradient passes the
    fitting, which is the release's choice, not the paper's: ``project`` keeps the weights that it
    was given. In training the buffer follows the fitted bases, averaged over the images of all
    processes (eq. 15); the release does this outside the network. It moves once a forward, as the
    running statistics of a norm do.

    Args:
        channels: in and out.
        bases: of the mixture, K in the paper.
        steps: of expectation and maximisation, T in the paper.
        momentum: share of itself that the buffer keeps when it moves.

    Attributes:
        mu: the bases that the fitting starts from, (1, channels, bases), of length 1 when new.
    """

    mu: Tensor

    def __init__(self, channels: int, bases: int = 64, steps: int = 3, momentum: float = 0.9):
        super().__init__()
        self.steps, self.momentum = steps, momentum
        self.register_buffer("mu", F.normalize(torch.randn(1, channels, bases), dim=1))
        # without gradient, which a parameter that learns would have to get in every process
        self.project = nn.Conv2d(channels, channels, 1).requires_grad_(False)
        self.restore = conv_norm_act(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, h, w) to the same; the fitting is in float32 under autocast too."""
        features = self.project(x.detach()).flatten(2)
        with full_precision(x.device.type):
            bases, shares = self.fit(to_float32(features))
            rebuilt = torch.bmm(bases, shares.transpose(1, 2))
        if self.training:
            self._move(bases)
        rebuilt = rebuilt.to(x.dtype).relu_().view_as(x)
        out: Tensor = (self.restore(rebuilt) + x).relu_()
        return out

    def fit(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Fit the bases to (N, channels, P) features.

        Returns:
            The bases after the last step, (N, channels, bases), each of length 1, and the
            responsibilities that they were made of, (N, P, bases), whose sum is 1 at a position.
        """
        bases = self.mu.to(features.dtype).expand(len(features), -1, -1)
        shares = bases
        for _ in range(self.steps):
            shares = torch.bmm(features.transpose(1, 2), bases).softmax(2)
            bases = torch.bmm(features, shares / (EPS + shares.sum(1, keepdim=True)))
            bases = bases / (EPS + bases.norm(dim=1, keepdim=True))
        return bases, shares

    @torch.no_grad()
    def _move(self, bases: Tensor) -> None:
        """Move the buffer towards the mean of the bases of all images."""
        total = F.pad(bases.sum(0).flatten(), (0, 1), value=len(bases))  # and how many there are
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(total)
        mean = (total[:-1] / total[-1]).view_as(self.mu)
        self.mu.lerp_(mean.to(self.mu.dtype), 1 - self.momentum)
