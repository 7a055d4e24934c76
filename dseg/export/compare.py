"""Compare a network in several precisions on a data set: mIoU, equal labels, time, size."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch

from dseg.config.export import METHODS, ExportConfig
from dseg.datasets import Dataset
from dseg.device import has_bf16
from dseg.errors import DsegError
from dseg.evaluation import refuse_other_classes
from dseg.export.quantise import calibrated, quantised
from dseg.graphs import GraphFacts, add_facts, trace
from dseg.images import Pixels
from dseg.models import SegModel
from dseg.parallel import Advance
from dseg.predict import Predictor
from dseg.predict.runtimes import TITLES, open_exported
from dseg.training.validate import ConfusionCounts, score

if TYPE_CHECKING:
    from onnx import ModelProto

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A network in one precision.

    Attributes:
        runtime: what computed it.
        precision: ``fp32``, ``bf16``, ``fp16`` or ``int8``.
        calibration: how ranges of activations were found for int8; empty for the others.
        mean_iou: in 0..1.
        agreement: fraction of pixels with the label of PyTorch in fp32.
        milliseconds: median time of an image, from decoded pixels to labels.
        megabytes: size of the file.
    """

    runtime: str
    precision: str
    calibration: str
    mean_iou: float
    agreement: float
    milliseconds: float
    megabytes: float


@dataclass
class _Variant:
    """A predictor, and what was counted for it so far."""

    predictor: Predictor
    precision: str
    calibration: str
    megabytes: float
    counts: ConfusionCounts
    seconds: list[float] = field(default_factory=list)
    equal: int = 0
    pixels: int = 0

    def label(self, image: Pixels, truth: Pixels, expected: Pixels | None) -> Pixels:
        """Label an image, and count its pixels."""
        begun = time.perf_counter()
        found = self.predictor.begin(image).result().train_ids
        self.seconds.append(time.perf_counter() - begun)
        self.counts.add(torch.from_numpy(truth), torch.from_numpy(found))
        self.equal += int((found == (found if expected is None else expected)).sum())
        self.pixels += found.size
        return found

    def row(self, dataset: Dataset) -> Row:
        return Row(
            runtime=TITLES[self.predictor.runtime.name],
            precision=self.precision,
            calibration=self.calibration,
            mean_iou=score(self.counts.matrix(), dataset).mean_iou,
            agreement=self.equal / self.pixels,
            milliseconds=1000 * median(self.seconds),
            megabytes=self.megabytes,
        )


def compare(
    model: SegModel,
    weights: Path,
    config: ExportConfig,
    dataset: Dataset,
    *,
    on_note: Callable[[str], None] = lambda note: None,
    advance: Advance = lambda: None,
) -> list[Row]:
    """Score a network in fp32, bf16, fp16 and int8 on the images of a data set.

    All precisions label one image after another, so that their times are comparable. Memory does
    not depend on the number of images.

    Args:
        model: network in evaluation mode.
        weights: its checkpoint file.
        config: calibration, size and layers that stay float32; its precision is not used.
        dataset: the split that is scored, in the classes of the network.
        on_note: called with each sentence on what is being done.
        advance: called after each image.

    Raises:
        DsegError: the data set has no images or other classes than the network; or no images to
            calibrate with are named.
    """
    refuse_other_classes(model.card.label_space, dataset.space, dataset.name)
    if not len(dataset):
        raise DsegError(f"{dataset.name} has no images.", hint="name another --split.")
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        variants = list(_variants(model, weights, config, dataset, Path(folder), on_note))
        for variant in variants:  # compiles networks for the first size
            variant.predictor(dataset.read(0).image)
        for index in range(len(dataset)):
            pair = dataset.read(index)
            expected: Pixels | None = None
            for variant in variants:
                found = variant.label(pair.image, pair.train_ids, expected)
                expected = found if expected is None else expected
            advance()
        return [variant.row(dataset) for variant in variants]


def _variants(
    model: SegModel,
    weights: Path,
    config: ExportConfig,
    dataset: Dataset,
    folder: Path,
    on_note: Callable[[str], None],
) -> Iterator[_Variant]:
    """Yield the network in PyTorch, and in each precision of the installed runtimes."""
    classes = dataset.space.num_classes

    def counts() -> ConfusionCounts:
        return ConfusionCounts(classes, CPU)

    megabytes = weights.stat().st_size / 1e6
    yield _Variant(Predictor(model, device="cpu"), "fp32", "", megabytes, counts())
    for name, precision, calibration, graph in _graphs(model, config, on_note):
        path = folder / f"{name}.onnx"
        if graph is not None:
            facts = GraphFacts(size=config.size, precision=name.partition("-")[0])
            add_facts(graph, model.card, facts)
            path.write_bytes(graph.SerializeToString())
        network, runtime, _ = open_exported(path, precision=precision, device=CPU)
        predictor = Predictor(network, device="cpu", runtime=runtime)
        size = path.stat().st_size / 1e6
        yield _Variant(predictor, precision, calibration, size, counts())


def _graphs(
    model: SegModel, config: ExportConfig, on_note: Callable[[str], None]
) -> Iterator[tuple[str, str, str, ModelProto | None]]:
    """Yield the name, precision and calibration of each graph, None for one yielded before."""
    on_note(f"Tracing {model.card.network}.")
    graph = trace(model, size=config.size)
    yield "fp32", "fp32", "", graph
    if has_bf16(CPU):
        yield "fp32", "bf16", "", None
    yield "fp16", "fp16", "", trace(model, size=config.size, half=True)
    calibration, _ = calibrated(graph, model, config, on_note)
    for method in methods_of(config):
        chosen = replace(config, calibration=method)
        yield f"int8-{method}", "int8", method, quantised(calibration, model, chosen, on_note)


def methods_of(config: ExportConfig) -> Sequence[str]:
    """Return the methods of calibration to compare."""
    return METHODS if config.calibration == "all" else (config.calibration,)
