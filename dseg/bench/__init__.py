"""Benchmarks of networks: parameters, operations, peak memory, and milliseconds per image."""

from dseg.bench.config import DTYPES, BenchConfig
from dseg.bench.cost import Cost, count_cost
from dseg.bench.machine import describe_dtype, describe_machine, describe_memory
from dseg.bench.plot import check_plot, write_plot
from dseg.bench.report import TIMED_ROWS, Report, bench_network
from dseg.bench.scene import write_street

__all__ = [
    "DTYPES",
    "TIMED_ROWS",
    "BenchConfig",
    "Cost",
    "Report",
    "bench_network",
    "check_plot",
    "count_cost",
    "describe_dtype",
    "describe_machine",
    "describe_memory",
    "write_plot",
    "write_street",
]
