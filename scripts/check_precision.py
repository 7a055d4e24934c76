"""Hold the labels of networks in reduced precision, and in channels_last, to those in float32.

A network that knows nothing is torn between classes everywhere, so each first learns whole CamVid
frames by heart, in float32: a backbone of its kind once (kept in WORK, to be used again), then, on
that backbone's maps, the rest of the network. Prints a line of JSON for each network: the labelled
pixels that it has right, and of all pixels those whose label changes, in per cent of each frame
that it learnt and of each that it has not seen.

A kind is the depth and the stem of a ResNet, such as 50-deep. A backbone is learnt at stride 8,
and used at the network's own strides and dilations. With --whole the backbone goes on learning:
for networks whose backbone has layers that a ResNet has not.

Example:
    python scripts/check_precision.py deeplabv3plus_r50 --camvid CamVid --work precision
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.cli.options.types import ModelName
from dseg.datasets import load_dataset
from dseg.images import Pixels
from dseg.labels import IGNORE
from dseg.models import ModelCard, Normaliser, SegModel, build_model
from dseg.nn.backbones.resnet import DILATED, ResNet
from dseg.nn.backbones.wide_resnet import WideResNet
from dseg.predict import Predictor

LEARNT = (0, 60, 130, 200, 270, 340)  # of the training split, from all its sequences
UNSEEN = (0, 50)  # of the validation split
CLASSES = 11
USUAL: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
GENTLE = {"refinenet": 2e-4}  # learning rates of families without norms in their decoder
CPU = torch.device("cpu")


class Lesson(NamedTuple):
    """How a backbone is learnt before its last steps.

    Attributes:
        steps: of two frames each.
        start: the kind whose weights it begins with, where name and shape agree.
    """

    steps: int
    lr: float
    start: str | None = None


LESSONS = {
    "50-deep": Lesson(210, 1e-3),
    "50-plain": Lesson(60, 7e-4, "50-deep"),
    "101-deep": Lesson(36, 5e-4, "50-deep"),
    "101-plain": Lesson(36, 5e-4, "101-deep"),
    "wide-38": Lesson(30, 1e-3),
}
ALL_STEPS, ALL_LR = 16, 3e-4  # of a lesson's end, all frames in a batch


@dataclass(frozen=True)
class Frames:
    """Images with their masks, and what networks read of them.

    Attributes:
        images: (H, W, 3) uint8 each.
        train_ids: (N, H, W) int64.
        inputs: (N, 3, H, W), normalised.
    """

    images: list[Pixels]
    train_ids: Tensor
    inputs: Tensor


def read_frames(root: Path, split: str, numbers: tuple[int, ...], card: ModelCard) -> Frames:
    """Return frames of a split of CamVid."""
    dataset = load_dataset("camvid", root, split)
    images, masks = zip(*(map(np.array, dataset.read(number)) for number in numbers), strict=True)
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    train_ids = torch.from_numpy(np.stack(masks)).long()
    return Frames(list(images), train_ids, Normaliser(card, CPU)(stacked).contiguous())


class PlainHeads(nn.Module):
    """A backbone with a head on each of its last two maps."""

    def __init__(self, backbone: ResNet | WideResNet):
        super().__init__()
        self.backbone = backbone
        with torch.no_grad():
            maps = backbone.eval().maps(torch.zeros(1, 3, 64, 64))[-2:]
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(found.shape[1], 128, 3, padding=1, bias=False),
                nn.BatchNorm2d(128),
                nn.ReLU(),
                nn.Conv2d(128, CLASSES, 1),
            )
            for found in maps
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the logits of each head, the last map's last."""
        maps = self.backbone.maps(images)[-2:]
        return [head(found) for head, found in zip(self.heads, maps, strict=True)]


def find_loss(scores: Tensor, train_ids: Tensor) -> Tensor:
    """Return the cross-entropy of logits of any size, resized to the mask's."""
    size = train_ids.shape[-2:]
    scores = F.interpolate(scores, size, mode="bilinear", align_corners=True)
    return F.cross_entropy(scores, train_ids, ignore_index=IGNORE)


def draw_batches(steps: int, size: int) -> Iterator[list[int]]:
    """Yield the numbers of the frames of each step, each frame as often as another."""
    generator = torch.Generator().manual_seed(1)
    order: list[int] = []
    for _ in range(steps):
        order = order or torch.randperm(len(LEARNT), generator=generator).tolist()
        yield [order.pop() for _ in range(size)]


def learn(
    model: nn.Module,
    steps: int,
    lr: float,
    loss_of: Callable[[list[int], int], Tensor],
    *,
    size: int = 2,
) -> None:
    """Train by Adam and the poly schedule.

    Args:
        loss_of: by the numbers of the frames, and the step.
        size: frames of a step; a divisor of the number of frames.
    """
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(learning, lr, betas=(0.9, 0.99))
    for step, batch in enumerate(draw_batches(steps, size)):
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1, (step + 1) / 20) * (1 - step / steps) ** 0.9
        loss = loss_of(batch, step)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()


def end_training(model: nn.Module, show: Callable[[list[int]], object], *, size: int = 2) -> None:
    """Put a model into evaluation mode, its norms' statistics those of all frames.

    Args:
        show: runs frames, by their numbers.
        size: frames of a batch, as in training.
    """
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.training:
            module.reset_running_stats()
            module.momentum = None
        if isinstance(module, (nn.Dropout, nn.Dropout2d)):
            module.eval()
    with torch.no_grad():
        for first in range(0, len(LEARNT), size):
            show(list(range(first, first + size)))
    model.eval()


def learn_backbone(kind: str, frames: Frames, work: Path) -> dict[str, Tensor]:
    """Return the weights of a backbone that knows the frames, from WORK if they are there."""
    file = work / f"{kind}.pt"
    if file.exists():
        weights: dict[str, Tensor] = torch.load(file, weights_only=True)
        return weights
    lesson = LESSONS[kind]
    start = learn_backbone(lesson.start, frames, work) if lesson.start else {}
    torch.manual_seed(0)
    backbone = make_backbone(kind)
    if start:
        begin_with(backbone, start)
    learn_maps(backbone, frames, lesson)
    work.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")  # an interrupted run leaves no half of a file
    torch.save(backbone.state_dict(), part)
    part.replace(file)
    return backbone.state_dict()


def learn_maps(backbone: ResNet | WideResNet, frames: Frames, lesson: Lesson) -> None:
    """Train a backbone under heads of its own, two frames a step, in the end all frames a step.

    The end fits it to the statistics that its norms keep: those of two frames say little of all.
    """
    torch.manual_seed(0)
    model = PlainHeads(backbone).train()

    def loss_of(batch: list[int], step: int) -> Tensor:
        images, train_ids = frames.inputs[batch], frames.train_ids[batch]
        if step % 2:
            images, train_ids = images.flip(3), train_ids.flip(2)
        third, last = model(images)
        return 0.4 * find_loss(third, train_ids) + find_loss(last, train_ids)

    learn(model, lesson.steps, lesson.lr, loss_of)
    learn(model, ALL_STEPS, ALL_LR, loss_of, size=len(LEARNT))
    end_training(model, lambda batch: model(frames.inputs[batch]), size=len(LEARNT))


def make_backbone(kind: str) -> ResNet | WideResNet:
    if kind == "wide-38":
        return WideResNet()
    depth, _, stem = kind.partition("-")
    return ResNet(int(depth), 8, stem_width=64 if stem == "deep" else 0, layout=DILATED)


def kind_of(backbone: nn.Module) -> str:
    if isinstance(backbone, WideResNet):
        return "wide-38"
    weights = backbone.state_dict()
    depth = 101 if "layer3.22.conv1.weight" in weights else 50
    return f"{depth}-{'deep' if 'conv1.0.weight' in weights else 'plain'}"


def begin_with(backbone: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy the weights that fit; blocks without any hardly add to their shortcut at first."""
    mine = backbone.state_dict()
    for name, weight in mine.items():
        if name in weights and weights[name].shape == weight.shape:
            mine[name] = weights[name]
        elif re.fullmatch(r"layer\d\.\d+\.bn3\.weight", name):
            mine[name] = torch.full_like(weight, 0.05)
    backbone.load_state_dict(mine)


class StoredMaps(nn.Module):
    """What a backbone makes of images, computed once.

    Attributes:
        shown: numbers of the images whose maps are returned.
    """

    def __init__(self, backbone: ResNet | WideResNet, inputs: Tensor):
        super().__init__()
        self.shown: list[int] = []
        with torch.no_grad():
            self._maps = [backbone.eval().maps(image[None]) for image in inputs]

    def maps(self, image: Tensor) -> list[Tensor]:
        """Return the maps of the images that are shown."""
        return [
            torch.cat(levels)
            for levels in zip(*(self._maps[number] for number in self.shown), strict=True)
        ]

    def forward(self, image: Tensor) -> Tensor:
        """Return the last map of the images that are shown."""
        return self.maps(image)[-1]


def learn_network(name: str, frames: Frames, work: Path, steps: int, *, whole: bool) -> SegModel:
    """Return a network that knows the frames."""
    torch.manual_seed(0)
    model = build_model(name, CLASSES)
    model.card = replace(model.card, **USUAL, order="RGB")  # what the backbones read
    if "aux" in model._modules:
        model._modules["aux"] = None
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, (ResNet, WideResNet)):
        raise click.BadParameter(f"{name} has no backbone of these kinds: {', '.join(LESSONS)}.")
    begin_with(backbone, learn_backbone(kind_of(backbone), frames, work))
    if not whole:
        stored = StoredMaps(backbone, frames.inputs)
        model.add_module("backbone", stored)

    def show(pair: list[int]) -> Tensor:
        if not whole:
            stored.shown = pair
        return model.logits(frames.inputs[pair])[0]

    def loss_of(pair: list[int], step: int) -> Tensor:
        return find_loss(show(pair), frames.train_ids[pair])

    learn(model.train(), steps, GENTLE.get(name.partition("_")[0], 1e-3), loss_of)
    end_training(model, show)
    model.add_module("backbone", backbone)
    return model


def compare(model: SegModel, frames: Frames) -> dict[str, list[float]]:
    """Return for each frame the right pixels and the changed ones, in per cent.

    Changed are those that ``Predictor`` labels otherwise in bf16 than in float32; in channels_last,
    of the first frame, those that it labels otherwise than the network as it is, norms unfolded
    and memory contiguous.
    """
    found: dict[str, list[float]] = {"right": [], "bf16": [], "channels_last": []}
    exact = Predictor(model, device="cpu")
    reduced = Predictor(model, device="cpu", amp="bf16")
    model = model.to(memory_format=torch.contiguous_format)
    for number, (image, train_ids) in enumerate(zip(frames.images, frames.train_ids, strict=True)):
        labels = exact(image)
        known = train_ids.numpy() != IGNORE
        found["right"].append(percent((labels == train_ids.numpy())[known]))
        found["bf16"].append(percent(labels != reduced(image)))
        if number == 0:
            with torch.inference_mode():
                plain = model(frames.inputs[:1]).main.argmax(1)[0].numpy()
            found["channels_last"].append(percent(labels != plain))
    return found


def percent(mask: Any) -> float:
    return round(100 * float(mask.mean()), 4)


@click.command(help=__doc__)
@click.argument("networks", nargs=-1, required=True, type=ModelName())
@click.option(
    "--camvid", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True
)
@click.option("--work", type=click.Path(file_okay=False, path_type=Path), required=True)
@click.option("--steps", default=36, show_default=True, help="Of the rest of the network.")
@click.option("--whole", is_flag=True, help="The backbone goes on learning too.")
def main(networks: tuple[str, ...], camvid: Path, work: Path, steps: int, whole: bool) -> None:
    card = replace(build_model("dabnet").card, **USUAL, order="RGB")
    learnt = read_frames(camvid, "train", LEARNT, card)
    unseen = read_frames(camvid, "val", UNSEEN, card)
    for name in networks:
        model = learn_network(name, learnt, work, steps, whole=whole)
        row = {"learnt": compare(model, learnt), "unseen": compare(model, unseen)}
        print(json.dumps({"network": name, **row}), flush=True)


if __name__ == "__main__":
    main()
