"""What networks cost: parameters, operations, memory, and milliseconds an image."""

from dseg.bench.cost import Cost, count_cost
from dseg.bench.machine import describe_machine, describe_memory, describe_precision
from dseg.bench.plan import DTYPES, Plan
from dseg.bench.plot import check_plot, write_plot
from dseg.bench.report import ROWS, Report, bench_network
from dseg.bench.street import write_street

__all__ = [
    "DTYPES",
    "ROWS",
    "Cost",
    "Plan",
    "Report",
    "bench_network",
    "check_plot",
    "count_cost",
    "describe_machine",
    "describe_memory",
    "describe_precision",
    "write_plot",
    "write_street",
]
