"""``dseg plan``: a training recipe that fits the data and the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dseg.cli.console import progress, say, show
from dseg.cli.options.groups import DsegCommand, group
from dseg.cli.options.own_data import data_options, dataset_group, name_dataset
from dseg.cli.options.shared import json_option, quiet_option
from dseg.cli.options.types import FILE, ModelName, Number
from dseg.cli.stdio import emit_json
from dseg.errors import DsegError, quote

PLAN_FILE = Path("plan.toml")


@click.command(
    "plan", cls=DsegCommand, short_help="Plan a training that fits the data and the machine."
)
@dataset_group(
    click.option(
        "--split", metavar="NAME", default="train", show_default=True, help="Split to train on."
    ),
    click.option(
        "--val-split",
        metavar="NAME",
        default="val",
        show_default=True,
        help="Split to validate on.",
    ),
)
@group(
    "Recipe",
    click.option("--model", type=ModelName(), metavar="NAME", help="Network (default: chosen)."),
    click.option(
        "--latency",
        type=Number(min=0, min_open=True),
        metavar="MS",
        help="Choose the most accurate network that labels one of these images within MS here.",
    ),
    click.option(
        "--minutes",
        type=Number(min=0, min_open=True),
        metavar="M",
        help="Time for the training; steps are measured.",
    ),
)
@group(
    "Results",
    click.option(
        "-o",
        "--out",
        type=FILE,
        default=PLAN_FILE,
        show_default=True,
        metavar="FILE",
        help="Recipe file to write.",
    ),
    click.option("--overwrite", is_flag=True, help="Replace an existing file."),
    json_option("the plan"),
)
@group(
    "Speed",
    click.option(
        "--device", metavar="NAME", default="auto", show_default=True, help="Device to train on."
    ),
)
@group(
    "General",
    quiet_option,
)
def plan(**given: Any) -> None:
    """Write a recipe with a reason for every choice, for dseg train --recipe.

    Reads sizes, number of images and class frequencies, and the machine. Network, crop, batch,
    loss, class weights, epochs, learning rate and augmentation follow by rules.

    \b
    Examples:
      dseg plan --data-dir roads
      dseg plan --data-dir roads --minutes 20 -o quick.toml
      dseg plan --data-dir roads --latency 30
      dseg train --recipe plan.toml --data-dir roads --out run
    """
    if given["model"] and given["latency"]:
        raise DsegError("--model and --latency both choose the network.", hint="give one of them.")
    out: Path = given["out"]
    if out.exists() and not given["overwrite"]:
        raise DsegError(
            f"{out} already exists.", hint="replace it by --overwrite, or name another by --out."
        )
    _plan(out, given)


def _plan(out: Path, given: dict[str, Any]) -> None:
    from dataclasses import asdict

    from dseg.config import make_config
    from dseg.device import find_device
    from dseg.files import written_whole
    from dseg.planning import NETWORK, make_plan_text, plan_training

    dataset = name_dataset(given["dataset"], given["data_dir"], given["classes"])
    config = make_config(
        given["model"] or NETWORK,
        [(dataset, str(given["data_dir"]))],
        split=given["split"],
        val_split="" if given["val_split"] == "none" else given["val_split"],
        label_space=(given["label_space"] or "").lower(),
        class_file=str(given["classes"] or ""),
    )
    quiet = given["quiet"]
    found = plan_training(
        config,
        find_device(given["device"]),
        lambda what, total: progress(what, total, quiet=quiet),
        named=bool(given["model"]),
        measure=True,
        minutes=given["minutes"] or 0.0,
        latency_ms=given["latency"] or 0.0,
    )
    text = make_plan_text(found)
    with written_whole(out) as part:
        part.write_text(text, encoding="utf-8", newline="\n")
    if given["json_file"] is not None:
        emit_json(given["json_file"], asdict(found))
    elif not quiet:
        for line in text.rstrip().splitlines():
            comment = max(line.find("# "), 0)
            show(line, indent=" " * comment + "# ")
    if not quiet:
        defaults = {"split": "train", "val_split": "val"}
        splits = {name: given[name] for name, value in defaults.items() if given[name] != value}
        data = data_options(
            *(dataset, given["data_dir"], given["classes"], given["label_space"] or ""), **splits
        )
        say(f"Written: {out}. Next: dseg train --recipe {quote(out)} {data} --out run")
