"""Command-line options described beside the dataclass fields that they set.

A field made by ``option`` carries everything that its command-line option needs, so a new field
is written once: ``dseg.cli.options.from_config`` turns fields into click options.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal

# How the value is read; "" to decide by the annotation: a flag, a number or text.
Kind = Literal[
    "",
    "network",
    "dataset",
    "file",
    "folder",
    "size",
    "scales",
    "fraction",
    "precision",
    "size or dynamic",
]

# Groups of options in --help, in their order there: the everyday ones first.
Group = Literal[
    "Input",
    "Data",
    "Network",
    "Teacher",
    "Recipe",
    "Results",
    "Video",
    "Scoring",
    "Measurement",
    "Quantisation",
    "Comparison",
    "Protocol",
    "Speed",
    "Logging",
    "Expert",
    "General",
]


@dataclass(frozen=True, kw_only=True)
class OptionSpec:
    """The command-line option of a field.

    Attributes:
        flags: spellings, such as ``("-w", "--weights")`` or ``("--flip/--no-flip",)``.
        help: one or two sentences.
        group: group of options in ``--help``.
        kind: how the value is read.
        metavar: placeholder of the value in ``--help``.
        choices: accepted values; empty for any.
        low, high: smallest and largest number; None for no limit.
        shown_default: default in words, where it is not the field's default.
        envvar: environment variable with the default; empty for none.
    """

    flags: tuple[str, ...]
    help: str
    group: Group
    kind: Kind = ""
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    shown_default: str = ""
    envvar: str = ""


def option(*flags: str, help: str, group: Group, default: Any = MISSING, **spec: Any) -> Any:
    """Return a dataclass field with the command-line option that sets it.

    Args:
        flags: spellings on the command line.
        help: text for ``--help``.
        group: group of options in ``--help``.
        default: value of the field and of the option; without it the field is required, and an
            option that is not given is None.
        spec: further attributes of ``OptionSpec``.
    """
    return field(
        default=default,
        metadata={"option": OptionSpec(flags=flags, help=help, group=group, **spec)},
    )


def option_specs(config: type[Any]) -> dict[str, OptionSpec]:
    """Return the options of a configuration dataclass by field name, in the order of its fields."""
    return {own.name: own.metadata["option"] for own in fields(config) if "option" in own.metadata}


AMP_CHOICES = ("off", "auto", "bf16", "fp16")
RUNTIME_CHOICES = ("auto", "torch", "openvino", "onnx")


def device_field() -> Any:
    """Return the field of ``--device``."""
    return option(
        "--device",
        group="Speed",
        default="auto",
        metavar="NAME",
        help="Device: auto, cpu, cuda, cuda:1, mps.",
    )


def amp_field() -> Any:
    """Return the field of ``--amp``."""
    return option(
        "--amp",
        group="Speed",
        default="off",
        choices=AMP_CHOICES,
        help="Precision within the network.",
    )


def precision_field() -> Any:
    """Return the field of ``--precision``, of which ``--amp`` is the older spelling."""
    return option(
        *("--precision", "--amp"),
        group="Speed",
        default="fp32",
        kind="precision",
        metavar="NAME",
        help="Precision of the network: fp32, which for an exported file is its own; bf16; fp16 on "
        "a GPU; auto: bf16 on a GPU that has it. int8 needs a file of dseg export.",
    )


def runtime_field() -> Any:
    """Return the field of ``--runtime``."""
    return option(
        "--runtime",
        group="Speed",
        default="auto",
        choices=RUNTIME_CHOICES,
        envvar="DSEG_RUNTIME",
        help="What computes the network: PyTorch, or on the CPU OpenVINO or ONNX Runtime. auto: "
        "OpenVINO on the CPU if it is installed, else PyTorch.",
    )


def inplace_abn_field() -> Any:
    """Return the field of ``--inplace-abn``."""
    return option(
        "--inplace-abn/--no-inplace-abn",
        group="Expert",
        default=None,
        help="Whether the checkpoint was trained with in-place activated batch norm (default: yes "
        "for the authors' files of CCNet and OCNet).",
    )


def raw_weights_field() -> Any:
    """Return the field of ``--raw-weights``."""
    return option(
        "--raw-weights",
        group="Expert",
        default=False,
        help="Use the raw weights of a checkpoint that also has averaged (EMA) weights.",
    )
