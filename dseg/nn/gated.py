"""Gated fusion of pyramid levels, and a densely connected pyramid (GFF)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from dseg.nn.fuse import resize_like


class GatedFusion(nn.Module):
    """Fuse every level with all others, weighted by gates.

    Li et al., AAAI 2020 (GFF): ``X'_l = (1 + G_l) X_l + (1 - G_l) sum over i != l of G_i X_i``,
    each gate ``G_l`` the sigmoid of a 1x1 convolution with bias. Where a gate is open, a level
    keeps and sends its features; where it is closed, it receives those of other levels. Maps are
    gated at their own size, then resized with align_corners.

    Args:
        in_channels: channels of the map that each level's gate reads.
        gate_channels: channels of every gate: one in the paper, shared by all channels, or as many
            as the maps have.
        in_sequence: fuse the levels one after the other, each with the fused maps of those before
            and their original gates. In the paper all levels read the original maps.
    """

    def __init__(
        self, in_channels: Sequence[int], gate_channels: int = 1, *, in_sequence: bool = False
    ):
        super().__init__()
        self.in_sequence = in_sequence
        for level, channels in enumerate(in_channels, start=1):
            self.add_module(f"level{level}", nn.Conv2d(channels, gate_channels, 1))

    def forward(
        self, maps: Sequence[Tensor], sources: Sequence[Tensor] | None = None
    ) -> list[Tensor]:
        """Return the fused maps, each of its level's own shape.

        Args:
            maps: (N, C, h, w) of each level, with equal C and any sizes.
            sources: maps that the gates read, (N, in_channels[l], h, w) in the sizes of ``maps``,
                which are the default.
        """
        pairs = zip(self.children(), sources or maps, strict=True)
        gates = [gate(source).sigmoid() for gate, source in pairs]
        sent = [gate * x for gate, x in zip(gates, maps, strict=True)]
        fused = []
        for level, (gate, x) in enumerate(zip(gates, maps, strict=True)):
            others = (resize_to(y, x) for index, y in enumerate(sent) if index != level)
            received = reduce(torch.add, others)
            # the equation with the gate factored out, which needs fewer maps
            fused.append(x + received + gate * (x - received))
            if self.in_sequence:
                sent[level] = gate * fused[-1]
        return fused


class DenseFeaturePyramid(nn.Module):
    """From coarse to fine, each level reads its own map and the outputs of all levels before.

    The dense feature pyramid of GFF (Li et al., AAAI 2020).

    Args:
        blocks: block of each level, coarsest first; block l reads the start, l outputs and its map.
    """

    def __init__(self, blocks: Sequence[nn.Module]):
        super().__init__()
        for level, block in zip(range(len(blocks), 0, -1), blocks, strict=True):
            self.add_module(f"level{level}", block)

    def forward(
        self, maps: Sequence[Tensor], start: Tensor | None = None, like: Tensor | None = None
    ) -> list[Tensor]:
        """Return the start, if any, and the output of each level.

        Args:
            maps: (N, C, h, w) of each level, coarsest first.
            start: a map that all levels read first.
            like: map whose size all levels use; by default each level uses its own map's size.
        """
        outputs = [] if start is None else [start]
        for block, x in zip(self.children(), maps, strict=True):
            outputs.append(block(concat_at([*outputs, x], x if like is None else like)))
        return outputs


def concat_at(maps: Sequence[Tensor], like: Tensor) -> Tensor:
    """Resize maps to the size of ``like``, and concatenate them."""
    return torch.cat([resize_to(x, like) for x in maps], 1)


def resize_to(x: Tensor, like: Tensor) -> Tensor:
    """Resize (N, C, h, w) with align_corners to another map's size, unless it is equal."""
    return x if x.shape[-2:] == like.shape[-2:] else resize_like(x, like, True)
