"""``dseg eval``: predictions and ground truth in, scores out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dseg.cli.console import say, show_table
from dseg.cli.params import FILE, FOLDER, json_option, quiet_option, workers_option, write_json
from dseg.cli.shares import share_progress
from dseg.errors import EXIT_VERIFICATION, DsegError

if TYPE_CHECKING:
    from dseg.distributed import Group
    from dseg.evaluate import CityscapesScores, ClassScores, Pairs
    from dseg.labels import LabelSpace

CITYSCAPES = "cityscapes"


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of ``dseg eval``, named as on the command line."""

    pred_dir: Path
    gt_dir: Path | None
    data_dir: Path | None
    split: str
    label_space: str
    num_classes: int | None
    ignore: tuple[int, ...]
    pred_ids: str | None
    official: bool
    instances: bool
    allow_missing: bool
    per_image: bool
    csv_file: Path | None
    json_file: Path | None
    fail_under: float | None
    workers: int | None
    quiet: bool

    @property
    def cityscapes(self) -> bool:
        return self.num_classes is None and self.label_space == CITYSCAPES


@click.command("eval", short_help="Score predictions against ground truth.")
@click.option("--pred-dir", type=FOLDER, required=True, help="Predicted label ids, at any depth.")
@click.option("--gt-dir", type=FOLDER, help="Ground truth, at any depth, such as gtFine/val.")
@click.option("--data-dir", type=FOLDER, help="Cityscapes itself: scores gtFine/<split> in it.")
@click.option("--split", default="val", show_default=True, help="Which split of --data-dir.")
@click.option(
    "--label-space",
    type=click.Choice([CITYSCAPES, "camvid", "voc"]),
    default=CITYSCAPES,
    show_default=True,
    help="The classes. All but Cityscapes get plain IoU and accuracy.",
)
@click.option(
    "--num-classes",
    type=click.IntRange(1, 255),
    metavar="N",
    help="Unnamed classes 0 to N-1 in place of --label-space.",
)
@click.option(
    "--ignore",
    type=click.IntRange(0, 255),
    multiple=True,
    metavar="ID",
    help="With --num-classes: an id not to score; may be repeated. 255 never is scored.",
)
@click.option(
    "--pred-ids",
    type=click.Choice(["label", "train"]),
    help="What predictions hold: label ids (assumed, and checked), or train ids to convert.",
)
@click.option("--official", is_flag=True, help="Use cityscapesscripts' own engine: slow.")
@click.option(
    "--instances/--no-instances", default=True, show_default=True, help="Compute iIoU as well."
)
@click.option("--allow-missing", is_flag=True, help="Score only what has a prediction.")
@click.option("--per-image", is_flag=True, help="Scores of each image too, in --json and --csv.")
@click.option("--csv", "csv_file", type=FILE, metavar="FILE", help="Write those as CSV.")
@json_option("the scores")
@click.option(
    "--fail-under",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="Exit with 4 if the mean IoU is below.",
)
@workers_option("Threads, by default one a core; the scores do not depend on it.")
@quiet_option
def evaluate(**given: Any) -> None:
    """Compute the official Cityscapes scores: IoU and iIoU of classes and categories.

    Ground truth is <frame>_gtFine_labelIds.png, with the instance file beside
    it; a prediction is the one <frame>*.png, in label ids. The scores are those
    of cityscapesscripts to the last bit. Classes that occur nowhere are left
    out of the mean. Tables go to stdout, everything else to stderr.

    \b
    Example:
      dseg eval --pred-dir results/label_ids --gt-dir gtFine/val
      dseg eval --pred-dir results --data-dir cityscapes --json scores.json
      dseg eval --pred-dir out --gt-dir masks --num-classes 5 --ignore 0
    """
    from dseg.distributed import joined

    with joined("cpu") as group:
        _evaluate(Options(**given), group)


def _evaluate(options: Options, group: Group) -> None:
    """Score each process's share of the images; the first process does all the rest."""
    from dseg.evaluate import refuse_blank_truth, refuse_train_ids

    gt_dir, pred_dir, pairs = group.from_main(lambda: _find(options))
    start = time.perf_counter()
    scores = _score(options, pairs, group)
    refuse_blank_truth(scores, gt_dir)
    if options.cityscapes and options.pred_ids is None:
        refuse_train_ids(scores.confusion, pred_dir)
    if group.main:
        _show(options, pairs, scores)
        if not options.quiet:
            say(f"Scored in {time.perf_counter() - start:.1f} s.")
    group.barrier()  # torchrun ends all with the first that exits with a failure
    _verify(options, scores.mean_iou)


def _find(options: Options) -> tuple[Path, Path, Pairs]:
    """Return the folders of ground truth and of predictions, and what is in them."""
    _check(options)
    folders = _folders(options)
    return *folders, _find_pairs(options, *folders)


def _check(options: Options) -> None:
    """Refuse options that contradict each other."""
    if (options.gt_dir is None) == (options.data_dir is None):
        what = "no ground truth is named" if options.gt_dir is None else "it is named twice"
        raise DsegError(
            f"There is nothing to compare with: {what}.",
            hint="give one of --gt-dir gtFine/val and --data-dir cityscapes.",
        )
    for_cityscapes = {
        "--data-dir": options.data_dir is not None,
        "--official": options.official,
        "--no-instances": not options.instances,
        "--pred-ids": options.pred_ids is not None,
    }
    wrong = [name for name, used in for_cityscapes.items() if used]
    if not options.cityscapes and wrong:
        raise DsegError(
            f"{wrong[0]} is for Cityscapes only.",
            hint="leave it away, or leave --label-space and --num-classes away.",
        )
    if options.ignore and options.num_classes is None:
        raise DsegError("--ignore goes with --num-classes.", hint="give both, or neither.")
    if options.official and options.pred_ids == "train":
        raise DsegError(
            "The official engine reads label ids only.",
            hint="convert first with dseg transfer-labels, or leave --official away.",
        )
    if options.per_image and options.csv_file is None and options.json_file is None:
        raise DsegError(
            "--per-image has nowhere to go.", hint="name a file with --json or --csv, or both."
        )
    if str(options.csv_file) == str(options.json_file) == "-":
        raise DsegError("JSON and CSV both want stdout.", hint="give one of them a file.")


def _folders(options: Options) -> tuple[Path, Path]:
    """Return the folders of ground truth and of predictions."""
    from dseg.evaluate import prediction_folder

    gt_dir = options.gt_dir
    if options.data_dir is not None:
        gt_dir = options.data_dir / "gtFine" / options.split
    assert gt_dir is not None
    pred_dir = prediction_folder(
        options.pred_dir, "train_ids" if options.pred_ids == "train" else "label_ids"
    )
    if pred_dir != options.pred_dir:
        say(f"Several kinds of output in {options.pred_dir}; scoring {pred_dir}.")
    return gt_dir, pred_dir


def _find_pairs(options: Options, gt_dir: Path, pred_dir: Path) -> Pairs:
    from dseg.evaluate import find_cityscapes_pairs, find_folder_pairs

    find = find_cityscapes_pairs if options.cityscapes else find_folder_pairs
    pairs = find(gt_dir, pred_dir, allow_missing=options.allow_missing)
    if pairs.missing:
        total = len(pairs.missing) + len(pairs.gt_files)
        say(
            f"WARNING: {len(pairs.missing)} of {total} images have no prediction and are left "
            f"out (first {pairs.missing[0].name}); this is no score of the whole set."
        )
    return pairs


def _label_space(options: Options) -> LabelSpace:
    """Return the classes to score, without those that are to be ignored."""
    from dataclasses import replace

    from dseg.labels import find_label_space, unnamed_label_space

    if options.num_classes is None:
        return find_label_space(options.label_space)
    space = unnamed_label_space(options.num_classes)
    kept = [index for index in range(options.num_classes) if index not in options.ignore]
    if not kept:
        raise DsegError("--ignore leaves no class to score.", hint="ignore fewer ids.")
    return replace(
        space,
        names=tuple(space.names[index] for index in kept),
        colors=tuple(space.colors[index] for index in kept),
        label_ids=tuple(kept),
        ignored_ids=tuple(sorted({*space.ignored_ids, *options.ignore})),
    )


def _score(options: Options, pairs: Pairs, group: Group) -> CityscapesScores | ClassScores:
    """Run the engine that was asked for."""
    from dseg.evaluate import evaluate_cityscapes, evaluate_official, evaluate_pairs

    files = pairs.gt_files, pairs.pred_files
    per_image = options.per_image or options.csv_file is not None
    if options.official:
        if group.main and not options.quiet:
            alone = " in one process" if group.world_size > 1 else ""
            count = len(pairs.gt_files)
            say(f"The official engine scores {count} images{alone}; this takes a while.")
        return group.from_main(
            lambda: evaluate_official(*files, instances=options.instances, per_image=per_image)
        )
    with share_progress("scoring", pairs.gt_files, group, quiet=options.quiet) as advance:
        if not options.cityscapes:
            return evaluate_pairs(
                *files,
                _label_space(options),
                workers=options.workers,
                per_image=per_image,
                advance=advance,
                group=group,
            )
        return evaluate_cityscapes(
            *files,
            instances=options.instances,
            workers=options.workers,
            per_image=per_image,
            advance=advance,
            pred_ids=options.pred_ids or "label",
            group=group,
        )


def _show(options: Options, pairs: Pairs, scores: CityscapesScores | ClassScores) -> None:
    """Write the files that were asked for, and the tables unless stdout is taken."""
    from dseg.evaluate import make_csv, make_json, make_tables

    if options.csv_file is not None:
        _write_csv(options.csv_file, make_csv(scores.images))
    if options.json_file is not None:
        missing = [path.name for path in pairs.missing]
        write_json(options.json_file, make_json(scores, missing))
    if "-" not in (str(options.json_file), str(options.csv_file)):
        for table in make_tables(scores):
            show_table(table.title, table.columns, table.rows)


def _write_csv(target: Path, rows: list[list[str]]) -> None:
    import csv
    import io

    from dseg.images import written_whole

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    if str(target) == "-":
        click.echo(text.getvalue(), nl=False)
        return
    with written_whole(target) as part:
        part.write_text(text.getvalue(), encoding="utf-8", errors="backslashreplace")


def _verify(options: Options, mean_iou: float) -> None:
    """Fail if the mean IoU, a number from 0 to 1 or NaN, is below what was asked for."""
    if options.fail_under is not None and not mean_iou >= options.fail_under / 100:
        raise DsegError(
            f"Mean IoU {100 * mean_iou:.3f} % is below the {options.fail_under:g} % asked for.",
            hint="the table names the classes that pull it down; or lower --fail-under.",
            exit_code=EXIT_VERIFICATION,
        )
