"""The options of ``dseg eval``, and which of them contradict each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from dseg.cli.options.network import (
    INPUT_OPTIONS,
    NetworkOptions,
    flip_option,
    fusion_option,
    inplace_option,
    model_option,
    partial_option,
    raw_option,
    scales_option,
    weights_option,
)
from dseg.cli.options.shared import (
    accept_lossy_option,
    amp_option,
    device_option,
    json_option,
    quiet_option,
    workers_option,
)
from dseg.cli.options.types import FILE, FOLDER, Command, DatasetName
from dseg.errors import DsegError
from dseg.labels import LABEL_SPACES

CITYSCAPES = "cityscapes"
OFFICIAL = (CITYSCAPES, "scenes")  # data sets in Cityscapes' layout, with instances
EVAL_OPTIONS = (
    click.option("--pred-dir", type=FOLDER, help="Predicted label ids, any depth."),
    model_option,
    weights_option,
    click.option("--gt-dir", type=FOLDER, help="Ground truth, at any depth, such as gtFine/val."),
    click.option(
        "--dataset",
        type=DatasetName(),
        metavar="NAME",
        help="cityscapes, camvid, voc, mapillary, folder or scenes, in --data-dir.",
    ),
    click.option(
        "--data-dir",
        type=FOLDER,
        help="Where the data set is; without --dataset, Cityscapes: scores gtFine/<split>.",
    ),
    click.option("--split", default="val", show_default=True, help="Which split of --data-dir."),
    click.option("--classes", type=FILE, metavar="FILE", help="Class file of a 'folder' data set."),
    click.option(
        "--label-space",
        type=click.Choice(list(LABEL_SPACES)),
        show_default=CITYSCAPES,
        help="The classes. All but Cityscapes get plain IoU and accuracy. With --dataset: map its "
        "masks onto these classes, by default its own; plain scores, too.",
    ),
    click.option(
        "--num-classes",
        type=click.IntRange(1, 255),
        metavar="N",
        help="Unnamed classes 0 to N-1 in place of --label-space.",
    ),
    click.option(
        "--ignore",
        type=click.IntRange(0, 255),
        multiple=True,
        metavar="ID",
        help="With --num-classes: an id not to score; may be repeated. 255 never is scored.",
    ),
    click.option(
        "--pred-ids",
        type=click.Choice(["label", "train"]),
        help="What predictions hold: label ids (assumed, and checked), or train ids to convert.",
    ),
    click.option("--official", is_flag=True, help="Use cityscapesscripts' own engine: slow."),
    click.option(
        "--instances/--no-instances", default=True, show_default=True, help="Compute iIoU as well."
    ),
    click.option("--allow-missing", is_flag=True, help="Score only what has a prediction."),
    accept_lossy_option,
    click.option(
        "--per-image", is_flag=True, help="Scores of each image too, in --json and --csv."
    ),
    click.option("--csv", "csv_file", type=FILE, metavar="FILE", help="Write those as CSV."),
    json_option("the scores"),
    click.option(
        "--fail-under",
        type=click.FloatRange(0, 100),
        metavar="PERCENT",
        help="Exit with 4 if the mean IoU is below.",
    ),
    scales_option("1.0, or the protocol's"),
    flip_option("no-flip, or the protocol's"),
    fusion_option,
    *INPUT_OPTIONS,
    device_option,
    amp_option,
    partial_option,
    inplace_option,
    raw_option,
    workers_option("Threads, by default one a core; the scores do not depend on it."),
    quiet_option,
)


@dataclass(frozen=True, kw_only=True)
class EvalOptions:
    """The options of ``dseg eval``, named as on the command line; those of a network together."""

    network: NetworkOptions
    pred_dir: Path | None
    gt_dir: Path | None
    dataset: str | None
    data_dir: Path | None
    split: str
    classes: Path | None
    label_space: str | None
    num_classes: int | None
    ignore: tuple[int, ...]
    pred_ids: str | None
    official: bool
    instances: bool
    allow_missing: bool
    accept_lossy: bool
    per_image: bool
    csv_file: Path | None
    json_file: Path | None
    fail_under: float | None
    workers: int | None
    quiet: bool

    @property
    def cityscapes(self) -> bool:
        """Whether the official Cityscapes scores are wanted."""
        if self.dataset is not None:
            return self.dataset in OFFICIAL and self.label_space is None
        return self.num_classes is None and self.label_space in (None, CITYSCAPES)

    @property
    def wants_images(self) -> bool:
        """Whether the scores of each image are wanted."""
        return self.per_image or self.csv_file is not None


def eval_options(command: Command) -> Command:
    """Add the options of ``dseg eval``."""
    for option in reversed(EVAL_OPTIONS):
        command = option(command)
    return command


def check_options(options: EvalOptions) -> None:
    """Refuse options that contradict each other.

    Raises:
        DsegError: names the first two that do.
    """
    _check_predictions(options)
    _check_truth(options)
    _check_engine(options)
    if options.per_image and options.csv_file is None and options.json_file is None:
        raise DsegError(
            "--per-image has nowhere to go.", hint="name a file with --json or --csv, or both."
        )
    if str(options.csv_file) == str(options.json_file) == "-":
        raise DsegError("JSON and CSV both want stdout.", hint="give one of them a file.")
    if options.network.named:
        options.network.check()


def _check_predictions(options: EvalOptions) -> None:
    """Refuse no predictions, or two kinds of them, and what goes with the other kind."""
    if options.pred_dir is not None:
        for option in options.network.changed():
            raise DsegError(
                f"{option} does not go with --pred-dir: its masks are there already.",
                hint="score them, or leave --pred-dir away and let a network predict.",
            )
        return
    if not options.network.named:
        raise DsegError(
            "There is nothing to score: neither predictions nor a network are named.",
            hint="name masks with --pred-dir DIR, or what predicts them with --model or --weights.",
        )
    if options.dataset is None:
        raise DsegError(
            "A network is to be scored, but no data set is named.",
            hint="name one with --dataset and --data-dir; the images of --gt-dir are not known.",
        )
    for option, used in {
        "--pred-ids": options.pred_ids is not None,
        "--official": options.official,
        "--allow-missing": options.allow_missing,
    }.items():
        if used:
            raise DsegError(
                f"{option} is for masks, but a network is to be scored.",
                hint=f"leave {option} away, or write masks with dseg infer and name --pred-dir.",
            )


def _check_truth(options: EvalOptions) -> None:
    """Refuse no ground truth, or two, or a data set that is named in part."""
    if options.dataset is not None:
        _check_dataset(options, options.dataset)
    elif options.classes is not None:
        raise DsegError("--classes goes with --dataset folder.", hint="give both, or neither.")
    if (options.gt_dir is None) == (options.data_dir is None):
        what = "no ground truth is named" if options.gt_dir is None else "it is named twice"
        raise DsegError(
            f"There is nothing to compare with: {what}.",
            hint="give one of --gt-dir gtFine/val and --data-dir cityscapes.",
        )


def _check_dataset(options: EvalOptions, name: str) -> None:
    """Refuse what does not go with ``--dataset``."""
    named = {
        "--gt-dir": options.gt_dir is not None,
        "--num-classes": options.num_classes is not None,
        "--ignore": bool(options.ignore),
    }
    for option, used in named.items():
        if used:
            raise DsegError(
                f"{option} does not go with --dataset, which knows its masks and their classes.",
                hint="leave one of the two away.",
            )
    if options.data_dir is None:
        raise DsegError(
            f"Where the data set {name} is, is not said.", hint="name its folder with --data-dir."
        )
    if options.classes is not None and name != "folder":
        raise DsegError(
            f"The classes of {name} are known, yet the class file {options.classes} is named.",
            hint="leave --classes away, or use --dataset folder.",
        )


def _check_engine(options: EvalOptions) -> None:
    """Refuse what the engine cannot do."""
    for_cityscapes = {
        "--data-dir": options.data_dir is not None and options.dataset is None,
        "--official": options.official,
        "--no-instances": not options.instances,
        "--pred-ids": options.pred_ids is not None and options.dataset is None,
    }
    wrong = [name for name, used in for_cityscapes.items() if used]
    if not options.cityscapes and wrong:
        hint = "leave it away, or leave --label-space and --num-classes away."
        if options.dataset is not None:
            hint = "leave it away; it goes with cityscapes and scenes without --label-space."
        elif wrong[0] == "--data-dir":
            hint = "say by --dataset which data set it holds, or name the masks with --gt-dir."
        raise DsegError(f"{wrong[0]} is for Cityscapes only.", hint=hint)
    if options.ignore and options.num_classes is None:
        raise DsegError("--ignore goes with --num-classes.", hint="give both, or neither.")
    if options.official and options.pred_ids == "train":
        raise DsegError(
            "The official engine reads label ids only.",
            hint="convert first with dseg transfer-labels, or leave --official away.",
        )
