"""``dseg bench``: speed and cost of networks on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from dseg.cli.bench.options import ALL, MEASURED, bench_options
from dseg.cli.console import say, show
from dseg.cli.options.groups import DsegCommand
from dseg.cli.stdio import emit_json
from dseg.cli.tables import show_table
from dseg.errors import EXIT_FAILED_INPUTS, DsegError
from dseg.registry import MODELS

if TYPE_CHECKING:
    from dseg.bench import BenchConfig, Report


@click.command(
    "bench", cls=DsegCommand, short_help="Measure how fast networks are on this machine."
)
@bench_options
def bench(
    models: tuple[str, ...],
    weights: Path | None,
    runtimes: tuple[str, ...],
    dtypes: tuple[str, ...],
    measured: tuple[str, ...],
    json_file: Path | None,
    resume: bool,
    plot_file: Path | None,
    quiet: bool,
    **plan: Any,
) -> None:
    """Measure parameters, operations, memory and speed of networks.

    Three speeds, since they are easily confused: the network alone; with its
    logits resized to the image and the best class of each pixel; and from a
    PNG file to a PNG file of label ids, one step after another (dseg infer
    overlaps them). With several runtimes or precisions each network is
    measured in all of them, one after the other. A network that fails is
    listed with the reason, and the exit code is 1.

    \b
    Example:
      dseg bench --model DABNet --model BiSeNetV2 --size 512x1024
      dseg bench --model DABNet --runtime torch --runtime openvino --precision bf16
      dseg bench --model all --device cuda --dtype bf16 --json zoo.json --plot zoo.png
    """
    from dseg.allocator import keep_freed_memory
    from dseg.bench import check_plot, make_facts, make_title, read_reports, write_plot

    names = list(MODELS) if ALL in models else list(dict.fromkeys(models))
    if plot_file is not None:
        check_plot(plot_file)
    configs = _make_configs(runtimes, dtypes, measured, plan)
    _check_options(names, weights, measured, json_file, resume, plot_file)
    if configs[0].torch_device.type == "cpu":  # as dseg infer does
        keep_freed_memory()
    configs[0].use_threads()
    reports = []
    before = read_reports(json_file, configs, weights) if resume and json_file is not None else []
    for reports in _measure(names, configs, weights, before, quiet):
        if json_file is not None and str(json_file) != "-":
            emit_json(json_file, make_facts(reports, configs, weights))
    if str(json_file) == "-":
        emit_json(Path("-"), make_facts(reports, configs, weights))
    else:
        _show(reports, configs)
    if plot_file is not None:
        write_plot(reports, make_title(configs), plot_file)
    if any(report.fault for report in reports):
        raise click.exceptions.Exit(EXIT_FAILED_INPUTS)


def _make_configs(
    runtimes: Sequence[str], dtypes: Sequence[str], measured: Sequence[str], plan: dict[str, Any]
) -> list[BenchConfig]:
    """Return a configuration for each runtime and precision, none of them twice."""
    from dseg.bench import BenchConfig

    what = tuple(name.replace("-", " ") for name in MEASURED if name in measured)
    found: dict[tuple[str, str], BenchConfig] = {}
    for runtime in runtimes:
        for dtype in dtypes:
            config = BenchConfig(runtime=runtime, dtype=dtype, measured=what, **plan)
            found.setdefault((config.runtime_used, dtype), config)
    return list(found.values())


def _check_options(
    names: Sequence[str],
    weights: Path | None,
    measured: Sequence[str],
    json_file: Path | None,
    resume: bool,
    plot_file: Path | None,
) -> None:
    """Refuse options that contradict each other."""
    if weights is not None and len(names) > 1:
        raise DsegError(
            f"One checkpoint, {weights.name}, is given for {len(names)} networks.",
            hint="name one --model, or leave out --weights: random weights take as long.",
        )
    if resume and (json_file is None or str(json_file) == "-"):
        raise DsegError(
            "--resume has no file to continue.", hint="name the file of figures with --json."
        )
    if plot_file is not None and "labels" not in measured:
        raise DsegError(
            "--plot draws the times to labels, which --measure leaves out.",
            hint="add --measure labels.",
        )


def _measure(
    names: Sequence[str],
    configs: Sequence[BenchConfig],
    weights: Path | None,
    before: Sequence[Report],
    quiet: bool,
) -> Iterator[list[Report]]:
    """Measure one network after another, with progress; yield all reports after each."""
    from dseg.bench import bench_network, name_variant, write_street

    found = {(report.name, report.runtime, report.dtype): report for report in before}
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        image = Path(folder, "street.png")
        write_street(image, configs[0].size)
        for index, name in enumerate(names, start=1):
            for config in configs:
                if (name, config.runtime_used, config.dtype) in found:
                    continue
                variant = f", {name_variant(config.runtime_used, config.dtype)}"
                if not quiet:
                    say(f"{index}/{len(names)} {name}{variant if len(configs) > 1 else ''}")
                report = bench_network(name, config, image, weights)
                found[name, report.runtime, report.dtype] = report
                if report.fault:
                    say(f"{name} failed: {report.fault}")
                yield list(found.values())
    yield list(found.values())


def _show(reports: Sequence[Report], configs: Sequence[BenchConfig]) -> None:
    """Print the conditions of the measurement and the table."""
    from dseg.bench import COLUMNS, describe_conditions, make_rows

    for line in describe_conditions(reports, configs):
        show(line)
    show_table("", COLUMNS, (row for report in reports for row in make_rows(report)))
