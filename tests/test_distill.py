"""Distillation: its losses, what a teacher's outputs mean, and what a network learns from it."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_runs import save_noise
from tiny_data import make_camvid
from torch import Tensor
from train_loops import CPU, make_trainer

from dseg.config import DistillConfig
from dseg.data.loader import load_batches
from dseg.data.sampler import StepSampler
from dseg.data.stream import VOID, Batch, Stream, read_unlabelled
from dseg.data.transforms import Augmentation
from dseg.datasets import load_dataset
from dseg.datasets.mapping import match_outputs
from dseg.errors import DsegError
from dseg.labels import CAMVID, CITYSCAPES, IGNORE, VOC, LabelSpace
from dseg.losses import channels_loss, logits_loss
from dseg.models import ModelCard, Normaliser, SegModel, SegOutput, make_card
from dseg.training.distill import Distillation, find_unlabelled, make_distillation
from dseg.training.teacher import Taught, Teacher, find_outputs

THREE_TO_ONE = 2 * math.log(3)  # at temperature 2 a probability of 3/4 beside a logit of 0
KL = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)  # of (3/4, 1/4) from (1/2, 1/2): 0.1308


def test_the_logits_loss_is_the_divergence_of_each_pixel() -> None:
    student = torch.zeros(1, 2, 1, 3)
    teacher = torch.zeros(1, 2, 1, 3)
    teacher[0, 0] = THREE_TO_ONE
    every = torch.ones(1, 1, 3)
    assert pytest.approx(0.130812, abs=1e-6) == KL
    assert logits_loss(student, teacher, every, 2.0).item() == pytest.approx(0.523248, abs=1e-6)
    # pixels with a weight of 0 do not count, those with less than 1 count as pixels
    weights = torch.tensor([[[1.0, 0.5, 0.0]]])
    assert logits_loss(student, teacher, weights, 2.0).item() == pytest.approx(0.392436, abs=1e-6)
    assert logits_loss(student + 7, teacher - 3, every, 2.0).item() == pytest.approx(4 * KL)
    # at temperature 1 the teacher's probabilities are 0.9 and 0.1
    expected = 0.9 * math.log(1.8) + 0.1 * math.log(0.2)
    assert logits_loss(student, teacher, every, 1.0).item() == pytest.approx(expected, abs=1e-6)


def test_the_channels_loss_is_the_divergence_over_the_positions() -> None:
    student = torch.zeros(1, 2, 1, 3, requires_grad=True)
    teacher = torch.tensor([[[[THREE_TO_ONE, 0.0, 90.0]], [[0.0, 0.0, -5.0]]]])
    inside = torch.tensor([[[True, True, False]]])
    loss = channels_loss(student, teacher, inside, 2.0)
    assert loss.item() == pytest.approx(0.261624, abs=1e-6)  # 4 / 2 channels * (0.1308 + 0)
    (gradient,) = torch.autograd.grad(loss, student)
    # T^2 / C * (p_student - p_teacher) / T
    expected = torch.tensor([[[[-0.25, 0.25, 0.0]], [[0.0, 0.0, 0.0]]]])
    torch.testing.assert_close(gradient, expected)


def test_the_loss_of_a_batch_is_the_mean_of_its_parts() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 4, 3, 5, 6, generator=generator)
    marks = torch.zeros(4, 5, 6, dtype=torch.uint8)
    marks[0, 2:], marks[3, :, 1:] = IGNORE, IGNORE
    parts = [slice(0, 2), slice(2, 4)]
    made = Distillation(config(), lambda images: None, None, labelled=2)  # type: ignore[arg-type]
    whole = made(SegOutput(student), Taught(teacher, None), marks)
    halves = [made(SegOutput(student[p]), Taught(teacher[p], None), marks[p]) for p in parts]
    assert whole.item() == pytest.approx(sum(half.item() for half in halves) / 2, rel=1e-5)
    teacher[0, :, 2:] = 99  # padding
    assert made(SegOutput(student), Taught(teacher, None), marks).item() == whole.item()
    marks[0, 0] = VOID  # void and unlabelled pixels count
    assert made(SegOutput(student), Taught(teacher, None), marks).item() == whole.item()


def config(**values: Any) -> DistillConfig:
    return DistillConfig(teachers=(("teacher.pth", "0" * 64),), **values)


@pytest.mark.parametrize(
    ("own", "target", "expected"),
    [
        (CAMVID, CAMVID, tuple(range(11))),
        (CAMVID, CITYSCAPES, (10, 2, 5, 0, 1, 8, 7, 4, 13, 11, IGNORE)),
        (
            *(CITYSCAPES, CAMVID),
            (3, 4, 1, 1, 7, 2, 6, 6, 5, 5, 0, 9, 10, 8, 8, 8, 8, 10, 10),
        ),
    ],
)
def test_classes_are_matched_in_both_directions(own, target, expected) -> None:
    assert match_outputs(own, target) == expected


def test_a_void_output_is_left_out() -> None:
    card = make_card("espnet_camvid", 12, {})
    assert card.num_outputs == 12
    void = card.outputs.index(IGNORE)
    outputs = find_outputs(card, CAMVID)
    assert sorted(outputs) == list(range(11)) and [void] not in outputs.values()
    assert {len(of_class) for of_class in outputs.values()} == {1}
    with pytest.raises(DsegError, match="fewer than two"):
        find_outputs(replace(card, label_space=VOC, outputs=()), CAMVID)


class Given(SegModel):
    """A network whose logits are linear in the red channel, from 0 to 1."""

    def __init__(self, factors: list[float], offsets: list[float], card: ModelCard):
        super().__init__()
        self.card = card
        self.factors = torch.nn.Parameter(torch.tensor(factors).view(1, -1, 1, 1))
        self.offsets = torch.nn.Parameter(torch.tensor(offsets).view(1, -1, 1, 1))

    def logits(self, image: Tensor) -> list[Tensor]:
        return [image[:, :1] * self.factors + self.offsets]


def make_given(
    factors: list[float],
    offsets: list[float] | None = None,
    outputs: tuple[int, ...] = (),
    space: LabelSpace = CAMVID,
) -> Given:
    card = ModelCard(
        **{"network": "given", "kwargs": {}, "label_space": space, "outputs": outputs},
        **{"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)},
    )
    return Given(factors, offsets or [0.0] * len(factors), card)


def test_a_teacher_gives_its_classes_and_how_sure_it_is_of_them() -> None:
    image = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    image[:, 0] = 255  # 1.0 for the network
    one = make_given([math.log(2), math.log(3), math.log(5)], outputs=(IGNORE, 4, 1))
    teacher = Teacher([one], CAMVID, CPU)
    assert teacher.classes == (1, 4)  # sorted
    taught = teacher(image)
    torch.testing.assert_close(taught.logits[0, :, 0, 0], torch.tensor([5.0, 3.0]).log())
    assert taught.certain is not None
    assert taught.certain[0, 0, 0].item() == pytest.approx(0.8)
    # two teachers: the mean of (5/8, 3/8) and (1/4, 3/4); the second has no other output
    both = Teacher([one, make_given([math.log(3), 0.0], outputs=(4, 1))], CAMVID, CPU)(image)
    torch.testing.assert_close(both.logits[0, :, 0, 0].exp(), torch.tensor([0.4375, 0.5625]))
    assert both.certain is not None and both.certain[0, 0, 0].item() == pytest.approx(0.9)


def test_a_class_of_several_outputs_has_their_probability_together() -> None:
    image = torch.full((1, 3, 16, 16), 255, dtype=torch.uint8)
    # road, wall and building of Cityscapes; the last two are Building in CamVid
    factors = [math.log(2), math.log(3), math.log(4)]
    city = make_given(factors, outputs=(0, 3, 2), space=CITYSCAPES)
    teacher = Teacher([city], CAMVID, CPU)
    assert teacher.classes == (1, 3)  # Building, Road
    taught = teacher(image)
    torch.testing.assert_close(taught.logits[0, :, 0, 0].exp(), torch.tensor([7.0, 2.0]))
    assert taught.certain is not None
    assert taught.certain[0, 0, 0].item() == pytest.approx(1.0)


def test_only_padding_is_ignored_and_unlabelled_images_come_last(tmp_path: Path) -> None:
    data = load_dataset("camvid", make_camvid(tmp_path / "data", train=4), "train")
    save_noise(tmp_path / "more/a.png", 40, 56)
    more = find_unlabelled([str(tmp_path / "more")], CAMVID)
    crop = Augmentation(crop=(48, 56))  # 8 rows more than the images have
    options: dict[str, Any] = {"seed": 0, "fill": (0, 0, 0)}
    unlabelled = Stream(more, crop, **options, read=partial(read_unlabelled, more))
    stream = Stream(data, crop, **options, marked=True, unlabelled=unlabelled)
    plan = StepSampler(batch=2, last=2, unlabelled=1)
    for batch in load_batches(stream, plan, workers=0):
        assert batch.names[2] == "a" and "a" not in batch.names[:2]
        assert (batch.train_ids == IGNORE).sum((1, 2)).tolist() == [8 * 56] * 3
        assert set(batch.train_ids[2].unique().tolist()) == {VOID, IGNORE}
        plain = Stream(data, crop, **options)
        for number, name in enumerate(batch.names[:2]):
            place = next(p for p in range(4) if plain.crop(p).name == name)
            ids = plain.crop(place).train_ids
            void = (ids == IGNORE) & (batch.train_ids[number] != IGNORE)
            assert torch.equal(torch.where(void, VOID, ids), batch.train_ids[number])


def test_each_process_reads_its_own_unlabelled_images() -> None:
    plan = {"batch": 8, "accumulate": 2, "world_size": 2, "unlabelled": 3, "first": 1, "last": 2}
    first, second = (list(StepSampler(**plan, rank=rank)) for rank in (0, 1))  # type: ignore[arg-type]
    assert first == [[8, 9, -13, -14, -15], [12, 13, -19, -20, -21]]
    assert second == [[10, 11, -16, -17, -18], [14, 15, -22, -23, -24]]


def make_images() -> Tensor:
    """Return four images, (4, 3, 32, 64), of squares of 8x8 pixels, each dark or bright."""
    generator = torch.Generator().manual_seed(0)
    squares = torch.randint(0, 2, (4, 1, 4, 8), generator=generator, dtype=torch.uint8)
    return (200 * squares).repeat_interleave(8, 2).repeat_interleave(8, 3).expand(4, 3, 32, 64)


def make_squares_teacher() -> tuple[Given, Teacher]:
    """Return a teacher for which dark pixels are road and bright ones vegetation."""
    factors, offsets = [0.0] * 19, [-12.0] * 19
    offsets[0], factors[8], offsets[8] = 0.0, 40.0, -16.0
    network = make_given(factors, offsets, space=CITYSCAPES)
    return network, Teacher([network.requires_grad_(False)], CITYSCAPES, CPU)


@pytest.mark.parametrize("losses", ["logits", "both"])
def test_a_network_learns_from_the_teacher_alone(losses: str) -> None:
    images = make_images()
    batch = Batch(images, torch.full((4, 32, 64), VOID, dtype=torch.uint8), [], [])
    network, teacher = make_squares_teacher()
    wanted = teacher(images).logits.argmax(1)
    assert torch.equal(wanted, torch.where(images[:, 0] > 100, 8, 0))
    trainer = make_trainer("lr=0.02", "batch=4", "schedule=constant", steps=30)
    trainer.update.distillation = make_distillation(
        config(distill=losses), teacher, CITYSCAPES, CPU, labelled=0
    )
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    before = agreement(trainer.model, images, wanted)
    for step in range(30):
        loss = trainer.update(step, [batch]).loss
    assert loss.isfinite()
    assert before < 0.3 and agreement(trainer.model, images, wanted) > 0.8
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


@torch.no_grad()
def agreement(model: SegModel, images: Tensor, wanted: Tensor) -> float:
    """Return the fraction of pixels with the wanted class, by the statistics of the batch."""
    found = model.train()(Normaliser(model.card, CPU)(images)).main.argmax(1)
    return float((found == wanted).float().mean())


def test_masks_have_the_recipe_s_loss_beside_that_of_the_teacher(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = make_images()
    marks = torch.full((4, 32, 64), VOID, dtype=torch.uint8)
    marks[:2, :16], marks[:2, 30:] = 3, IGNORE
    labels = torch.where(marks[:2] == VOID, IGNORE, marks[:2])
    losses = []
    for taught, masks, count in ((False, labels, 2), (True, marks, 4)):
        trainer = make_trainer("batch=2", "lr=0")
        if taught:
            trainer.update.distillation = make_distillation(
                config(logits_weight=0.0, channels_weight=0.0),
                *(make_squares_teacher()[1], CITYSCAPES, CPU),
                labelled=2,
            )
        monkeypatch.setattr(trainer.model.eval(), "train", lambda: None)  # as norms mix images
        losses.append(trainer.update(0, [Batch(images[:count], masks, [], [])]).loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
