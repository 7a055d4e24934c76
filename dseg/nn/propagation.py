"""Semantic propagation: labels as a tree of concepts, with a neuron for each inner node.

    context (N,C,h,w) --+-> root --------+-> log p(child | root)                 (N,2,h,w)
                        |    |  x p      |
                        +----+-> vehicle +-> log p(child | vehicle)              (N,2,h,w)
                        |    |     | x p |
                        +----+-----+-> wheeled -> log p(child | wheeled)         (N,3,h,w)

An example tree: a concept reads the maps of all its ancestors, each weighted by the probability
that it gives to the next concept on the path (Liang et al., CVPR 2018). models/dsspn.py states
which choices are the paper's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.errors import DsegError
from dseg.nn.conv import conv_norm_act
from dseg.nn.precision import full_precision, to_float32
from dseg.nn.pyramid import PostNormBranch

Groups: TypeAlias = "Sequence[int | Groups]"  # class ids, and groups of them to any depth


@dataclass(frozen=True)
class Concept:
    """A concept that is divided into narrower ones: an inner node of the tree.

    Attributes:
        name: unique name of its neuron.
        children: class ids, and concepts for inner nodes.
    """

    name: str
    children: tuple[Concept | int, ...]

    def lineages(self, above: tuple[Concept, ...] = ()) -> Iterator[tuple[Concept, ...]]:
        """Yield the path to each inner node from this one down: (root, ..., node)."""
        line = (*above, self)
        yield line
        for child in self.children:
            if isinstance(child, Concept):
                yield from child.lineages(line)

    def paths(self) -> dict[int, list[int]]:
        """Return the steps from this concept to each class.

        A step is one of a concept's children. Steps are numbered as ``SemanticPropagation``
        returns them, concept by concept in the order of ``lineages``.
        """
        lines = list(self.lineages())
        steps = [(line[-1].name, child) for line in lines for child in line[-1].children]
        place = {step: index for index, step in enumerate(steps)}
        found = {}
        for line in lines:
            way = [place[above.name, below] for above, below in pairwise(line)]
            for child in line[-1].children:
                if isinstance(child, int):
                    found[child] = [*way, place[line[-1].name, child]]
        return found


def make_hierarchy(groups: Groups, num_classes: int) -> Concept:
    """Build the tree of nested groups of class ids, such as ``((0, 1), 2, (3, (4, 5)))``.

    A group of one element is replaced by it. Concepts are named by position: ``root``, ``root_0``,
    ``root_2``, ``root_2_1``.

    Raises:
        DsegError: a group is empty, or the groups do not hold each class exactly once.
    """
    top = _divide(groups, "root")
    root = Concept("root", (top,)) if isinstance(top, int) else top
    lines = list(root.lineages())
    leaves = [child for line in lines for child in line[-1].children if isinstance(child, int)]
    if sorted(leaves) != list(range(num_classes)) or any(not line[-1].children for line in lines):
        raise DsegError(
            f"The hierarchy {groups} does not hold each of {num_classes} classes exactly once.",
            hint=f"put each of the classes 0 to {num_classes - 1} into exactly one group.",
        )
    return root


def _divide(group: Groups | int, name: str) -> Concept | int:
    if isinstance(group, int):
        return group
    if len(group) == 1:
        return _divide(group[0], name)
    return Concept(name, tuple(_divide(part, f"{name}_{i}") for i, part in enumerate(group)))


class SemanticNeuron(nn.Module):
    """Classify the children of one concept: 1x1, 3x3, and a classifier of all maps so far.

    Args:
        in_channels: channels of the concatenated input.
        children: number of children of the concept.
        mid, growth: channels of the 1x1 and of the 3x3, each with norm and ReLU.
    """

    def __init__(self, in_channels: int, children: int, mid: int, growth: int):
        super().__init__()
        self.block = PostNormBranch(in_channels, mid, growth, rate=1)
        self.classifier = nn.Conv2d(in_channels + growth, children, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return its map, (N, growth, h, w), and log p(child | concept), (N, children, h, w).

        Args:
            x: (N, in_channels, h, w).
        """
        own = self.block(x)
        return own, F.log_softmax(self.classifier(torch.cat([x, own], 1)), 1)


class SemanticPropagation(nn.Module):
    """A graph of neurons along a tree of concepts, densely connected from the root down.

    A neuron reads the reduced map and, of every ancestor, its map times the probability that it
    gives to its child on the path. No neuron reads one that is not its ancestor.

    Args:
        in_channels: channels of the backbone's map.
        hierarchy: root of the tree.
        channels: channels of the 3x3 that reduces the map, with norm and ReLU.
        mid, growth: see ``SemanticNeuron``.

    Attributes:
        neurons: neuron of each concept, by name.
    """

    def __init__(
        self,
        in_channels: int,
        hierarchy: Concept,
        channels: int = 512,
        mid: int = 256,
        growth: int = 128,
    ):
        super().__init__()
        self.hierarchy = hierarchy
        self.reduce = conv_norm_act(in_channels, channels, 3, act=nn.ReLU(inplace=True))
        self.neurons = nn.ModuleDict()
        for *ancestors, concept in hierarchy.lineages():
            read, children = channels + growth * len(ancestors), len(concept.children)
            self.neurons[concept.name] = SemanticNeuron(read, children, mid, growth)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, steps, h, w), log p(child | concept) of every step."""
        x = self.reduce(x)
        maps: dict[str, Tensor] = {}
        steps: dict[str, Tensor] = {}
        for line in self.hierarchy.lineages():
            read = [x]
            for above, below in pairwise(line):
                place = above.children.index(below)
                read.append(maps[above.name] * steps[above.name][:, place, None].exp())
            name = line[-1].name
            maps[name], steps[name] = self.neurons[name](torch.cat(read, 1))
        return torch.cat(list(steps.values()), 1)


class PathSum(nn.Module):
    """Log-probabilities of classes: the sums over the steps of their paths, as a fixed 1x1 kernel.

    The kernel is a buffer, so that a checkpoint defines the meaning of its neurons' outputs, and
    has one row per class, like the weight of a classifier.

    Args:
        hierarchy: tree whose steps ``SemanticPropagation`` returns.

    Attributes:
        weight: (classes, steps, 1, 1), 1 for steps on the class's path, otherwise 0.
    """

    weight: Tensor

    def __init__(self, hierarchy: Concept):
        super().__init__()
        paths = hierarchy.paths()
        count = len({step for path in paths.values() for step in path})
        rows = [[float(step in paths[k]) for step in range(count)] for k in sorted(paths)]
        self.register_buffer("weight", torch.tensor(rows)[:, :, None, None])

    def forward(self, steps: Tensor) -> Tensor:
        """Map (N, steps, h, w) to log p(class), (N, classes, h, w), float32 under autocast too."""
        with full_precision(steps.device.type):
            return F.conv2d(to_float32(steps), to_float32(self.weight))
