"""Show and write the scores of ``dseg eval``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dseg.cli.console import say
from dseg.cli.stdio import emit_json, emit_text
from dseg.cli.tables import show_table
from dseg.errors import EXIT_VERIFICATION, DsegError, counted

if TYPE_CHECKING:
    from dseg.config import EvalConfig
    from dseg.datasets import Dataset
    from dseg.evaluation import CityscapesScores, ClassScores
    from dseg.predict import Manifest


def show_scores(
    config: EvalConfig,
    scores: CityscapesScores | ClassScores,
    *,
    dataset: Dataset | None,
    manifest: Manifest | None,
    missing: Sequence[Path],
    tiled: int,
) -> None:
    """Write the requested files, and the tables unless stdout is taken.

    Args:
        config: names the files.
        scores: the scores.
        dataset: the split; None for Cityscapes' rules, and for folders.
        manifest: of the network that predicted; None for masks.
        missing: ground truth without a prediction.
        tiled: number of images predicted in tiles although the protocol has none.
    """
    from dseg.evaluation import make_csv, make_json, make_tables

    if config.csv_file is not None:
        _write_csv(config.csv_file, make_csv(scores.images))
    if config.json_file is not None:
        result = make_json(scores, [path.name for path in missing])
        emit_json(config.json_file, _make_facts(dataset, manifest, tiled) | result)
    if "-" not in (str(config.json_file), str(config.csv_file)):
        for table in make_tables(scores):
            show_table(_name(dataset) + table.title, table.columns, table.rows)
    if dataset is not None and dataset.note and not config.quiet:
        say(dataset.note)
    left_out = _left_out(dataset)
    if left_out and not config.quiet:
        say(f"Left out of the mean, as masks cannot contain them: {', '.join(left_out)}.")
    if tiled:
        say(f"Too large to be predicted whole, and predicted in tiles: {counted(tiled, 'image')}.")


def _make_facts(
    dataset: Dataset | None, manifest: Manifest | None, tiled: int
) -> dict[str, object]:
    """Return the JSON entries of a data set and of a network."""
    facts: dict[str, object] = {}
    if dataset is not None:
        facts |= {
            "dataset": dataset.name,
            "split": dataset.split,
            "leftOutClasses": _left_out(dataset),
        }
    if manifest is not None:
        facts |= {"settings": manifest.as_json(), "tiled": tiled}
    return facts


def _name(dataset: Dataset | None) -> str:
    """Return the beginning of a table's title, before the name of the classes."""
    return "" if dataset is None else f"{dataset.name} {dataset.split}, classes of "


def _left_out(dataset: Dataset | None) -> list[str]:
    """Return the names of classes that masks of the data set cannot contain."""
    if dataset is None:
        return []
    names = enumerate(dataset.space.names)
    return [name for train_id, name in names if train_id not in dataset.classes]


def _write_csv(target: Path, rows: list[list[str]]) -> None:
    import csv
    import io

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    emit_text(target, text.getvalue())


def verify(config: EvalConfig, mean_iou: float) -> None:
    """Fail if the mean IoU (0 to 1, or NaN) is below ``fail_under``.

    Raises:
        DsegError: it is lower; exit code 4.
    """
    if config.fail_under is not None and not mean_iou >= config.fail_under / 100:
        raise DsegError(
            f"Mean IoU {100 * mean_iou:.3f} % is below {config.fail_under:g} %.",
            hint="the table shows the IoU of each class; or lower --fail-under.",
            exit_code=EXIT_VERIFICATION,
        )
