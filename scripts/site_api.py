"""The reference of the Python interface: the names of docs/api.md, with docstrings on the site."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from typing import Any

from site_pages import Stage

PUBLIC = {  # headings of docs/api.md, and the names below each
    "Predicting": (
        "load",
        "Predictor",
        "Prediction",
        "Protocol",
        "predict.Summary",
        "predict.summary.Failure",
        "read_image",
    ),
    "Training and scores": (
        "train",
        "evaluate",
        "config.make_config",
        "config.TrainConfig",
        "config.DistillConfig",
        "config.RuntimeConfig",
        "recipes.Recipe",
    ),
    "Networks and checkpoints": (
        "MODELS",
        "registry.ModelSpec",
        "build_model",
        "models.SegModel",
        "models.SegOutput",
        "models.ModelCard",
        "load_model",
        "checkpoints.LoadReport",
        "save_model",
    ),
    "Data sets": (
        "load_dataset",
        "datasets.Dataset",
        "datasets.Pair",
        "datasets.Sample",
        "datasets.DatasetSpec",
        "datasets.DatasetTree",
        "datasets.Listing",
        "datasets.Encoding",
        "datasets.pair_files",
        "datasets.walk_images",
    ),
    "Labels": (
        "LABEL_SPACES",
        "labels.LabelSpace",
        "labels.find_label_space",
        "labels.CITYSCAPES_LABELS",
        "labels.CityscapesLabel",
        "transfer.transfer_files",
        "transfer.find_jobs",
        "transfer.TransferJob",
        "transfer.transfer_mask",
        "images.MaskFile",
    ),
    "Errors": ("DsegError", "errors.CheckpointError", "errors.NotFiniteError"),
}
SUMMARIES = {  # of values, which have no docstring
    "MODELS": "All networks: a mapping of their names to `ModelSpec`.",
    "LABEL_SPACES": "All label spaces: a mapping of their names to `LabelSpace`.",
    "labels.CITYSCAPES_LABELS": "The classes of Cityscapes, with label ids, train ids and colours.",
}
START, END = "<!-- names: made by make docs -->", "<!-- end of names -->"


def find(name: str) -> Any:
    """Return the object of a name below ``dseg``."""
    module, _, attribute = f"dseg.{name}".rpartition(".")
    return getattr(import_module(module), attribute)


def summary_of(name: str) -> str:
    """Return the first sentence of a docstring, as Markdown."""
    text = SUMMARIES.get(name) or inspect.getdoc(find(name)) or ""
    first = " ".join(text.split("\n\n")[0].split())
    return re.sub(r"``([^`]+)``", r"`\1`", first)


def names() -> str:
    """Return the tables of public names, by section."""
    lines = []
    for heading, found in PUBLIC.items():
        lines += [f"## {heading}", "", "| name | what it is |", "| --- | --- |"]
        lines += [f"| `dseg.{name}` | {summary_of(name)} |" for name in found]
        lines.append("")
    return "\n".join(lines).rstrip()


def add_reference(pages: Stage) -> None:
    """Put the docstrings below the tables of the page api.md."""
    before, mark, text = pages.read("api.md").partition(START)
    listed, end, after = text.partition(END)
    sections = []
    for table, found in zip(listed.split("\n## ")[1:], PUBLIC.values(), strict=True):
        directives = "\n".join(directive(name) for name in found)
        sections.append(f"\n## {table.rstrip()}\n\n```{{eval-rst}}\n{directives}\n```\n\n")
    pages.write("api.md", "".join([before, mark, "\n", *sections, end, after]))


def directive(name: str) -> str:
    """Return the Sphinx directive that shows an object's docstring."""
    found = find(name)
    if name in SUMMARIES:
        return f".. data:: dseg.{name}\n\n   {SUMMARIES[name].replace('`', '``')}\n"
    if inspect.isclass(found):
        exception = issubclass(found, BaseException)
        kind = "exception" if exception else "class"
        return f".. auto{kind}:: dseg.{name}\n   :members:\n"
    return f".. autofunction:: dseg.{name}\n"
