"""Benchmarks of networks: parameters, operations, peak memory, and milliseconds per image."""

from dseg.bench.config import DTYPES, MEMORY, TIMED_ROWS, BenchConfig
from dseg.bench.cost import Cost, count_cost
from dseg.bench.machine import describe_machine, describe_memory
from dseg.bench.plot import check_plot, write_plot
from dseg.bench.report import Report, bench_network
from dseg.bench.results import make_facts, read_reports
from dseg.bench.scene import write_street
from dseg.bench.text import COLUMNS, describe_conditions, make_rows, make_title, name_variant

__all__ = [
    "COLUMNS",
    "DTYPES",
    "MEMORY",
    "TIMED_ROWS",
    "BenchConfig",
    "Cost",
    "Report",
    "bench_network",
    "check_plot",
    "count_cost",
    "describe_conditions",
    "describe_machine",
    "describe_memory",
    "make_facts",
    "make_rows",
    "make_title",
    "name_variant",
    "read_reports",
    "write_plot",
    "write_street",
]
