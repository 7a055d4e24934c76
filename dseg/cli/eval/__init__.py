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
from dseg.cli.eval.options import check_options, eval_options
from dseg.cli.eval.output import show_scores, verify
from dseg.cli.infer.details import say_details
from dseg.cli.infer.options import AliasCommand
from dseg.cli.infer.summary import sharded_progress
from dseg.cli.options.load_network import load_network
from dseg.config import EvalConfig, NetworkConfig
from dseg.config.evaluation import CITYSCAPES_NAME
from dseg.errors import DsegError, counted

if TYPE_CHECKING:
    from dseg.datasets import Dataset
    from dseg.distributed import Group
    from dseg.evaluation import CityscapesScores, ClassScores, Pairs
    from dseg.labels import LabelSpace
    from dseg.predict import Manifest, Predictor

AHEAD = 8  # images to decode while a network predicts, at most one per core


class Task(NamedTuple):
    """Files to compare.

    Attributes:
        gt_dir: folder of the ground truth.
        pred_dir: folder of the predictions; None if a network predicts the images in ``pairs``.
        pairs: ground truth with its predictions or images.
        dataset: data set that defines how masks are read; None for Cityscapes and folders.
    """

    gt_dir: Path
    pred_dir: Path | None
    pairs: Pairs
    dataset: Dataset | None


@click.command("eval", cls=AliasCommand, short_help="Score predictions against ground truth.")
@eval_options
def eval_command(**given: Any) -> None:
    """Score a network, or masks: plain IoU, or the official Cityscapes scores.

    \b
    Examples:
      dseg eval -w run/best.safetensors --data-dir roads --split val
      dseg eval --pred-dir out --gt-dir masks --num-classes 5 --ignore 0
      dseg eval --pred-dir results/label_ids --gt-dir gtFine/val
      dseg eval --pred-dir results --data-dir cityscapes --json scores.json
      dseg eval --pred-dir results --dataset camvid --data-dir CamVid --split test
      dseg eval --model DABNet --dataset cityscapes --data-dir cityscapes --input-scale 0.5

    The official scores are IoU and iIoU of classes and categories.
    Ground truth is <frame>_gtFine_labelIds.png, with the instance file beside
    it; a prediction is the one <frame>*.png, in label ids. The scores are those
    of cityscapesscripts, bit for bit. Classes that occur nowhere are left
    out of the mean. Tables go to stdout, everything else to stderr.

    With --dataset, any data set that dseg trains on: plain IoU, as in its
    validation. Classes that no mask of it can hold are left out of the mean.

    With --model or --weights in place of --pred-dir, the network predicts what
    is scored, and no masks are written. The scores are those of dseg infer
    followed by dseg eval.
    """
    from dseg.datasets.layouts import has_class_file
    from dseg.distributed import joined

    network = NetworkConfig.take(given)
    folder = given["data_dir"]
    described = folder is not None and (given["class_file"] or has_class_file(folder))
    if given["dataset"] is None and described:
        given["dataset"] = "folder"
    with joined("cpu") as group:
        _evaluate(EvalConfig(network=network, **given), group)


def _evaluate(config: EvalConfig, group: Group) -> None:
    """Score a shard of the images in each process; the first does everything else."""
    from dseg.allocator import keep_freed_memory
    from dseg.evaluation import refuse_blank_truth, refuse_train_ids

    check_options(config)
    if not config.network.named:  # else load_network decides
        keep_freed_memory()
    task = group.from_main(lambda: _find(config))
    start = time.perf_counter()
    manifest, tiled = None, 0
    if not config.network.named:
        scores = _score(config, task, group)
    else:
        with _predicting(config, task, group) as (reading, manifest, predictor):
            scores = _score(config, task, group, **reading)
            tiled = sum(group.gather(predictor.tiled))
    refuse_blank_truth(scores, task.gt_dir)
    if task.pred_dir is not None and config.cityscapes and config.pred_ids is None:
        refuse_train_ids(scores.confusion, task.pred_dir)
    if group.main:
        missing = task.pairs.missing
        show_scores(
            config, scores, dataset=task.dataset, manifest=manifest, missing=missing, tiled=tiled
        )
        _report_missing_iiou(config, scores, task)
        if not config.quiet:
            what = "Scored" if manifest is None else "Predicted and scored"
            name = config.network.protocol_name
            how = f" Protocol: {name} ({manifest.protocol.describe()})." if manifest else ""
            say(f"{what} in {time.perf_counter() - start:.1f} s.{how}")
    group.barrier()  # torchrun ends all processes with the first that fails
    verify(config, scores.mean_iou)


def _find(config: EvalConfig) -> Task:
    """Find the ground truth and its predictions or images."""
    from dseg.evaluation import find_image_pairs

    gt_dir = _truth_folder(config)
    if config.network.named:
        split = _load_split(config)
        pairs = find_image_pairs(split, official=config.cityscapes)
        return Task(gt_dir, None, pairs, None if config.cityscapes else split)
    unnamed = config.dataset is None or config.cityscapes
    dataset = None if unnamed else _load_split(config)
    pred_dir = _prediction_folder(config)
    return Task(gt_dir, pred_dir, _find_pairs(config, dataset, gt_dir, pred_dir), dataset)


def _load_split(config: EvalConfig) -> Dataset:
    """Return the images and masks of the split."""
    from dseg.datasets import load_dataset
    from dseg.labels import find_label_space

    assert config.dataset is not None and config.data_dir is not None  # checked before
    return load_dataset(
        config.dataset,
        config.data_dir,
        config.split,
        space=find_label_space(config.label_space) if config.label_space else None,
        class_file=config.class_file,
    )


def _truth_folder(config: EvalConfig) -> Path:
    gt_dir = config.gt_dir or config.data_dir
    if config.data_dir is not None and config.cityscapes:
        gt_dir = config.data_dir / "gtFine" / config.split
    assert gt_dir is not None
    return gt_dir


def _prediction_folder(config: EvalConfig) -> Path:
    from dseg.evaluation import prediction_folder

    assert config.pred_dir is not None
    kind = "train_ids" if config.pred_ids == "train" else "label_ids"
    pred_dir = prediction_folder(config.pred_dir, kind)
    if pred_dir != config.pred_dir:
        say(f"Several kinds of output in {config.pred_dir}; scoring {pred_dir}.")
    return pred_dir


def _find_pairs(config: EvalConfig, dataset: Dataset | None, gt_dir: Path, pred_dir: Path) -> Pairs:
    from dseg.evaluation import find_cityscapes_pairs, find_dataset_pairs, find_folder_pairs

    if dataset is not None:
        pairs = find_dataset_pairs(dataset, pred_dir, allow_missing=config.allow_missing)
    else:
        find = find_cityscapes_pairs if config.cityscapes else find_folder_pairs
        pairs = find(gt_dir, pred_dir, allow_missing=config.allow_missing)
    if pairs.missing:
        total = len(pairs.missing) + len(pairs.gt_files)
        say(
            f"WARNING: {len(pairs.missing)} of {total} images have no prediction and are left "
            f"out (first {pairs.missing[0].name}); this is not a score of the whole set."
        )
    return pairs


def _label_space(config: EvalConfig) -> LabelSpace:
    """Return the classes to score, without the ignored ones."""
    from dataclasses import replace

    from dseg.labels import find_label_space, unnamed_label_space

    if config.num_classes is None:
        return find_label_space(config.label_space or CITYSCAPES_NAME)
    space = unnamed_label_space(config.num_classes)
    kept = [index for index in range(config.num_classes) if index not in config.ignore]
    if not kept:
        raise DsegError("--ignore leaves no class to score.", hint="ignore fewer ids.")
    return replace(
        space,
        names=tuple(space.names[index] for index in kept),
        colors=tuple(space.colors[index] for index in kept),
        label_ids=tuple(kept),
        ignored_ids=tuple(sorted({*space.ignored_ids, *config.ignore})),
    )


@contextmanager
def _predicting(
    config: EvalConfig, task: Task, group: Group
) -> Iterator[tuple[dict[str, Any], Manifest, Predictor]]:
    """Load the network; yield how engines read its predictions, its manifest, and itself."""
    from dseg.evaluation import predictions_of, refuse_other_classes
    from dseg.labels import find_label_space

    predictor, manifest = load_network(
        config.network, group, quiet=config.quiet, verbose=config.verbose
    )
    if config.verbose and group.main:
        say_details(predictor, manifest, config.network, images=len(task.pairs.gt_files))
    predictor.fall_back = False  # scores of other tiles are not comparable
    space = task.dataset.space if task.dataset is not None else find_label_space(CITYSCAPES_NAME)
    refuse_other_classes(predictor.label_space, space, str(config.dataset))
    workers = config.workers or min(AHEAD, group.cores_per_process())
    with predictions_of(predictor) as read_prediction:
        yield {"read_prediction": read_prediction, "workers": workers}, manifest, predictor


def _score(
    config: EvalConfig, task: Task, group: Group, **reading: Any
) -> CityscapesScores | ClassScores:
    """Run the engine that the configuration selects.

    Args:
        reading: how a network's train ids are read in place of masks, if a network predicts.
    """
    from dseg.evaluation import evaluate_cityscapes, evaluate_dataset, evaluate_pairs

    files = task.pairs.gt_files, task.pairs.pred_files
    if config.official:
        return _score_officially(config, files, group)
    pred_ids = "train" if reading else config.pred_ids
    with sharded_progress("scoring", files[0], group, quiet=config.quiet) as advance:
        shared: dict[str, Any] = {
            "workers": config.workers,
            "per_image": config.wants_images,
            "advance": advance,
            "group": group,
            "accept_lossy": config.accept_lossy,
            **reading,
        }
        if task.dataset is not None:
            return evaluate_dataset(*files, task.dataset, pred_ids=pred_ids, **shared)
        if not config.cityscapes:
            return evaluate_pairs(*files, _label_space(config), **shared)
        return evaluate_cityscapes(
            *files, instances=config.instances, pred_ids=pred_ids or "label", **shared
        )


def _score_officially(
    config: EvalConfig, files: tuple[list[Path], list[Path]], group: Group
) -> CityscapesScores:
    from dseg.evaluation import evaluate_official
    from dseg.evaluation.reading import refuse_lossy

    if not config.accept_lossy:
        group.from_main(lambda: refuse_lossy([*files[0], *files[1]]))
    if group.main and not config.quiet:
        alone = " in one process" if group.world_size > 1 else ""
        images = counted(len(files[0]), "image")
        say(f"The official engine scores {images}{alone}, which takes a while.")
    return group.from_main(
        lambda: evaluate_official(*files, instances=config.instances, per_image=config.wants_images)
    )


def _report_missing_iiou(
    config: EvalConfig, scores: CityscapesScores | ClassScores, task: Task
) -> None:
    """Report why iIoU is missing, or which instance files cannot hold instances."""
    from dseg.evaluation import CityscapesScores, find_shallow_instances

    if not isinstance(scores, CityscapesScores) or not scores.instances:
        return
    shallow = find_shallow_instances(task.pairs.gt_files)
    if shallow:
        say(
            f"WARNING: {len(shallow)} of {len(task.pairs.gt_files)} *_instanceIds.png have 8 bits, "
            f"which cannot represent instances (values of 1000 and more), first {shallow[0].name}: "
            "iIoU does not count theirs."
        )
    elif math.isnan(scores.mean_iiou):
        say("No iIoU: the ground truth contains no instances (values of 1000 and more).")
