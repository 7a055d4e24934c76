"""``dseg eval``: predictions, or a network, and ground truth in, scores out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from dseg.cli.console import say
from dseg.cli.eval.options import CITYSCAPES, EvalOptions, check_options, eval_options
from dseg.cli.eval.scores import show_scores, verify
from dseg.cli.options.network import NetworkOptions
from dseg.cli.predict import AliasCommand
from dseg.cli.summary import sharded_progress
from dseg.errors import DsegError

if TYPE_CHECKING:
    from dseg.datasets import Dataset
    from dseg.distributed import Group
    from dseg.evaluation import CityscapesScores, ClassScores, Pairs
    from dseg.labels import LabelSpace
    from dseg.predict import Manifest, Predictor

AHEAD = 8  # images that are decoded while a network predicts, at most one a core


class Task(NamedTuple):
    """What is to be compared.

    Attributes:
        gt_dir: the ground truth.
        pred_dir: the predictions; None if a network makes them of the images in ``pairs``.
        pairs: ground truth, with predictions or images.
        dataset: says how masks are read, None if that is known without it.
    """

    gt_dir: Path
    pred_dir: Path | None
    pairs: Pairs
    dataset: Dataset | None


@click.command("eval", cls=AliasCommand, short_help="Score predictions against ground truth.")
@eval_options
def evaluate(**given: Any) -> None:
    """Compute the official Cityscapes scores: IoU and iIoU of classes and categories.

    Ground truth is <frame>_gtFine_labelIds.png, with the instance file beside
    it; a prediction is the one <frame>*.png, in label ids. The scores are those
    of cityscapesscripts to the last bit. Classes that occur nowhere are left
    out of the mean. Tables go to stdout, everything else to stderr.

    With --dataset, any data set that dseg trains on: plain IoU, as in its
    validation. Classes that no mask of it can hold are left out of the mean.

    With --model or --weights in place of --pred-dir, the network predicts what
    is scored, and no masks are written. The scores are those of dseg infer
    followed by dseg eval.

    \b
    Example:
      dseg eval --pred-dir results/label_ids --gt-dir gtFine/val
      dseg eval --pred-dir results --data-dir cityscapes --json scores.json
      dseg eval --pred-dir out --gt-dir masks --num-classes 5 --ignore 0
      dseg eval --pred-dir results --dataset camvid --data-dir CamVid --split test
      dseg eval --model DABNet --dataset cityscapes --data-dir cityscapes --input-scale 0.5
    """
    from dseg.distributed import joined

    network = NetworkOptions.take(given)
    with joined("cpu") as group:
        _evaluate(EvalOptions(network=network, **given), group)


def _evaluate(options: EvalOptions, group: Group) -> None:
    """Score each process's share of the images; the first process does all the rest."""
    from dseg.evaluation import refuse_blank_truth, refuse_train_ids

    check_options(options)
    task = group.from_main(lambda: _find(options))
    start = time.perf_counter()
    settings, tiled = None, 0
    if not options.network.named:
        scores = _score(options, task, group)
    else:
        with _predicting(options, task, group) as (reading, settings, predictor):
            scores = _score(options, task, group, **reading)
            tiled = sum(group.gather(predictor.tiled))
    refuse_blank_truth(scores, task.gt_dir)
    if task.pred_dir is not None and options.cityscapes and options.pred_ids is None:
        refuse_train_ids(scores.confusion, task.pred_dir)
    if group.main:
        missing = task.pairs.missing
        show_scores(
            options, scores, dataset=task.dataset, settings=settings, missing=missing, tiled=tiled
        )
        _say_no_iiou(options, scores, task)
        if not options.quiet:
            what = "Scored" if settings is None else "Predicted and scored"
            name = options.network.protocol_name
            how = f" Protocol: {name} ({settings.protocol.describe()})." if settings else ""
            say(f"{what} in {time.perf_counter() - start:.1f} s.{how}")
    group.barrier()  # torchrun ends all with the first that exits with a failure
    verify(options, scores.mean_iou)


def _find(options: EvalOptions) -> Task:
    """Find the ground truth, the predictions or images, and which belong together."""
    from dseg.evaluation import find_image_pairs

    gt_dir = _truth_folder(options)
    if options.network.named:
        split = _load_split(options)
        pairs = find_image_pairs(split, official=options.cityscapes)
        return Task(gt_dir, None, pairs, None if options.cityscapes else split)
    unnamed = options.dataset is None or options.cityscapes
    dataset = None if unnamed else _load_split(options)
    pred_dir = _prediction_folder(options)
    return Task(gt_dir, pred_dir, _find_pairs(options, dataset, gt_dir, pred_dir), dataset)


def _load_split(options: EvalOptions) -> Dataset:
    """Return the images and masks of the data set that is named."""
    from dseg.datasets import load_dataset
    from dseg.labels import find_label_space

    assert options.dataset is not None and options.data_dir is not None  # checked before
    return load_dataset(
        options.dataset,
        options.data_dir,
        options.split,
        space=find_label_space(options.label_space) if options.label_space else None,
        class_file=options.classes,
    )


def _truth_folder(options: EvalOptions) -> Path:
    gt_dir = options.gt_dir or options.data_dir
    if options.data_dir is not None and options.cityscapes:
        gt_dir = options.data_dir / "gtFine" / options.split
    assert gt_dir is not None
    return gt_dir


def _prediction_folder(options: EvalOptions) -> Path:
    from dseg.evaluation import prediction_folder

    assert options.pred_dir is not None
    kind = "train_ids" if options.pred_ids == "train" else "label_ids"
    pred_dir = prediction_folder(options.pred_dir, kind)
    if pred_dir != options.pred_dir:
        say(f"Several kinds of output in {options.pred_dir}; scoring {pred_dir}.")
    return pred_dir


def _find_pairs(
    options: EvalOptions, dataset: Dataset | None, gt_dir: Path, pred_dir: Path
) -> Pairs:
    from dseg.evaluation import find_cityscapes_pairs, find_dataset_pairs, find_folder_pairs

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


def _label_space(options: EvalOptions) -> LabelSpace:
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


@contextmanager
def _predicting(
    options: EvalOptions, task: Task, group: Group
) -> Iterator[tuple[dict[str, Any], Manifest, Predictor]]:
    """Load the network; give how the engines read its predictions, its settings and itself."""
    from dseg.evaluation import predictions_of, refuse_other_classes
    from dseg.labels import find_label_space
    from dseg.parallel import count_cores

    predictor, settings = options.network.load(group)
    predictor.fall_back = False  # the score of other tiles could not be compared
    space = task.dataset.space if task.dataset is not None else find_label_space(CITYSCAPES)
    refuse_other_classes(predictor.label_space, space, str(options.dataset))
    workers = options.workers or min(AHEAD, group.share_of(count_cores()))
    with predictions_of(predictor) as read_prediction:
        yield {"read_prediction": read_prediction, "workers": workers}, settings, predictor


def _score(
    options: EvalOptions, task: Task, group: Group, **reading: Any
) -> CityscapesScores | ClassScores:
    """Run the engine that was asked for.

    Args:
        reading: how a network's train ids are read in place of masks, if there is one.
    """
    from dseg.evaluation import evaluate_cityscapes, evaluate_dataset, evaluate_pairs

    files = task.pairs.gt_files, task.pairs.pred_files
    if options.official:
        return _score_officially(options, files, group)
    pred_ids = "train" if reading else options.pred_ids
    with sharded_progress("scoring", files[0], group, quiet=options.quiet) as advance:
        shared: dict[str, Any] = {
            "workers": options.workers,
            "per_image": options.wants_images,
            "advance": advance,
            "group": group,
            "accept_lossy": options.accept_lossy,
            **reading,
        }
        if task.dataset is not None:
            return evaluate_dataset(*files, task.dataset, pred_ids=pred_ids, **shared)
        if not options.cityscapes:
            return evaluate_pairs(*files, _label_space(options), **shared)
        return evaluate_cityscapes(
            *files, instances=options.instances, pred_ids=pred_ids or "label", **shared
        )


def _score_officially(
    options: EvalOptions, files: tuple[list[Path], list[Path]], group: Group
) -> CityscapesScores:
    from dseg.evaluation import evaluate_official
    from dseg.evaluation.reading import refuse_lossy

    if not options.accept_lossy:
        group.from_main(lambda: refuse_lossy([*files[0], *files[1]]))
    if group.main and not options.quiet:
        alone = " in one process" if group.world_size > 1 else ""
        say(f"The official engine scores {len(files[0])} images{alone}; this takes a while.")
    return group.from_main(
        lambda: evaluate_official(
            *files, instances=options.instances, per_image=options.wants_images
        )
    )


def _say_no_iiou(options: EvalOptions, scores: CityscapesScores | ClassScores, task: Task) -> None:
    """Report why iIoU is missing, or which instance files cannot hold instances."""
    from dseg.evaluation import CityscapesScores, find_shallow_instances

    if not isinstance(scores, CityscapesScores) or not scores.instances:
        return
    shallow = find_shallow_instances(task.pairs.gt_files)
    if shallow:
        say(
            f"WARNING: {len(shallow)} of {len(task.pairs.gt_files)} *_instanceIds.png have 8 bits, "
            f"which cannot hold instances (values of 1000 and more), first {shallow[0].name}: "
            "iIoU does not count theirs."
        )
    elif math.isnan(scores.mean_iiou):
        say("There is no iIoU: no ground truth holds an instance (a value of 1000 and more).")
