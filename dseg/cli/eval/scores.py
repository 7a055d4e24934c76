"""What ``dseg eval`` shows and writes of scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dseg.cli.console import say, show_table
from dseg.cli.output import write_json, write_text
from dseg.errors import EXIT_VERIFICATION, DsegError

if TYPE_CHECKING:
    from dseg.cli.eval.options import EvalOptions
    from dseg.datasets import Dataset
    from dseg.evaluation import CityscapesScores, ClassScores
    from dseg.predict import Manifest


def show_scores(
    options: EvalOptions,
    scores: CityscapesScores | ClassScores,
    *,
    dataset: Dataset | None,
    settings: Manifest | None,
    missing: Sequence[Path],
    tiled: int,
) -> None:
    """Write the files that were asked for, and the tables unless stdout is taken.

    Args:
        options: say which.
        scores: what was found.
        dataset: the split that was scored; None for Cityscapes' own rules, and for folders.
        settings: of the network that predicted, if one did.
        missing: ground truth that was left out.
        tiled: images that were predicted in tiles though the protocol has none.
    """
    from dseg.evaluation import make_csv, make_json, make_tables

    if options.csv_file is not None:
        _write_csv(options.csv_file, make_csv(scores.images))
    if options.json_file is not None:
        result = make_json(scores, [path.name for path in missing])
        write_json(options.json_file, _make_facts(dataset, settings, tiled) | result)
    if "-" not in (str(options.json_file), str(options.csv_file)):
        for table in make_tables(scores):
            show_table(_name(dataset) + table.title, table.columns, table.rows)
    left_out = _left_out(dataset)
    if left_out and not options.quiet:
        say(f"Left out of the mean, as no mask can hold them: {', '.join(left_out)}.")
    if tiled:
        say(f"{tiled} images were too large to be predicted whole, and were predicted in tiles.")


def _make_facts(
    dataset: Dataset | None, settings: Manifest | None, tiled: int
) -> dict[str, object]:
    """Return what JSON says of a data set and of a network."""
    facts: dict[str, object] = {}
    if dataset is not None:
        facts |= {
            "dataset": dataset.name,
            "split": dataset.split,
            "leftOutClasses": _left_out(dataset),
        }
    if settings is not None:
        facts |= {"settings": settings.as_json(), "tiled": tiled}
    return facts


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

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(target, text.getvalue())


def verify(options: EvalOptions, mean_iou: float) -> None:
    """Fail if the mean IoU, a number from 0 to 1 or NaN, is below what was asked for.

    Raises:
        DsegError: it is, with its own exit code.
    """
    if options.fail_under is not None and not mean_iou >= options.fail_under / 100:
        raise DsegError(
            f"Mean IoU {100 * mean_iou:.3f} % is below the {options.fail_under:g} % asked for.",
            hint="the table names the classes that pull it down; or lower --fail-under.",
            exit_code=EXIT_VERIFICATION,
        )
