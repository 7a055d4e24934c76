"""``dseg bench``: speed and cost of networks on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from dseg.cli.console import say
from dseg.cli.options.from_config import options_of
from dseg.cli.options.shared import json_option, quiet_option
from dseg.cli.options.types import FILE, ImageSize, ModelName
from dseg.cli.stdio import emit_json
from dseg.cli.tables import show_table
from dseg.config import NetworkConfig
from dseg.config.fields import RUNTIME_CHOICES
from dseg.errors import EXIT_FAILED_INPUTS, DsegError
from dseg.registry import MODELS

if TYPE_CHECKING:
    from dseg.bench import BenchConfig, Report

ALL = "all"
SHARED_OPTIONS = options_of(NetworkConfig)
MEASURED = ("forward", "labels", "end-to-end", "memory")


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
@click.option(
    "--runtime", "runtimes", type=click.Choice(RUNTIME_CHOICES), multiple=True, default=("auto",),
    show_default=True, envvar="DSEG_RUNTIME", show_envvar=True,
    help="What computes the network: PyTorch, or on the CPU OpenVINO or ONNX Runtime; may be "
    "repeated. auto: OpenVINO on the CPU if it is installed, else PyTorch.",
)  # fmt: skip
@click.option(
    "--precision", "--dtype", "dtypes", type=click.Choice(["fp32", "bf16", "fp16", "int8"]),
    multiple=True, default=("fp32",), show_default=True,
    help="Precision of the network; may be repeated.",
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
@click.option(
    "--measure", "measured", type=click.Choice(MEASURED), multiple=True, default=MEASURED,
    help="What to measure; may be repeated (default: everything).",
)  # fmt: skip
@json_option("all figures, after each network")
@click.option(
    "--resume", is_flag=True,
    help="Keep the figures in the file of --json, and measure what is missing.",
)  # fmt: skip
@click.option(
    "--plot", "plot_file", type=FILE, metavar="FILE",
    help="Plot the published score over milliseconds, as .png, .svg or .pdf.",
)  # fmt: skip
@quiet_option
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
        click.echo(line)
    show_table("", COLUMNS, (row for report in reports for row in make_rows(report)))
