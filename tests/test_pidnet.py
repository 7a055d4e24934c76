"""PIDNet: what its auxiliary heads read, and maps of odd images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from golden.fill import make_input
from goldens import FOLDER, load_golden, read_contract, save_as_the_authors_do

from dseg.models import build_model

GOLDEN = "pidnet_s_aug_xujiacong"


def test_without_the_in_place_relu_the_auxiliary_logits_differ_as_recorded(tmp_path: Path) -> None:
    contract = read_contract(FOLDER, GOLDEN)
    facts = contract["outputs"]["even"]
    save_as_the_authors_do(contract, tmp_path / "authors.pth")
    model = load_golden(GOLDEN, tmp_path / "authors.pth")
    model.training = True  # not of its submodules: auxiliary logits, but norms in evaluation
    view = torch.from_numpy(make_input(facts["seed"], facts["height"], facts["width"]))
    with torch.inference_mode():
        rectified = model.logits(view)
        model.rectified_aux = False
        plain = model.logits(view)
    change = [float((a - b).abs().max()) for a, b in zip(rectified, plain, strict=True)]
    stats = [facts, *facts["aux_stats"]]
    wanted = contract["if_the_shared_relu_were_not_in_place"]
    assert change[0] == wanted["main_max_change_over_std"] == 0
    found = [value / fact["std"] for value, fact in zip(change, stats, strict=True)]
    assert found[1:] == pytest.approx(wanted["aux_max_change_over_std"], rel=1e-3)


def test_the_switch_is_a_constructor_argument() -> None:
    with torch.device("meta"):
        assert build_model("pidnet_s", aux=True).rectified_aux
        assert not build_model("pidnet_s", aux=True, rectified_aux=False).rectified_aux


@pytest.mark.parametrize("name", ["pidnet_s", "pidnet_l", "ddrnet_23_slim"])
@pytest.mark.parametrize(("size", "eighth"), [((97, 193), (13, 25)), ((16, 16), (2, 2))])
def test_maps_of_any_image_are_at_an_eighth_rounded_up(
    name: str, size: tuple[int, int], eighth: tuple[int, int]
) -> None:
    with torch.device("meta"):
        model = build_model(name, 4, aux=True)
        found = [tuple(scores.shape) for scores in model.logits(torch.empty(2, 3, *size))]
    assert found[:2] == [(2, 4, *eighth)] * 2
    assert found[2:] == [(2, 1, *eighth)] * model.num_edges
