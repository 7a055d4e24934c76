"""Calibrate a graph on images once, and quantise it in one or more ways from that."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from dseg.errors import DsegError, suggest
from dseg.parallel import Advance
from dseg.quantisation.graph import Graph, copy_named, find_floats
from dseg.quantisation.histogram import Histogram
from dseg.quantisation.insert import insert_qdq
from dseg.quantisation.observe import BUDGET, Batches, observe
from dseg.quantisation.ranges import METHODS, Range

if TYPE_CHECKING:
    from onnx import ModelProto

METHOD = "mse"
NORMALISING = ("Cast", "Transpose", "Gather", "Slice", "Pad", "Sub", "Div")
DENSE = 6  # smallest number of activations that a dense block concatenates


@dataclass(frozen=True)
class Calibration:
    """A float32 graph and the histograms of what its layers read.

    Args:
        model: the graph; every node has a name of its own.
        layers: names of the layers that can be quantised, in the order of execution.
        histograms: by name, of each activation that a layer reads or that is concatenated.
        concatenations: sets of activations that are concatenated with each other.
    """

    model: ModelProto
    layers: tuple[str, ...]
    histograms: dict[str, Histogram]
    concatenations: tuple[tuple[str, ...], ...] = ()

    @property
    def first(self) -> tuple[str, ...]:
        """Names of the layers that read the image, also behind its normalisation."""
        read = {self.model.graph.input[0].name}
        nodes = {}
        for node in self.model.graph.node:  # in the order of execution
            nodes[node.name] = node
            if node.op_type in NORMALISING and node.input[0] in read:
                read.update(node.output)
        return tuple(name for name in self.layers if nodes[name].input[0] in read)

    @property
    def has_dense_blocks(self) -> bool:
        """True if ``quantise`` can compute the concatenations of dense blocks in 8 bits."""
        return any(len(names) >= DENSE for names in self.concatenations)

    def quantise(
        self,
        *,
        method: str = METHOD,
        keep_float: Collection[str] | None = None,
        symmetric: bool = False,
        concatenate: bool = False,
    ) -> ModelProto:
        """Return the quantised graph; see ``dseg.quantisation.quantise``."""
        if method not in METHODS:
            known = ", ".join(METHODS)
            raise DsegError(f"Unknown method {method!r}.", hint=f"choose one of: {known}.")
        if keep_float is None:
            keep_float = self.first if len(self.first) < len(self.layers) else ()
        refuse_unknown_layers(keep_float, self.layers)
        find = METHODS[method]
        ranges = {name: find(found, symmetric) for name, found in self.histograms.items()}
        layers = [name for name in self.layers if name not in keep_float]
        concatenated: list[str] = []
        for names in self._find_quantised(keep_float) if concatenate else ():
            found = [find(self.histograms[name], True) for name in names]
            lowest, highest = (
                min(item.lowest for item in found),
                max(item.highest for item in found),
            )
            ranges.update(dict.fromkeys(names, Range(lowest, highest)))
            concatenated += names
        return insert_qdq(
            self.model, layers, ranges, symmetric=symmetric, concatenated=concatenated
        )

    def _find_quantised(self, keep_float: Collection[str]) -> list[tuple[str, ...]]:
        """Return what is concatenated in dense blocks of which no layer stays float32."""
        kept = {node.output[0] for node in self.model.graph.node if node.name in set(keep_float)}
        dense = [names for names in self.concatenations if len(names) >= DENSE]
        return [names for names in dense if kept.isdisjoint(names)]


def find_layers(model: ModelProto) -> tuple[str, ...]:
    """Return the names of the layers of a graph that can be quantised, in order of execution."""
    return tuple(Graph(copy_named(model)).layers)


def refuse_unknown_layers(names: Collection[str], layers: Sequence[str]) -> None:
    """Raise a DsegError if a name is not one of the layers."""
    for name in names:
        if name not in layers:
            near = suggest(name, layers)
            raise DsegError(
                f"The graph has no layer {name!r} that could be quantised.",
                hint=f"{near}the first layers are: {', '.join(layers[:5])}.",
            )


def calibrate(
    model: ModelProto,
    batches: Batches,
    *,
    budget: int = BUDGET,
    advance: Advance = lambda: None,
) -> Calibration:
    """Run a graph on images and return the histograms of what its layers read.

    Args:
        model: float32 graph with one input of shape (N, 3, H, W), opset 13 or newer.
        batches: returns all inputs, normalised, at each call.
        budget: bytes of activations that are held at once; see ``observe``.
        advance: called after each forward pass.

    Raises:
        DsegError: the graph cannot be quantised or run, there is no image, or an activation is
            NaN or infinite.
    """
    named = copy_named(model)
    graph = Graph(named)
    concatenations = tuple(graph.concatenations(find_floats(named)))
    names = [layer.input[0] for layer in graph.layers.values()]
    names = list(dict.fromkeys((*names, *chain.from_iterable(concatenations))))
    histograms = observe(named, names, batches, budget=budget, advance=advance)
    return Calibration(named, tuple(graph.layers), histograms, concatenations)


def quantise(
    model: ModelProto,
    batches: Batches,
    *,
    method: str = METHOD,
    keep_float: Collection[str] | None = None,
    symmetric: bool = False,
    concatenate: bool = False,
    budget: int = BUDGET,
    advance: Advance = lambda: None,
) -> ModelProto:
    """Return an int8 graph, by post-training quantisation with calibration images.

    Convolutions and products with constant weights read 8-bit values (QuantizeLinear and
    DequantizeLinear nodes, "QDQ"); all other nodes stay float32. Weights are int8, with a scale
    for each output channel.

    Args:
        model: float32 graph with one input of shape (N, 3, H, W), opset 13 or newer.
        batches: returns all inputs, normalised, at each call.
        method: how the range of activations is chosen: minmax, percentile, entropy or mse.
        keep_float: names of layers that stay float32; by default those that read the image: on
            trained networks, they change the most labels and take little of the time.
        symmetric: activations are int8 with zero point 0, as TensorRT requires; otherwise uint8
            with a zero point, which is faster and more accurate on CPUs.
        concatenate: what dense blocks concatenate is quantised too, with one scale for each
            block. DenseASPP161 runs twice as fast in OpenVINO; measure what it costs.
        budget: bytes of activations that are held at once.
        advance: called after each forward pass.

    Raises:
        DsegError: see ``calibrate``; or the method or a layer is unknown.
    """
    calibration = calibrate(model, batches, budget=budget, advance=advance)
    return calibration.quantise(
        method=method, keep_float=keep_float, symmetric=symmetric, concatenate=concatenate
    )
