"""The options of ``dseg train``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from dseg.cli.options.network import inplace_option, raw_option
from dseg.cli.options.shared import amp_option, device_option, json_option, quiet_option
from dseg.cli.options.types import FILE, FOLDER, Command, ModelName

TRAIN_OPTIONS = (
    click.option("--model", type=ModelName(), metavar="NAME", help="The network; see: dseg models"),
    click.option(
        "--dataset",
        "names",
        multiple=True,
        metavar="NAME",
        help="cityscapes, camvid, voc, mapillary, folder or scenes; may be repeated, to join.",
    ),
    click.option(
        "--data-dir",
        "roots",
        type=FOLDER,
        multiple=True,
        metavar="DIR",
        help="Where the data set is; once for each --dataset; with --resume, where it is now.",
    ),
    click.option(
        *("-o", "--out"), "run", type=FOLDER, required=True, metavar="RUN", help="The run's folder."
    ),
    click.option("--split", default="train", show_default=True, help="Trained on; join two by +."),
    click.option(
        "--val-split",
        default="val",
        show_default=True,
        help="Validated on, to choose the best weights; 'none', or a share to hold back: 0.05.",
    ),
    click.option(
        "--label-space", default="", metavar="NAME", help="Map the masks onto other classes."
    ),
    click.option("--classes", type=FILE, metavar="FILE", help="Class file of a 'folder' data set."),
    click.option(
        "--recipe",
        "recipe_name",
        default="",
        metavar="NAME",
        help="How to train; by default the network's own; see: dseg recipes",
    ),
    click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Replace a value of the recipe, such as lr=0.01, crop=360x480; may be repeated.",
    ),
    click.option(
        "--epochs", type=float, metavar="N", help="As --set epochs=N; with --resume, of all."
    ),
    click.option(
        *("-b", "--batch-size"), type=int, metavar="N", help="As --set batch=N: over all processes."
    ),
    click.option(
        *("-w", "--weights"), type=FILE, metavar="FILE", help="Start from a checkpoint's weights."
    ),
    click.option(
        "--reset-head", is_flag=True, help="Leave the classifier of --weights out: other classes."
    ),
    inplace_option,
    raw_option,
    click.option(
        "--backbone-weights",
        default="",
        metavar="imagenet|FILE",
        help="Start from torchvision's classification weights.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(min=0, max=2**63 - 1),
        default=0,
        show_default=True,
        help="Seed.",
    ),
    click.option(
        "--deterministic", is_flag=True, help="Only algorithms that give the same bits again."
    ),
    device_option,
    amp_option,
    click.option(
        "--tf32/--no-tf32",
        default=True,
        show_default=True,
        help="On CUDA, round factors of float32 products to TensorFloat-32: faster.",
    ),
    click.option(
        "--compile", "compiled", is_flag=True, help="Compile the network (torch.compile)."
    ),
    click.option(
        "--checkpoint-activations",
        is_flag=True,
        help="Compute dense blocks' activations twice: slower, in less memory.",
    ),
    click.option(
        *("-j", "--workers"),
        type=click.IntRange(min=0),
        metavar="N",
        help="Worker processes of the data loader; by default one a core with a GPU, else one.",
    ),
    click.option(
        "--cache",
        type=click.Choice(["none", "ram", "disk", "device"]),
        default="none",
        show_default=True,
        help="Decode every image once and keep it: in memory, one copy a machine; in a file that "
        "later runs use again; or on the device, to be augmented there.",
    ),
    click.option(
        "--cache-dir",
        type=FOLDER,
        metavar="DIR",
        help="Folder of --cache disk, also filled by dseg cache; by default RUN/cache.",
    ),
    click.option(
        "--on-bad-data",
        type=click.Choice(["stop", "skip"]),
        default="stop",
        show_default=True,
        help="What to do about a sample that cannot be read.",
    ),
    click.option("--no-check", is_flag=True, help="Do not read all masks first."),
    click.option(
        "--validate-every",
        type=click.FloatRange(min=0),
        default=1.0,
        show_default=True,
        metavar="EPOCHS",
        help="0: at the end only.",
    ),
    click.option(
        "--save-every",
        type=click.FloatRange(min=0),
        default=60.0,
        show_default=True,
        metavar="SECONDS",
        help="How often the state to resume from is saved.",
    ),
    click.option(
        "--log-every",
        type=click.IntRange(min=1),
        default=10,
        show_default=True,
        metavar="STEPS",
        help="Rows of metrics.jsonl.",
    ),
    click.option(
        "--draw",
        type=click.IntRange(min=0),
        default=4,
        show_default=True,
        metavar="N",
        help="Validation images to draw.",
    ),
    click.option("--tensorboard", is_flag=True, help="Also write TensorBoard's files."),
    click.option(
        "--resume", is_flag=True, help="Go on where the run in --out stopped, or begin it."
    ),
    click.option(
        "--accept-data",
        is_flag=True,
        help="With --resume: go on though the data are not those that the run was begun with.",
    ),
    json_option("the run's outcome"),
    quiet_option,
)


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """The options of ``dseg train``, named as on the command line; ``given`` are written there."""

    model: str | None
    names: tuple[str, ...]
    roots: tuple[Path, ...]
    run: Path
    split: str
    val_split: str
    label_space: str
    classes: Path | None
    recipe_name: str
    overrides: tuple[str, ...]
    epochs: float | None
    batch_size: int | None
    weights: Path | None
    reset_head: bool
    inplace_abn: bool | None
    raw_weights: bool
    backbone_weights: str
    seed: int
    deterministic: bool
    device: str
    amp: str
    tf32: bool
    compiled: bool
    checkpoint_activations: bool
    workers: int | None
    cache: str
    cache_dir: Path | None
    on_bad_data: str
    no_check: bool
    validate_every: float
    save_every: float
    log_every: int
    draw: int
    tensorboard: bool
    resume: bool
    accept_data: bool
    json_file: Path | None
    quiet: bool
    given: frozenset[str]


def training_options(command: Command) -> Command:
    """Add the options of ``dseg train``."""
    for option in reversed(TRAIN_OPTIONS):
        command = option(command)
    return command
