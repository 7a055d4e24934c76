"""Configuration of ``dseg eval``: predictions, ground truth and scoring rules."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dseg.config.fields import option
from dseg.config.network import NetworkConfig
from dseg.labels import LABEL_SPACES

CITYSCAPES_NAME = "cityscapes"
OFFICIAL = (CITYSCAPES_NAME, "scenes")  # data sets in Cityscapes' layout, with instances


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """The predictions and ground truth to compare, and the rules of scoring.

    Attributes:
        network: network whose predictions are scored, if no masks are given.
        pred_dir, gt_dir: folders of predictions and of ground truth.
        dataset, data_dir, split, class_file: data set whose masks are the ground truth.
        label_space, num_classes, ignore: the classes.
        pred_ids: ids in the predictions, "label" or "train"; None for label ids that are checked.
        official: use the engine of cityscapesscripts.
        instances: compute iIoU too.
        allow_missing: leave out ground truth without a prediction.
        accept_lossy: read masks whose compression may have changed their ids.
        per_image: keep the scores of each image.
        csv_file, json_file: files for the scores.
        fail_under: least mean IoU in percent.
        workers: number of threads; None for one per core.
        quiet: show no progress.
        verbose: describe the network.
    """

    network: NetworkConfig
    pred_dir: Path | None = option(
        "--pred-dir",
        group="Input",
        default=None,
        kind="folder",
        metavar="DIR",
        help="Predicted label ids, at any depth.",
    )
    gt_dir: Path | None = option(
        "--gt-dir",
        group="Data",
        default=None,
        kind="folder",
        metavar="DIR",
        help="Ground truth, at any depth, such as gtFine/val.",
    )
    dataset: str | None = option(
        "--dataset",
        group="Data",
        default=None,
        kind="dataset",
        metavar="NAME",
        help="Data set in --data-dir: cityscapes, camvid, voc, mapillary, folder or scenes.",
    )
    data_dir: Path | None = option(
        "--data-dir",
        group="Data",
        default=None,
        kind="folder",
        metavar="DIR",
        help="Folder of the data set; without --dataset, one with a class file, or Cityscapes: "
        "scores gtFine/<split>.",
    )
    split: str = option(
        "--split", group="Data", default="val", metavar="NAME", help="Split of --data-dir."
    )
    class_file: Path | None = option(
        "--classes",
        group="Data",
        default=None,
        kind="file",
        metavar="FILE",
        help="Class file of a 'folder' data set.",
    )
    label_space: str | None = option(
        "--label-space",
        group="Data",
        default=None,
        choices=tuple(LABEL_SPACES),
        help="The classes (default: cityscapes; with --dataset, those of the data set, onto which "
        "its masks are mapped otherwise). All but Cityscapes get plain IoU and accuracy.",
    )
    num_classes: int | None = option(
        "--num-classes",
        group="Data",
        default=None,
        low=1,
        high=255,
        metavar="N",
        help="Unnamed classes 0 to N-1 in place of --label-space.",
    )
    ignore: tuple[int, ...] = option(
        "--ignore",
        group="Scoring",
        default=(),
        low=0,
        high=255,
        metavar="ID",
        help="With --num-classes: id that is not scored; may be repeated. 255 is never scored.",
    )
    pred_ids: str | None = option(
        "--pred-ids",
        group="Scoring",
        default=None,
        choices=("label", "train"),
        help="Ids in the predictions: label ids (assumed, and checked), or train ids to convert.",
    )
    official: bool = option(
        "--official",
        group="Scoring",
        default=False,
        help="Use the engine of cityscapesscripts, which is slow.",
    )
    instances: bool = option(
        "--instances/--no-instances", group="Scoring", default=True, help="Compute iIoU as well."
    )
    allow_missing: bool = option(
        "--allow-missing",
        group="Scoring",
        default=False,
        help="Score only images that have a prediction.",
    )
    accept_lossy: bool = option(
        "--accept-lossy",
        group="Scoring",
        default=False,
        help="Read masks that JPEG or another lossy compression may have changed.",
    )
    json_file: Path | None = option(
        "--json",
        group="Results",
        default=None,
        kind="file",
        metavar="FILE",
        help="Write the scores as JSON, '-' for stdout.",
    )
    csv_file: Path | None = option(
        "--csv",
        group="Results",
        default=None,
        kind="file",
        metavar="FILE",
        help="Write the scores of each image as CSV, '-' for stdout.",
    )
    per_image: bool = option(
        "--per-image",
        group="Results",
        default=False,
        help="Include the scores of each image in --json and --csv.",
    )
    fail_under: float | None = option(
        "--fail-under",
        group="Scoring",
        default=None,
        low=0,
        high=100,
        metavar="PERCENT",
        help="Exit with code 4 if the mean IoU is lower.",
    )
    workers: int | None = option(
        *("-j", "--workers"),
        group="Speed",
        default=None,
        low=1,
        metavar="N",
        help="Number of threads (default: one per core); the scores do not depend on it.",
    )
    quiet: bool = option(*("-q", "--quiet"), group="General", default=False, help="Hide progress.")
    verbose: bool = option(
        *("-v", "--verbose"),
        group="General",
        default=False,
        help="Also say which network is used, how it is computed and why.",
    )

    @property
    def cityscapes(self) -> bool:
        """True if the official Cityscapes scores are computed."""
        if self.dataset is not None:
            return self.dataset in OFFICIAL and self.label_space is None
        return self.num_classes is None and self.label_space in (None, CITYSCAPES_NAME)

    @property
    def wants_images(self) -> bool:
        """True if the scores of each image are kept."""
        return self.per_image or self.csv_file is not None
