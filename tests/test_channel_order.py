"""Images for networks that read blue, green and red."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stand_ins import MEAN, STD, StandIn, draw, predictor

from dseg.checkpoints import load_model, read_checkpoint, save_model
from dseg.errors import CheckpointError
from dseg.models import Normaliser, build_model


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_channels_are_normalised_by_their_own_numbers_and_then_ordered(order: str) -> None:
    card = replace(StandIn().card, order=order)
    images = torch.tensor([10, 20, 30], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 4, 5)
    found = Normaliser(card, torch.device("cpu"))(images)
    by_hand = [(v / 255 - m) / s for v, m, s in zip((10, 20, 30), MEAN, STD, strict=True)]
    expected = by_hand if order == "RGB" else by_hand[::-1]
    assert found.shape == (2, 3, 4, 5)
    assert found[1, :, 2, 3].tolist() == pytest.approx(expected, abs=1e-5)
    assert images[0, :, 0, 0].tolist() == [10, 20, 30]


def test_the_predictor_hands_a_network_the_order_that_it_reads() -> None:
    model, image = StandIn(), draw(40, 60)
    expected = predictor(model).scores(image)
    model.conv.weight.data = model.conv.weight.data.flip(1)
    model.card = replace(model.card, order="BGR")
    torch.testing.assert_close(predictor(model).scores(image), expected, rtol=1e-4, atol=1e-4)


def test_the_order_is_kept_in_our_own_files(tmp_path: Path) -> None:
    model = build_model("dabnet", 2)
    model.card = replace(model.card, order="BGR")
    save_model(model, tmp_path / "bgr.safetensors")
    assert load_model(weights=tmp_path / "bgr.safetensors").card.order == "BGR"
    model.card = replace(model.card, order="GBR")
    save_model(model, tmp_path / "odd.safetensors")
    with pytest.raises(CheckpointError, match="damaged metadata"):
        read_checkpoint(tmp_path / "odd.safetensors")


def test_a_file_written_before_there_was_another_order_is_rgb(tmp_path: Path) -> None:
    file = Path(__file__).parents[1] / "dseg" / "weights" / "dabnet.safetensors"
    card = read_checkpoint(file).card
    assert card is not None and card.order == "RGB"
    assert np.isclose(card.std[0], 1 / 255)
