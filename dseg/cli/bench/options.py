"""The options of ``dseg bench``."""

from __future__ import annotations

import click

from dseg.cli.options.from_config import options_of
from dseg.cli.options.groups import group
from dseg.cli.options.shared import json_option, quiet_option
from dseg.cli.options.types import FILE, Command, ImageSize, ModelName, Number, Option
from dseg.config import NetworkConfig
from dseg.config.fields import RUNTIME_CHOICES

ALL = "all"
SHARED_OPTIONS = options_of(NetworkConfig)
MEASURED = ("forward", "labels", "end-to-end", "memory")


class ModelOrAll(ModelName):
    """A network of the table, or ``all``."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return ALL if value.lower() == ALL else super().convert(value, param, ctx)


OPTIONS: tuple[Option, ...] = (
    group(
        "Network",
        click.option(
            "--model",
            "models",
            type=ModelOrAll(),
            multiple=True,
            required=True,
            metavar="NAME",
            help="Network; may be repeated, or 'all'; see: dseg models",
        ),
        click.option(
            "-w",
            "--weights",
            type=FILE,
            metavar="FILE",
            help="Checkpoint or exported file of the only --model (default: random weights, which "
            "take as long).",
        ),
    ),
    group(
        "Measurement",
        click.option(
            "--size",
            type=ImageSize(),
            default="1024x2048",
            show_default=True,
            help="Image size, height x width.",
        ),
        click.option(
            "--batch",
            type=click.IntRange(min=1),
            default=1,
            show_default=True,
            metavar="N",
            help="Images per forward pass.",
        ),
        click.option(
            "--measure",
            "measured",
            type=click.Choice(MEASURED),
            multiple=True,
            default=MEASURED,
            help="What to measure; may be repeated (default: everything).",
        ),
        click.option(
            "--samples",
            type=click.IntRange(min=3),
            default=100,
            show_default=True,
            metavar="N",
            help="Number of timed runs.",
        ),
        click.option(
            "--seconds",
            type=Number(min=0, min_open=True),
            default=10.0,
            show_default=True,
            metavar="S",
            help="Time limit for the samples of a row, of which at least three are taken.",
        ),
        click.option(
            "--warmup",
            type=click.IntRange(min=1),
            default=10,
            show_default=True,
            metavar="N",
            help="Number of runs before timing starts, within --seconds.",
        ),
    ),
    group(
        "Results",
        json_option("all figures, after each network"),
        click.option(
            "--resume",
            is_flag=True,
            help="Keep the figures in the file of --json, and measure what is missing.",
        ),
        click.option(
            "--plot",
            "plot_file",
            type=FILE,
            metavar="FILE",
            help="Plot the published score over milliseconds, as .png, .svg or .pdf.",
        ),
    ),
    SHARED_OPTIONS["device"],
    group(
        "Speed",
        click.option(
            "--runtime",
            "runtimes",
            type=click.Choice(RUNTIME_CHOICES),
            multiple=True,
            default=("auto",),
            show_default=True,
            envvar="DSEG_RUNTIME",
            show_envvar=True,
            help="What computes the network: PyTorch, or on the CPU OpenVINO or ONNX Runtime; may "
            "be repeated. auto: OpenVINO on the CPU if it is installed, else PyTorch.",
        ),
        click.option(
            "--precision",
            "--dtype",
            "dtypes",
            type=click.Choice(["fp32", "bf16", "fp16", "int8"]),
            multiple=True,
            default=("fp32",),
            show_default=True,
            help="Precision of the network; may be repeated.",
        ),
        click.option(
            "--compile/--no-compile",
            "compiled",
            default=False,
            show_default=True,
            help="Compile the network with torch.compile.",
        ),
        click.option(
            "--deploy/--no-deploy",
            default=True,
            show_default=True,
            help="Fold norms into convolutions first, as dseg infer does.",
        ),
        click.option(
            "--threads",
            type=click.IntRange(min=1),
            metavar="N",
            help="Number of CPU threads (default: chosen by torch).",
        ),
    ),
    group(
        "General",
        quiet_option,
    ),
)


def bench_options(command: Command) -> Command:
    """Add the options of ``dseg bench``."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command
