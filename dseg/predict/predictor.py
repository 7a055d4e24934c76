"""Predictor: images in any form, one or many, to predictions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from torch import nn

from dseg.checkpoints import LoadReport
from dseg.errors import DsegError
from dseg.images import Pixels, to_pixels
from dseg.labels import LabelSpace
from dseg.models import SegModel, wrap_network
from dseg.predict.engine import Engine
from dseg.predict.fusion import size_of
from dseg.predict.loading import Loaded, load_network
from dseg.predict.result import Prediction
from dseg.predict.runtimes import Runtime
from dseg.protocol import Protocol
from dseg.video import VIDEO_SUFFIXES

if TYPE_CHECKING:
    from dseg.predict.summary import Summary


class Predictor(Engine):
    """A network that labels images of any size.

    By default it applies the network's plain protocol: for most networks, normalise, resize the
    logits bilinearly to the image's size, argmax.

    Example:
        >>> predictor = dseg.Predictor.load("pspnet_r50", "weights/pspnet_r50.pth", device="cpu")
        >>> prediction = predictor("street.jpg")  # or a PIL image, array, tensor, list of them
        >>> prediction.train_ids  # (H, W) uint8
        >>> predictor.predict_folder("photos", "results")
        >>> own = dseg.Predictor(my_module, classes=["road", "car"])  # any torch module

    Args:
        model: network from ``load_model`` or ``build_model``; or any module that maps normalised
            images (N, 3, H, W) to logits (N, K, h, w), returned as a tensor, first in a tuple, or
            under ``out`` or ``logits``. It is set to evaluation mode and copied.
        classes: of such a module: class names in the order of the outputs, a label space or its
            name.
        mean, std: of such a module: normalisation of the image in 0..1, as red, green, blue; by
            default ImageNet's.
        order: of such a module: channel order of its input, ``RGB`` or ``BGR``.
        protocol: inference protocol; by default the plain one of the model card.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        precision: ``fp32``, ``bf16``, ``fp16``; or ``auto``: bf16 on a GPU that has it.
        runtime: ``torch``, ``openvino``, ``onnx``, or ``auto``, the fastest one installed; a
            module of your own is computed by ``torch``.
        on_note: called with each sentence on how the runtime was chosen.
        fall_back: predict in tiles, or in smaller ones, if there is too little memory.

    Attributes:
        tiled: number of images predicted in tiles although the protocol has none.

    Raises:
        DsegError: the device or the runtime does not exist, or not in that precision; a module of
            your own comes without classes.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        classes: Sequence[str] | LabelSpace | str | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        order: str = "RGB",
        protocol: Protocol | None = None,
        device: str = "auto",
        precision: str = "fp32",
        runtime: str | Runtime = "torch",
        on_note: Callable[[str], None] = lambda note: None,
        fall_back: bool = True,
    ):
        if isinstance(model, SegModel) and hasattr(model, "card"):
            if classes is not None or mean is not None or std is not None:
                raise DsegError(
                    f"{model.card.network} has its own classes and normalisation.",
                    hint="leave out classes, mean and std.",
                )
        elif isinstance(model, nn.Module):
            runtime = _only_torch(runtime)
            model = wrap_network(model, classes, mean=mean, std=std, order=order, protocol=protocol)
        else:
            raise DsegError(
                f"{type(model).__name__} is not a network.",
                hint="give a module of torch, or load a network by its name: dseg.load(name).",
            )
        super().__init__(
            model,
            protocol=protocol,
            device=device,
            precision=precision,
            runtime=runtime,
            on_note=on_note,
            fall_back=fall_back,
        )
        self.loaded: Loaded | None = None

    @classmethod
    def load(
        cls,
        name: str | None = None,
        weights: Path | str | None = None,
        *,
        protocol: Protocol | None = None,
        device: str = "auto",
        precision: str = "fp32",
        runtime: str = "torch",
        partial: bool = False,
        inplace_abn: bool | None = None,
        raw_weights: bool = False,
        on_report: Callable[[LoadReport], None] = lambda report: None,
        on_note: Callable[[str], None] = lambda note: None,
    ) -> Predictor:
        """Load a network by name and checkpoint or exported file; see ``load_model``.

        Args:
            name: network listed by ``dseg models``, whose weights are downloaded if need be; by
                default identified by the file, and without a file the bundled one.
            weights: checkpoint, exported file, or ``hf://owner/name/file``.
            protocol, device, precision, runtime: as of ``Predictor``.
            partial, inplace_abn, raw_weights, on_report, on_note: as of ``load_model``.

        Raises:
            CheckpointError: the file is missing, not a checkpoint, or not one of this network.
            DsegError: the network or the device does not exist.
        """
        loaded = load_network(
            name,
            weights,
            device=device,
            precision=precision,
            runtime=runtime,
            protocol=protocol,
            partial=partial,
            inplace_abn=inplace_abn,
            raw_weights=raw_weights,
            on_report=on_report,
            on_note=on_note,
        )
        found = cls(
            loaded.model,
            protocol=loaded.protocol,
            device=loaded.device,
            precision=precision,
            runtime=loaded.runtime,
            on_note=on_note,
        )
        found.loaded = loaded
        return found

    @overload
    def __call__(self, image: list[Any] | tuple[Any, ...]) -> list[Prediction]: ...

    @overload
    def __call__(self, image: Iterator[Any]) -> Iterator[Prediction]: ...

    @overload
    def __call__(self, image: Any) -> Prediction: ...

    def __call__(self, image: Any) -> Prediction | list[Prediction] | Iterator[Prediction]:
        """Label an image, a list of images, or one after another of an iterator.

        Args:
            image: an image as of ``predict``; a list, tuple or batch (N, H, W, C) or (N, C, H, W)
                of them; or an iterator, for more images than fit into memory.

        Returns:
            The prediction; a list of them for a list, tuple or batch; for an iterator another
            iterator, see ``stream``.

        Raises:
            DsegError: as ``predict``, for the first image that cannot be labelled.
        """
        if isinstance(image, list | tuple):
            return list(self.stream(image))
        if isinstance(image, Iterator) and not hasattr(image, "read"):
            return self.stream(image)
        if getattr(image, "ndim", 0) == 4:
            return list(self.stream(image))
        return self.predict(image)

    def predict(self, image: Any, *, confidence: bool = False, entropy: bool = False) -> Prediction:
        """Label an image, in tiles if the protocol has tiles or the image does not fit.

        Args:
            image: a path, a PIL image, or an array or tensor, as of ``dseg.images.to_pixels``.
            confidence: also return the probability of each pixel's class.
            entropy: also return the entropy of each pixel's probabilities.

        Raises:
            NotFiniteError: the network's scores are NaN or infinite.
            DsegError: too little memory (see ``fall_back``), or the object is not an image or
                cannot be read.
        """
        pixels = _read(image)
        return self._finished(
            self.begin(pixels, confidence=confidence, entropy=entropy).result(), pixels
        )

    def stream(self, images: Iterable[Any], *, confidence: bool = False) -> Iterator[Prediction]:
        """Label images one after another, on a GPU in batches of one size; memory is bounded.

        Images are taken from ``images`` as predictions are taken from the result, at most a batch
        ahead.

        Args:
            images: images as of ``predict``.
            confidence: also return the probability of each pixel's class.

        Raises:
            DsegError: as ``predict``.
        """
        batch: list[Pixels] = []
        for image in images:
            pixels = _read(image)
            if batch and size_of(pixels) != size_of(batch[0]):
                yield from self._label(batch, confidence)
                batch = []
            batch.append(pixels)
            if len(batch) >= self.batch_at(size_of(pixels)):
                yield from self._label(batch, confidence)
                batch = []
        yield from self._label(batch, confidence)

    def predict_folder(
        self, source: Path | str | Sequence[Path | str], out: Path | str, **options: Any
    ) -> Summary:
        """Label all images and videos of a folder and write what ``dseg infer`` writes.

        Args:
            source: folder, file or pattern, or several of them.
            out: folder for the results.
            options: arguments of ``dseg.predict.predict_folder``: ``kinds``, ``overwrite``,
                ``overlay_format``, ``style``, ``batch_size``, ``max_pixels``, ``sampling``.

        Returns:
            What was done; an image that cannot be read is listed in ``failed``, with a warning.

        Raises:
            DsegError: there is no image, or the folder holds results of another run.
        """
        from dseg.predict.folder import predict_folder

        return predict_folder(self, source, out, **options)

    def _label(self, batch: list[Pixels], confidence: bool) -> Iterator[Prediction]:
        """Yield the predictions of images of one size."""
        begun = self.begin_batch(batch, confidence=confidence) if len(batch) > 1 else None
        for index, pixels in enumerate(batch):
            pending = begun[index] if begun else self.begin(pixels, confidence=confidence)
            yield self._finished(pending.result(), pixels)

    def _finished(self, prediction: Prediction, pixels: Pixels) -> Prediction:
        """Return a prediction with its image."""
        image = pixels.copy() if pixels.flags.writeable else pixels  # a caller may reuse it
        probabilities = partial(self.probabilities, image, prediction.tile)
        return replace(prediction, image=image, find_probabilities=probabilities)


def _only_torch(runtime: str | Runtime) -> str:
    """Return the runtime of a module of the user's.

    Raises:
        DsegError: another than PyTorch is named.
    """
    if runtime in ("torch", "auto"):
        return "torch"
    raise DsegError(
        "A module of your own is computed by PyTorch only.", hint='use runtime="torch".'
    )


def _read(image: Any) -> Pixels:
    if isinstance(image, str | os.PathLike) and str(image).lower().endswith(VIDEO_SUFFIXES):
        raise DsegError(f"{image} is a video.", hint="label it by predict_folder, or dseg infer.")
    return to_pixels(image)
