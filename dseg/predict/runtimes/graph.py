"""GraphRuntime: what runtimes of a traced or exported graph have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from dseg.errors import DsegError
from dseg.graphs import GraphFacts
from dseg.labels import IGNORE
from dseg.memory import is_out_of_memory
from dseg.models import ModelCard
from dseg.predict.runtimes.base import failed
from dseg.protocol import Size


class GraphRuntime(ABC):
    """Computes the logits of a graph, whatever its input and output are.

    Args:
        card: model card of the network.
        facts: how the graph is fed.
        precision: ``float32``, ``bfloat16``, ``float16`` or ``int8``.
    """

    name: ClassVar[str]

    def __init__(self, card: ModelCard, facts: GraphFacts, precision: str):
        self.card, self.facts, self.precision = card, facts, precision
        mean, std = torch.tensor(card.mean) * 255, torch.tensor(card.std) * 255
        self._mean, self._std = mean, std  # as red, green, blue

    @property
    def labels_only(self) -> bool:
        """True if the graph returns labels, which have no scores to fuse."""
        return self.facts.output == "labels"

    def __call__(self, view: Tensor) -> Tensor:
        """Return the logits (N, K, h, w) float32 of normalised images (N, 3, H, W).

        Labels are returned as logits that are 1 for the label's class and 0 for all others; the
        last channel stands for no class.

        Raises:
            RuntimeFailedError: the runtime cannot compute the network.
            DsegError: the graph has one size of input, and this is another.
        """
        size = view.shape[-2], view.shape[-1]
        if self.facts.size is not None:
            if size != self.facts.size:
                raise _other_size_error(size, self.facts.size)
            if view.shape[0] > 1:
                return torch.cat([self(one[None]) for one in view])
        try:
            found = self._run(self._to_pixels(view) if self.facts.input == "uint8" else view)
        except Exception as fault:  # the errors of runtimes have no common class
            if is_out_of_memory(fault):
                raise
            raise failed(self.name, self.card.network, fault) from fault
        return self._to_scores(found) if self.labels_only else found

    @abstractmethod
    def _run(self, image: Tensor) -> Tensor:
        """Return the output of the graph for its input, channels first unless it is uint8."""

    def _to_pixels(self, view: Tensor) -> Tensor:
        """Return (N, H, W, 3) uint8 RGB of normalised images."""
        rgb = (view.flip(1) if self.card.order == "BGR" else view).permute(0, 2, 3, 1)
        return (rgb * self._std + self._mean).round().clamp(0, 255).to(torch.uint8).contiguous()

    def _to_scores(self, train_ids: Tensor) -> Tensor:
        classes = self.card.label_space.num_classes
        index = torch.where(train_ids == IGNORE, classes, train_ids).long()
        return F.one_hot(index, classes + 1).permute(0, 3, 1, 2).float()


def _other_size_error(size: Size, fixed: Size) -> DsegError:
    return DsegError(
        f"The exported file reads inputs of {fixed[0]}x{fixed[1]} only, not of "
        f"{size[0]}x{size[1]}.",
        hint=f"use --input-size {fixed[0]}x{fixed[1]} without --scales and --tile, or export it "
        "with --size dynamic.",
    )
