"""``dseg eval``: predictions and ground truth in, scores out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from dseg.cli.console import say, show_table
from dseg.cli.params import write_json
from dseg.cli.scoring import CITYSCAPES, Options, check_options, scoring_options
from dseg.cli.shares import share_progress
from dseg.errors import EXIT_VERIFICATION, DsegError

if TYPE_CHECKING:
    from dseg.datasets import Dataset
    from dseg.distributed import Group
    from dseg.evaluate import CityscapesScores, ClassScores, Pairs
    from dseg.labels import LabelSpace


class Task(NamedTuple):
    """What is to be compared: ``dataset`` says how, None if that is known without it."""

    gt_dir: Path
    pred_dir: Path
    pairs: Pairs
    dataset: Dataset | None


@click.command("eval", short_help="Score predictions against ground truth.")
@scoring_options
def evaluate(**given: Any) -> None:
    """Compute the official Cityscapes scores: IoU and iIoU of classes and categories.

    Ground truth is <frame>_gtFine_labelIds.png, with the instance file beside
    it; a prediction is the one <frame>*.png, in label ids. The scores are those
    of cityscapesscripts to the last bit. Classes that occur nowhere are left
    out of the mean. Tables go to stdout, everything else to stderr.

    With --dataset, any data set that dseg trains on: plain IoU, as in its
    validation. Classes that no mask of it can hold are left out of the mean.

    \b
    Example:
      dseg eval --pred-dir results/label_ids --gt-dir gtFine/val
      dseg eval --pred-dir results --data-dir cityscapes --json scores.json
      dseg eval --pred-dir out --gt-dir masks --num-classes 5 --ignore 0
      dseg eval --pred-dir results --dataset camvid --data-dir CamVid --split test
    """
    from dseg.distributed import joined

    with joined("cpu") as group:
        _evaluate(Options(**given), group)


def _evaluate(options: Options, group: Group) -> None:
    """Score each process's share of the images; the first process does all the rest."""
    from dseg.evaluate import refuse_blank_truth, refuse_train_ids

    task = group.from_main(lambda: _find(options))
    start = time.perf_counter()
    scores = _score(options, task, group)
    refuse_blank_truth(scores, task.gt_dir)
    if options.cityscapes and options.pred_ids is None:
        refuse_train_ids(scores.confusion, task.pred_dir)
    if group.main:
        _show(options, task, scores)
        if not options.quiet:
            say(f"Scored in {time.perf_counter() - start:.1f} s.")
    group.barrier()  # torchrun ends all with the first that exits with a failure
    _verify(options, scores.mean_iou)


def _find(options: Options) -> Task:
    """Find the ground truth, the predictions and which belong together."""
    check_options(options)
    dataset = _find_dataset(options)
    folders = _folders(options)
    return Task(*folders, _find_pairs(options, dataset, *folders), dataset)


def _find_dataset(options: Options) -> Dataset | None:
    """Return the split to score, unless Cityscapes' own rules find its files."""
    from dseg.datasets import load_dataset
    from dseg.labels import find_label_space

    if options.dataset is None or options.cityscapes:
        return None
    assert options.data_dir is not None  # checked before
    return load_dataset(
        options.dataset,
        options.data_dir,
        options.split,
        space=find_label_space(options.label_space) if options.label_space else None,
        class_file=options.classes,
    )


def _folders(options: Options) -> tuple[Path, Path]:
    """Return the folders of ground truth and of predictions."""
    from dseg.evaluate import prediction_folder

    gt_dir = options.gt_dir or options.data_dir
    if options.data_dir is not None and options.cityscapes:
        gt_dir = options.data_dir / "gtFine" / options.split
    assert gt_dir is not None
    pred_dir = prediction_folder(
        options.pred_dir, "train_ids" if options.pred_ids == "train" else "label_ids"
    )
    if pred_dir != options.pred_dir:
        say(f"Several kinds of output in {options.pred_dir}; scoring {pred_dir}.")
    return gt_dir, pred_dir


def _find_pairs(options: Options, dataset: Dataset | None, gt_dir: Path, pred_dir: Path) -> Pairs:
    from dseg.evaluate import find_cityscapes_pairs, find_dataset_pairs, find_folder_pairs

    if dataset is not None:
        pairs = find_dataset_pairs(dataset, pred_dir, allow_missing=options.allow_missing)
    else:
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
        return find_label_space(options.label_space or CITYSCAPES)
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


def _score(options: Options, task: Task, group: Group) -> CityscapesScores | ClassScores:
    """Run the engine that was asked for."""
    from dseg.evaluate import (
        evaluate_cityscapes,
        evaluate_dataset,
        evaluate_official,
        evaluate_pairs,
    )

    files = task.pairs.gt_files, task.pairs.pred_files
    per_image = options.per_image or options.csv_file is not None
    if options.official:
        if group.main and not options.quiet:
            alone = " in one process" if group.world_size > 1 else ""
            say(f"The official engine scores {len(files[0])} images{alone}; this takes a while.")
        return group.from_main(
            lambda: evaluate_official(*files, instances=options.instances, per_image=per_image)
        )
    with share_progress("scoring", files[0], group, quiet=options.quiet) as advance:
        shared: dict[str, Any] = {
            "workers": options.workers,
            "per_image": per_image,
            "advance": advance,
            "group": group,
        }
        if task.dataset is not None:
            return evaluate_dataset(*files, task.dataset, pred_ids=options.pred_ids, **shared)
        if not options.cityscapes:
            return evaluate_pairs(*files, _label_space(options), **shared)
        return evaluate_cityscapes(
            *files, instances=options.instances, pred_ids=options.pred_ids or "label", **shared
        )


def _show(options: Options, task: Task, scores: CityscapesScores | ClassScores) -> None:
    """Write the files that were asked for, and the tables unless stdout is taken."""
    from dseg.evaluate import make_csv, make_json, make_tables

    if options.csv_file is not None:
        _write_csv(options.csv_file, make_csv(scores.images))
    if options.json_file is not None:
        missing = [path.name for path in task.pairs.missing]
        write_json(options.json_file, _make_facts(task.dataset) | make_json(scores, missing))
    if "-" not in (str(options.json_file), str(options.csv_file)):
        for table in make_tables(scores):
            show_table(_name(task.dataset) + table.title, table.columns, table.rows)
    left_out = _left_out(task.dataset)
    if left_out and not options.quiet:
        say(f"Left out of the mean, as no mask can hold them: {', '.join(left_out)}.")


def _make_facts(dataset: Dataset | None) -> dict[str, object]:
    """Return what JSON says of a data set."""
    if dataset is None:
        return {}
    return {
        "dataset": dataset.name,
        "split": dataset.split,
        "leftOutClasses": _left_out(dataset),
    }


def _name(dataset: Dataset | None) -> str:
    """Return what stands before the name of the classes in a table's title."""
    return "" if dataset is None else f"{dataset.name} {dataset.split}, classes of "


def _left_out(dataset: Dataset | None) -> list[str]:
    """Return the names of the classes that no mask of the data set can hold."""
    if dataset is None:
        return []
    names = enumerate(dataset.space.names)
    return [name for train_id, name in names if train_id not in dataset.classes]


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
