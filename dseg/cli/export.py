"""``dseg export``: write a network for other runtimes, and verify the file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dseg.cli.console import download_display, progress, say
from dseg.cli.options.from_config import options_of
from dseg.cli.options.groups import DsegCommand, group
from dseg.cli.options.own_data import name_dataset
from dseg.cli.options.shared import json_option
from dseg.cli.options.types import FILE, Command
from dseg.cli.stdio import emit_json
from dseg.cli.tables import show_table
from dseg.config.export import ExportConfig
from dseg.errors import EXIT_VERIFICATION, counted, quote

if TYPE_CHECKING:
    from dseg.export import Check
    from dseg.export.compare import Row
    from dseg.models import SegModel

COLUMNS = "runtime", "images", "size", "largest difference", "equal labels"
COMPARED = "precision", "runtime", "calibration", "mIoU", "equal labels", "ms", "MB"


def _row(check: Check) -> list[str]:
    difference = "" if check.difference is None else f"{check.difference:.1e} std"
    size = f"{check.size[0]}x{check.size[1]}"
    return [check.runtime, check.images, size, difference, f"{check.agreement:.4%}"]


def _export_options(command: Command) -> Command:
    for option in reversed(list(options_of(ExportConfig).values())):
        command = option(command)
    return command


@click.command(
    "export", cls=DsegCommand, short_help="Write a network as ONNX, OpenVINO or torch.export."
)
@click.argument("weights", type=FILE)
@_export_options
@group("Results", json_option("the facts of the file, and the comparisons"))
def export_command(weights: Path, json_file: Path | None, **given: Any) -> None:
    """Export the network of the checkpoint WEIGHTS to one file, and verify it.

    The file holds everything that its user needs in its metadata: classes, colours, normalisation,
    protocol, licence, and the digest of the weights. dseg infer, eval and inspect read .onnx and
    .xml files like checkpoints. The file is compared with PyTorch on noise and on images, by every
    installed runtime that reads it: at least 99.9 % of labels have to be equal, 99.5 % for fp16,
    80 % for int8, whose accuracy --compare measures. An existing file is replaced.

    \b
    Example:
      dseg export dseg/weights/dabnet.safetensors
      dseg export dabnet.pth --model DABNet --format openvino --size 512x1024 --output labels
      dseg export dabnet.pth --model DABNet --precision int8 --img-dir leftImg8bit/train
      dseg export dabnet.pth --model DABNet --img-dir leftImg8bit/train --compare \\
        --calibration all --dataset cityscapes --data-dir cityscapes
    """
    from dseg.checkpoints import find_file, find_weights, load_model
    from dseg.export import find_readers
    from dseg.files import check_writable

    folder = given["data_dir"]
    if given["compare"] and given["dataset"] is None and folder is not None:
        given["dataset"] = name_dataset(None, folder, None)
    config = ExportConfig(**given)
    shown = download_display()
    file = find_weights(config.model, weights, shown) if config.model else find_file(weights, shown)
    target = config.target(file)
    if config.check and not config.compare:
        find_readers(config)
    for path in (None if config.compare else target, json_file):
        if path is not None and str(path) != "-":
            check_writable(path)
    model = load_model(
        config.model,
        file,
        inplace_abn=config.inplace_abn,
        raw_weights=config.raw_weights,
        on_note=say,
    )
    (_compare if config.compare else _export)(model, file, config, target, json_file)


def _export(
    model: SegModel, file: Path, config: ExportConfig, target: Path, json_file: Path | None
) -> None:
    """Write the file, verify it, and report both."""
    from dseg.export import LEAST_AGREEMENT, export, verify, worst_agreement

    facts = export(model, file, config, target, on_note=say)
    beside = [target.with_suffix(".bin")] if config.format == "openvino" else []
    size = sum(path.stat().st_size for path in (target, *beside))
    say(f"{target}: {model.card.network}, {config.precision}, {size / 1e6:.1f} MB.")
    checks = verify(model, target, config) if config.check else []
    if checks and str(json_file) != "-":
        show_table("", COLUMNS, map(_row, checks))
    least = LEAST_AGREEMENT[config.precision]
    if json_file is not None:
        found = {"file": str(target), "bytes": size, "graph": asdict(facts)}
        emit_json(json_file, {**found, "checks": [asdict(check) for check in checks]})
    worst = worst_agreement(checks, config.precision)
    if worst < least:
        say(f"Error: only {worst:.3%} of labels are equal, fewer than {least:.1%}.")
        say("Hint: the file was kept; do not use it before you know why.")
        raise click.exceptions.Exit(EXIT_VERIFICATION)
    if target.suffix in (".onnx", ".xml"):
        say(f"Next: dseg infer --weights {quote(target)} --img-dir DIR")


def _compare(
    model: SegModel, file: Path, config: ExportConfig, target: Path, json_file: Path | None
) -> None:
    """Score the network in several precisions, and print a table."""
    from dseg.allocator import keep_freed_memory
    from dseg.datasets import load_dataset
    from dseg.export import compare
    from dseg.labels import find_label_space

    assert config.dataset is not None and config.data_dir is not None  # checked before
    keep_freed_memory()
    space = find_label_space(config.label_space) if config.label_space else None
    dataset = load_dataset(config.dataset, config.data_dir, config.split, space=space)
    with progress("compared", len(dataset), quiet=False) as advance:
        rows = compare(model, file, config, dataset, on_note=say, advance=advance)
    if json_file is not None:
        facts = {
            "network": model.card.network,
            "weights": file.name,
            "dataset": config.dataset,
            "split": config.split,
            "images": len(dataset),
            "calibration_images": config.count,
            "keep_float": config.keep_float,
        }
        emit_json(json_file, {**facts, "rows": [asdict(row) for row in rows]})
    if str(json_file) != "-":
        title = f"{model.card.network} on {config.dataset} {config.split}, "
        title += counted(len(dataset), "image")
        show_table(title, COMPARED, map(_compared, rows))


def _compared(row: Row) -> list[str]:
    return [
        *(row.precision, row.runtime, row.calibration),
        *(f"{row.mean_iou:.2%}", f"{row.agreement:.2%}"),
        *(f"{row.milliseconds:.1f}", f"{row.megabytes:.1f}"),
    ]
