"""Networks as graphs: traced to ONNX, with their model card, and cached for runtimes."""

from dseg.graphs.cache import cached_graph, graphs_folder
from dseg.graphs.facts import GraphFacts, add_facts, read_graph
from dseg.graphs.needs import need, openvino_core
from dseg.graphs.trace import TraceError, make_shell, padded_size, trace, trace_program

__all__ = [
    "GraphFacts",
    "TraceError",
    "add_facts",
    "cached_graph",
    "graphs_folder",
    "make_shell",
    "need",
    "openvino_core",
    "padded_size",
    "read_graph",
    "trace",
    "trace_program",
]
