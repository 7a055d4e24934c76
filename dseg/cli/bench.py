"""``dseg bench``: speed and cost of networks on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from dseg.cli.console import say, show_table
from dseg.cli.options.from_config import options_of
from dseg.cli.options.shared import json_option, quiet_option
from dseg.cli.options.types import FILE, ImageSize, ModelName
from dseg.cli.stdio import emit_json
from dseg.config import NetworkConfig
from dseg.errors import EXIT_FAILED_INPUTS, DsegError
from dseg.registry import MODELS

if TYPE_CHECKING:
    from dseg.bench import BenchConfig, Report

ALL = "all"
SHARED_OPTIONS = options_of(NetworkConfig)
COLUMNS = (
    *("network", "what", "params (M)", "GMACs", "GFLOPs", "memory (MiB)"),
    *("median ms", "p95 ms", "frames/s", "samples"),
)


class ModelOrAll(ModelName):
    """A network of the table, or ``all``."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return ALL if value.lower() == ALL else super().convert(value, param, ctx)


@click.command("bench", short_help="Measure how fast networks are on this machine.")
@click.option(
    "--model", "models", type=ModelOrAll(), multiple=True, required=True, metavar="NAME",
    help="Network; may be repeated, or 'all'; see: dseg models",
)  # fmt: skip
@click.option(
    "-w", "--weights", type=FILE, metavar="FILE",
    help="Checkpoint or exported file of the only --model (default: random weights, which take as "
    "long).",
)  # fmt: skip
@click.option(
    "--size",
    type=ImageSize(),
    default="1024x2048",
    show_default=True,
    help="Image size, height x width.",
)
@click.option(
    "--batch", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
    help="Images per forward pass.",
)  # fmt: skip
@SHARED_OPTIONS["device"]
@SHARED_OPTIONS["runtime"]
@click.option(
    "--precision", "--dtype", "dtype", type=click.Choice(["fp32", "bf16", "fp16", "int8"]),
    default="fp32", show_default=True, help="Precision of the network.",
)  # fmt: skip
@click.option(
    "--compile/--no-compile", "compiled", default=False, show_default=True,
    help="Compile the network with torch.compile.",
)  # fmt: skip
@click.option(
    "--deploy/--no-deploy", default=True, show_default=True,
    help="Fold norms into convolutions first, as dseg infer does.",
)  # fmt: skip
@click.option(
    "--warmup", type=click.IntRange(min=1), default=10, show_default=True, metavar="N",
    help="Number of runs before timing starts, within --seconds.",
)  # fmt: skip
@click.option(
    "--samples", type=click.IntRange(min=3), default=100, show_default=True, metavar="N",
    help="Number of timed runs.",
)  # fmt: skip
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), default=10.0, show_default=True,
    metavar="S", help="Time limit for the samples of a row, of which at least three are taken.",
)  # fmt: skip
@click.option(
    "--threads", type=click.IntRange(min=1), metavar="N",
    help="Number of CPU threads (default: chosen by torch).",
)  # fmt: skip
@json_option("all figures")
@click.option(
    "--plot", "plot_file", type=FILE, metavar="FILE",
    help="Plot the published score over milliseconds, as .png, .svg or .pdf.",
)  # fmt: skip
@quiet_option
def bench(
    models: tuple[str, ...],
    weights: Path | None,
    json_file: Path | None,
    plot_file: Path | None,
    quiet: bool,
    **plan: Any,
) -> None:
    """Measure parameters, operations, memory and speed of networks.

    Three speeds, since they are easily confused: the network alone; with its
    logits resized to the image and the best class of each pixel; and from a
    PNG file to a PNG file of label ids, one step after another (dseg infer
    overlaps them). A network that fails is listed with the reason, and the
    exit code is 1.

    \b
    Example:
      dseg bench --model DABNet --model BiSeNetV2 --size 512x1024
      dseg bench --model all --device cuda --dtype bf16 --json zoo.json --plot zoo.png
    """
    from dseg.allocator import keep_freed_memory
    from dseg.bench import BenchConfig, check_plot, write_plot

    names = list(MODELS) if ALL in models else list(dict.fromkeys(models))
    if weights is not None and len(names) > 1:
        raise DsegError(
            f"One checkpoint, {weights.name}, is given for {len(names)} networks.",
            hint="name one --model, or leave out --weights: random weights take as long.",
        )
    if plot_file is not None:
        check_plot(plot_file)
    chosen = BenchConfig(**plan)
    if chosen.torch_device.type == "cpu":  # as dseg infer does
        keep_freed_memory()
    chosen.use_threads()
    reports = _measure(names, chosen, weights, quiet)
    if str(json_file) != "-":
        _show(reports, chosen)
    if json_file is not None:
        emit_json(json_file, _make_facts(reports, chosen))
    if plot_file is not None:
        write_plot(reports, _title(chosen), plot_file)
    if any(report.fault for report in reports):
        raise click.exceptions.Exit(EXIT_FAILED_INPUTS)


def _measure(
    names: Sequence[str], plan: BenchConfig, weights: Path | None, quiet: bool
) -> list[Report]:
    """Measure one network after another, with progress."""
    from dseg.bench import bench_network, write_street

    reports = []
    with TemporaryDirectory() as folder:
        image = Path(folder, "street.png")
        write_street(image, plan.size)
        for index, name in enumerate(names, start=1):
            if not quiet:
                say(f"{index}/{len(names)} {name}")
            report = bench_network(name, plan, image, weights)
            reports.append(report)
            if report.fault:
                say(f"{name} failed: {report.fault}")
    return reports


def _show(reports: Sequence[Report], plan: BenchConfig) -> None:
    """Print the measuring conditions and the table."""
    from dseg.bench import TIMED_ROWS, describe_dtype, describe_machine, describe_memory
    from dseg.predict.runtimes import TITLES

    machine = describe_machine(plan)
    height, width = plan.size
    form = "norms folded into convolutions" if plan.deploy else "norms as trained"
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    click.echo(f"device: {machine['device']}, {machine['device_name']}, {machine['system']}")
    click.echo(f"threads of the CPU: {machine['threads']}")
    click.echo(f"precision: {describe_dtype(plan)}")
    compiled = "torch.compile" if plan.compiled else "not compiled"
    by = f"PyTorch, {compiled}" if plan.runtime_used == "torch" else TITLES[plan.runtime_used]
    click.echo(f"network: {form}, computed by {by}")
    click.echo(f"image: {height}x{width} (height x width), batch {plan.batch}, channels last")
    click.echo(
        f"samples: up to {plan.samples} or {plan.seconds:g} s a row, after up to {plan.warmup} "
        "runs to warm up; the device is waited for after each"
    )
    click.echo(f"versions: {versions}")
    for row, meaning in TIMED_ROWS.items():
        click.echo(f"{row}: {meaning}")
    click.echo(f"memory: {describe_memory(plan)}")
    show_table("", COLUMNS, (line for report in reports for line in _lines(report)))


def _lines(report: Report) -> list[list[str]]:
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
    return [
        [
            *(report.name if index == 0 else "", row[0]),
            *([*costs, memory] if index == 0 else [""] * 4),
            *row[1:],
        ]
        for index, row in enumerate(rows)
    ]


def _make_facts(reports: Sequence[Report], plan: BenchConfig) -> dict[str, Any]:
    """Return all figures for JSON."""
    from dataclasses import asdict

    from dseg.bench import TIMED_ROWS, describe_dtype, describe_machine, describe_memory

    return {
        "machine": describe_machine(plan),
        "settings": asdict(plan) | {"runtime": plan.runtime_used},
        "precision": describe_dtype(plan),
        "rows": {row.replace(" ", "_"): meaning for row, meaning in TIMED_ROWS.items()},
        "peak_memory": describe_memory(plan),
        "networks": [report.as_dict() for report in reports],
    }


def _title(plan: BenchConfig) -> str:
    from dseg.bench import describe_dtype, describe_machine
    from dseg.predict.runtimes import TITLES

    machine = describe_machine(plan)
    threads = f", {machine['threads']} threads" if plan.torch_device.type == "cpu" else ""
    size = f"{plan.size[0]}x{plan.size[1]}, batch {plan.batch}"
    by = "" if plan.runtime_used == "torch" else f", {TITLES[plan.runtime_used]}"
    return f"{machine['device_name']}{threads}{by}, {size}, {describe_dtype(plan)}"
