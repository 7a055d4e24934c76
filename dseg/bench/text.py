"""The figures of ``dseg bench`` in words: conditions, table, title of the plot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dseg.bench.config import MEMORY, TIMED_ROWS, BenchConfig
from dseg.bench.machine import describe_machine, describe_memory
from dseg.bench.report import Report
from dseg.errors import counted
from dseg.predict.runtimes import TITLES

COLUMNS = (
    *("network", "computed by", "what", "median ms", "p95 ms", "frames/s"),
    *("params (M)", "GMACs", "GFLOPs", "memory (MiB)", "samples"),
)


def name_variant(runtime: str, dtype: str) -> str:
    """Return the name of a runtime with a precision, such as ``OpenVINO bf16``."""
    return f"{TITLES[runtime]} {dtype}"


def describe_conditions(reports: Sequence[Report], configs: Sequence[BenchConfig]) -> Iterator[str]:
    """Yield the lines above the table; ``configs`` differ in runtime and precision only."""
    plan = configs[0]
    machine = describe_machine(*configs)
    height, width = plan.size
    form = "norms folded into convolutions" if plan.deploy else "norms as trained"
    yield f"device: {machine['device']}, {machine['device_name']}, {machine['system']}"
    yield f"threads of the CPU: {machine['threads']}"
    for variant, precision in dict.fromkeys(
        (name_variant(report.runtime, report.dtype), report.precision) for report in reports
    ):
        if precision:
            yield f"{variant}: {precision}"
    yield f"network: {form}, {'torch.compile' if plan.compiled else 'not compiled'}"
    yield f"image: {height}x{width} (height x width), batch {plan.batch}, channels last"
    yield (
        f"samples: up to {plan.samples} or {plan.seconds:g} s a row, after up to {plan.warmup} "
        "runs to warm up; the device is waited for after each"
    )
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    yield f"versions: {versions}"
    for row in (row for row in TIMED_ROWS if row in plan.measured):
        yield f"{row}: {TIMED_ROWS[row]}"
    if MEMORY in plan.measured:
        yield f"memory: {describe_memory(plan)}"


def make_rows(report: Report) -> list[list[str]]:
    """Return the table rows of a report; the first has what all rows have in common."""
    cost = report.cost
    costs = ["", "", ""]
    if cost is not None:
        costs = [f"{cost.params / 1e6:.2f}", f"{cost.macs / 1e9:.2f}", f"{cost.flops / 1e9:.2f}"]
    memory = "" if report.memory is None else f"{report.memory / 2**20:.0f}"
    rows = [
        [
            *(row, f"{timing.median_ms:.2f}", f"{timing.p95_ms:.2f}"),
            *(f"{timing.frames_per_s:.2f}", str(timing.samples)),
        ]
        for row, timing in report.timings.items()
    ]
    if report.fault:
        rows.append([f"failed: {report.fault}", "", "", "", ""])
    common = [report.name, name_variant(report.runtime, report.dtype)]
    return [
        [
            *(common if index == 0 else ("", "")),
            *row[:4],
            *([*costs, memory] if index == 0 else [""] * 4),
            row[4],
        ]
        for index, row in enumerate(rows or [[""] * 5])
    ]


def make_title(configs: Sequence[BenchConfig]) -> str:
    """Return the title of a plot; one variant is named, several have a legend."""
    plan = configs[0]
    machine = describe_machine(plan)
    threads = ""
    if plan.torch_device.type == "cpu":
        threads = f", {counted(machine['threads'], 'thread')}"
    size = f"{plan.size[0]}x{plan.size[1]}, batch {plan.batch}"
    variant = name_variant(plan.runtime_used, plan.dtype) if len(configs) == 1 else ""
    return ", ".join(filter(None, (f"{machine['device_name']}{threads}", size, variant)))
