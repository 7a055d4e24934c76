"""Drawn images, the authors' checkpoint files, and their pre- and post-processing.

The reference is plain torch with constants of the authors' code: it uses nothing of
``dseg.predict``, and only names from the registry.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import goldens
import numpy as np
import torch
from cli_runs import pixels, run
from click.testing import Result
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from dseg.checkpoints.keys import map_keys
from dseg.images import Pixels
from dseg.models import SegModel, build_model, find_class

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Normalise:
    """Normalisation of pixels by an author.

    Attributes:
        mean, std: mean and standard deviation in the order of the input channels.
        order: order of the input channels, RGB or BGR.
        divisor: divides the pixels before the mean is subtracted.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    order: str = "RGB"
    divisor: float = 1.0

    def __call__(self, image: np.ndarray | Tensor) -> Tensor:
        """Normalise (H, W, 3) or (1, 3, H, W) RGB in 0..255 to (1, 3, H, W)."""
        view = image if isinstance(image, Tensor) else to_tensor(image)
        view = view.flip(1) if self.order == "BGR" else view
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (self.mean, self.std))
        return (view / self.divisor - mean) / std


IMAGENET = Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), divisor=255)
IMAGENET_255 = Normalise((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
CAFFE = Normalise((104.00698793, 116.66876762, 122.67891434), order="BGR")
DEEPMOTION = Normalise((0.290101, 0.328081, 0.286964), (0.182954, 0.186566, 0.184475), divisor=255)
DABNET = Normalise((73.1583251953125, 82.90901947021484, 72.39240264892578))
DABNET_CAMVID = Normalise((99.62540435791016, 103.329833984375, 105.65775299072266))
COINCHEUNG = Normalise((0.3257, 0.369, 0.3223), (0.2112, 0.2148, 0.2115), divisor=255)
COCOSTUFF = Normalise(
    (0.46962251, 0.4464104, 0.40718787), (0.27469736, 0.27012361, 0.28515933), divisor=255
)
ADE20K = Normalise(
    (0.49343230, 0.46819794, 0.43106043), (0.25680755, 0.25506608, 0.27422913), divisor=255
)
ORSIC = Normalise((73.15, 82.9, 72.3), (47.67, 48.49, 47.73))
OCNET = Normalise((102.9801, 115.9465, 122.7717))
ESPNET = Normalise(
    (72.3923111, 82.90893555, 73.15840149), (45.3192215, 46.15289307, 44.91483307), "BGR"
)
ESPNET_CAMVID = Normalise(
    (110.2119, 108.3521, 104.9607), (72.0496, 72.6156, 69.8297), "BGR"
)  # of its training frames


def draw_image(height: int, width: int, seed: int = 0) -> Pixels:
    """Return an image of soft regions, discs and noise, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (5, 7, 3), np.uint8)
    image = np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    canvas = image.astype(np.float64)
    rows, columns = np.mgrid[:height, :width]
    for _ in range(12):
        y, x, radius = rng.uniform((0, 0, 0.04), (height, width, 0.2))
        inside = (rows - y) ** 2 + (columns - x) ** 2 < (radius * height) ** 2
        canvas[inside] = 0.3 * canvas[inside] + 0.7 * rng.integers(0, 256, 3)
    return (canvas + rng.normal(0, 12, canvas.shape)).clip(0, 255).astype(np.uint8)


def to_tensor(image: np.ndarray) -> Tensor:
    """Convert (H, W, 3) to (1, 3, H, W) float32."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()


def bilinear(maps: Tensor, size: Size, *, corners: bool) -> Tensor:
    """Resize (1, C, H, W) without antialiasing; like OpenCV without aligned corners."""
    return F.interpolate(maps, size, mode="bilinear", align_corners=corners)


def round_up(size: Size, divisor: int) -> Size:
    """Return sides rounded up to multiples of the divisor."""
    height, width = (math.ceil(side / divisor) * divisor for side in size)
    return height, width


def labels_of(scores: Tensor) -> Pixels:
    """Return the best class (H, W) of scores (1, K, H, W)."""
    return scores[0].argmax(0).to(torch.uint8).numpy()


Network = Callable[[Tensor], Tensor]  # from input to logits
Mask = Callable[[Network, Pixels, Normalise], Pixels]


def resized(network: Network, image: Pixels, read: Normalise, *, corners: bool) -> Pixels:
    """Label the whole image; resize the logits to its size."""
    return labels_of(bilinear(network(read(image)), image.shape[:2], corners=corners))


def with_corners(network: Network, image: Pixels, read: Normalise) -> Pixels:
    return resized(network, image, read, corners=True)


def without_corners(network: Network, image: Pixels, read: Normalise) -> Pixels:
    return resized(network, image, read, corners=False)


def views_of(view: Tensor, flip: bool) -> Iterator[tuple[Tensor, bool]]:
    """Yield a view, and the flipped view if ``flip``."""
    yield view, False
    if flip:
        yield view.flip(-1), True


def bisenet(
    network: Network,
    image: Pixels,
    read: Normalise,
    scales: tuple[float, ...] = (1.0,),
    short: int | None = None,
) -> Pixels:
    """Sum softmax over scales and flips, at sides that are multiples of 32.

    With ``short`` the image is first resized so that its short side has this number of pixels.
    """
    size = image.shape[:2]
    view = read(image)
    if short is not None:
        height, width = (short * length // min(size) for length in size)
        view = bilinear(view, (height, width), corners=False)
    total = torch.zeros(1)
    for scale in scales:
        input_size = round_up((int(view.shape[-2] * scale), int(view.shape[-1] * scale)), 32)
        for scaled, flipped in views_of(bilinear(view, input_size, corners=True), len(scales) > 1):
            logits = bilinear(network(scaled), input_size, corners=False)
            logits = bilinear(logits.flip(-1) if flipped else logits, size, corners=True)
            total = total + logits.softmax(1)
    return labels_of(total)


def padded_to_8k_and_1(network: Network, image: Pixels, read: Normalise) -> Pixels:
    """Evaluate as EMANet: zero padding after normalisation, logits at the padded size, cropped."""
    height, width = image.shape[:2]
    view = F.pad(read(image), (0, (1 - width) % 8, 0, (1 - height) % 8))
    logits = bilinear(network(view), view.shape[-2:], corners=True)
    return labels_of(logits[..., :height, :width])


def by_cubes(network: Network, image: Pixels, read: Normalise) -> Pixels:
    """Evaluate as RefineNet and EfficientViT: bicubic interpolation of the logits, as OpenCV's."""
    logits = network(read(image))
    return labels_of(F.interpolate(logits, image.shape[:2], mode="bicubic", align_corners=False))


def torchvision_preset(network: Network, image: Pixels, read: Normalise) -> Pixels:
    """Evaluate as torchvision: short side 520 with antialiasing; logits resized to the image."""
    height, width = image.shape[:2]
    short = min(height, width)
    sides = int(520 * width / short), int(520 * height / short)
    view = np.array(Image.fromarray(image).resize(sides, Image.Resampling.BILINEAR))
    return labels_of(bilinear(network(read(view)), (height, width), corners=False))


def fraction_equal(mask: Pixels, expected: Pixels) -> float:
    """Return the fraction of equal pixels, 0 for another size."""
    return float((mask == expected).mean()) if mask.shape == expected.shape else 0.0


def shows_classes(mask: Pixels, least: int = 3) -> bool:
    """Return True if at least ``least`` classes cover a hundredth of the mask each."""
    return int((np.bincount(mask.ravel()) >= mask.size / 100).sum()) >= least


def infer(
    file: Path,
    image: Pixels,
    *words: object,
    command: str = "infer",
    kind: str = "train_ids",
    folder: Path | None = None,
) -> tuple[Pixels, Result]:
    """Label an image by the command in ``folder``, by default that of the file; return the mask."""
    folder = folder or file.parent
    Image.fromarray(image).save(folder / "image.png")
    out = folder / "masks"
    result = run(
        *(command, "-w", file, folder / "image.png", "--save", kind, "--device", "cpu"),
        *("--overwrite", "--out", out, *words),
    )
    assert result.exit_code == 0, result.output
    return pixels(out / kind / "image.png"), result


def with_outputs(contract: dict[str, Any], outputs: int) -> dict[str, Any]:
    """Return the contract of a golden with another number of classes."""
    widths = {contract["n_class"] * k: outputs * k for k in (1, 9)}  # DFN has layers 9 K wide
    state = [[k, [widths.get(n, n) for n in shape]] for k, shape in contract["state_dict"]]
    return {**contract, "state_dict": state, "n_class": outputs}


def list_norms(model: SegModel) -> list[_BatchNorm]:
    """Return the batch norms of a network."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


@contextmanager
def calibrating(model: SegModel) -> Iterator[None]:
    """Set the statistics of every norm of a network to those of its input."""

    def measure(norm: _BatchNorm, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].transpose(0, 1).flatten(1)
        if values.shape[1] > 1 and norm.running_mean is not None:
            norm.running_mean.copy_(values.mean(1))
            norm.running_var.copy_(values.var(1).clamp(min=1e-3))

    hooks = [norm.register_forward_pre_hook(measure) for norm in list_norms(model)]
    yield
    for hook in hooks:
        hook.remove()


def bias_key(model: SegModel) -> str:
    """Return the key of the bias of the classifier, which some networks lack."""
    return f"{model.classifiers[0]}bias"


def save_authors_file(
    name: str,
    contract: dict[str, Any],
    path: Path,
    view: Tensor,
    *,
    inplace_abn: bool = False,
    calibrated: bool = True,
    extra: dict[str, np.ndarray] | None = None,
) -> SegModel:
    """Save a file as a network's authors do, and return the network with its weights.

    Args:
        name: key of ``MODELS``.
        contract: contract of a golden, with the authors' keys and shapes.
        path: file to write.
        view: normalised image (1, 3, H, W) from which the norms get their statistics.
        inplace_abn: the authors' norms use the absolute values of their weights.
        calibrated: whether the norms get statistics.
        extra: entries of the authors' state dict that the contract does not list.
    """
    filled = {**goldens.fill_state_dict(contract["state_dict"], contract["gain"]), **(extra or {})}
    for key, value in filled.items() if inplace_abn else ():
        if key.endswith("weight") and value.ndim == 1:  # a norm's
            value[::2] *= -1
    cls = find_class(name)
    state = {k: torch.from_numpy(v) for k, v in map_keys(cls, filled).items()}
    model = build_model(name, contract["n_class"], **cls.options_for(state)).eval()
    model.load_state_dict(state, strict=False)
    if inplace_abn:
        for norm in list_norms(model):
            norm.weight.data.abs_().add_(1e-5)
    with torch.no_grad():
        with calibrating(model) if calibrated else nullcontext():
            logits = model.logits(view)[0]
        if bias_key(model) in model.state_dict():  # so that many classes are predicted
            model.state_dict()[bias_key(model)] -= logits.mean((0, 2, 3))
    measured = model.state_dict()
    for ours, key in map_keys(cls, {key: key for key in filled}).items():
        if ours in measured and ours.endswith(("running_mean", "running_var", bias_key(model))):
            filled[key] = measured[ours].numpy()
    with patch.object(goldens, "fill_state_dict", lambda entries, gain: filled):
        goldens.save_as_the_authors_do(contract, path)
    return model
