"""Compare an exported file with PyTorch, by every installed runtime that reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dseg.config.export import ExportConfig
from dseg.errors import DsegError
from dseg.export.calibrate import as_view, fit_image, readable_images
from dseg.folding import prepare
from dseg.graphs import GraphFacts, padded_size, trace_program
from dseg.graphs.needs import is_installed
from dseg.images import Pixels
from dseg.labels import IGNORE
from dseg.models import ModelCard, SegModel
from dseg.predict import Predictor
from dseg.predict.runtimes import Runtime, open_exported
from dseg.predict.runtimes.graph import GraphRuntime
from dseg.protocol import Size
from dseg.synth import draw_scene

LEAST_AGREEMENT = {"fp32": 0.999, "fp16": 0.995, "bf16": 0.995, "int8": 0.8}
SIZES: tuple[Size, ...] = ((192, 384), (277, 213))  # of images for a graph of any size; odd too
PACKAGES = {"openvino": "openvino", "onnx": "onnxruntime"}
READERS = {"onnx": ("onnx", "openvino"), "openvino": ("openvino",), "torch": ("torch",)}
IMAGES = 2  # at each size
CANDIDATES = 8  # of a folder, some of which may be damaged


@dataclass(frozen=True)
class Check:
    """A comparison of a file's outputs with PyTorch's.

    Attributes:
        runtime: what computed the file.
        images: what was compared: ``noise``, ``drawn scenes`` or ``images``.
        size: (height, width) of the images.
        difference: largest difference of logits, in standard deviations of the logits; None for
            a file that gives labels.
        agreement: fraction of pixels with the same label.
    """

    runtime: str
    images: str
    size: Size
    difference: float | None
    agreement: float


def worst_agreement(checks: Sequence[Check], precision: str) -> float:
    """Return the smallest fraction of equal labels; of int8, which is calibrated, on images."""
    relevant = [check for check in checks if precision != "int8" or check.images != "noise"]
    return min((check.agreement for check in relevant), default=1.0)


@torch.inference_mode()
def verify(model: SegModel, path: Path, config: ExportConfig) -> list[Check]:
    """Compare a file with PyTorch on noise and on images, at two sizes unless it has one.

    Returns:
        One comparison for each runtime, kind of image and size.

    Raises:
        DsegError: no installed runtime reads the file.
    """
    prepared, label = prepare(model, device="cpu"), _labeller(model)
    checks = []
    for runtime in find_readers(config):
        compute = _open(path, runtime, model, config)
        for kind, size, images in _images(model, config):
            pairs = []
            for image in images:
                found = compute(as_view(model, image))
                if compute.labels_only:
                    pairs.append(
                        (
                            0.0,
                            _equal_labels(model.card, label.begin(image).result().train_ids, found),
                        )
                    )
                else:
                    view = as_view(model, image)
                    pairs.append(_compare(prepared, prepared.logits(view)[0], found, view))
            worst = None if compute.labels_only else max(difference for difference, _ in pairs)
            agreement = sum(same for _, same in pairs) / len(pairs)
            checks.append(Check(runtime, kind, size, worst, agreement))
    return checks


def find_readers(config: ExportConfig) -> list[str]:
    """Return the installed runtimes that read a file of the format.

    Raises:
        DsegError: there is none.
    """
    readers = READERS[config.format]
    found = [name for name in readers if name == "torch" or is_installed(PACKAGES[name])]
    if not found:
        raise DsegError(
            "No installed runtime reads the file, so it cannot be verified.",
            hint="pip install 'dseg[openvino]' or 'dseg[onnx]', or use --no-check.",
        )
    return found


class ProgramRuntime(GraphRuntime):
    """Computes a program of torch.export, traced again: to load the file would unpickle it."""

    name = "torch"

    def __init__(self, model: SegModel, facts: GraphFacts):
        super().__init__(model.card, facts, "float32")
        pixels, labels = facts.input == "uint8", facts.output == "labels"
        program = trace_program(model, size=facts.size, pixels=pixels, labels=labels)
        self._module = program.module()

    def _run(self, image: Tensor) -> Tensor:
        found: Tensor = self._module(image)
        return found


def _open(path: Path, runtime: str, model: SegModel, config: ExportConfig) -> Runtime:
    if runtime == "torch":
        facts = GraphFacts(input=config.input, output=config.output, size=config.size)
        return ProgramRuntime(model, facts)
    return open_exported(path, runtime, device=torch.device("cpu"))[1]


def _images(model: SegModel, config: ExportConfig) -> Iterator[tuple[str, Size, list[Pixels]]]:
    """Yield noise and images at each size."""
    random = np.random.default_rng(0)
    for wanted in (config.size,) if config.size is not None else SIZES:
        size = wanted if config.size is not None else padded_size(model, wanted)
        yield "noise", size, [random.integers(0, 256, (*size, 3), np.uint8) for _ in range(IMAGES)]
        if config.img_dir is None:
            drawable = min(max(size[0], 64), 2048), min(max(size[1], 64), 2048)
            kind, images = "drawn scenes", [draw_scene(0, i, drawable)[0] for i in range(IMAGES)]
        else:
            chosen = readable_images(config.img_dir, CANDIDATES)
            kind, images = "images", list(islice(chosen, IMAGES))
        yield kind, size, [fit_image(model, image, size) for image in images]


def _labeller(model: SegModel) -> Predictor:
    """Return what labels an image as a graph of labels does: padded, resized, mapped."""
    protocol = replace(model.card.protocol.at_own_size(), multiple=1, scales=(1.0,), flip=False)
    return Predictor(model, protocol=replace(protocol, tile=None), device="cpu", fall_back=False)


def _equal_labels(card: ModelCard, expected: Pixels, found: Tensor) -> float:
    """Return the fraction of equal labels; the last channel of ``found`` stands for no class."""
    train_ids = found.argmax(1)[0].numpy()
    train_ids[train_ids == card.label_space.num_classes] = IGNORE
    return float((train_ids == expected).mean())


def _compare(model: SegModel, expected: Tensor, found: Tensor, view: Tensor) -> tuple[float, float]:
    """Return the largest difference in standard deviations, and the fraction of equal labels."""
    if found.shape != expected.shape:
        return float("inf"), 0.0
    height, width = view.shape[-2:]
    labels, others = (model.resize(one, height, width).argmax(1) for one in (expected, found))
    difference = float((found - expected).abs().max() / expected.std())
    return difference, float((labels == others).double().mean())
