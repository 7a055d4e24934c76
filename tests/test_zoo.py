"""Every registered network: its size, its shapes, and its logits against its authors' code."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
from goldens import (
    FOLDER,
    OF_GOLDEN,
    compare_cases,
    list_goldens,
    load_golden,
    load_recorded,
    read_contract,
    save_as_the_authors_do,
)
from registry_cases import one_fast_of_each_class
from torch.utils.flop_counter import FlopCounterMode

import dseg
from dseg.bench import count_cost
from dseg.checkpoints.keys import map_keys
from dseg.errors import DsegError
from dseg.models import SegModel, SegOutput, build_model, find_class
from dseg.registry import find_model, plain_name

AUTHORS = [n for n, spec in dseg.MODELS.items() if "DeepMotion" in spec.source]
AT_STRIDE_16 = [name for name in AUTHORS if name.endswith("_os16")]
WITH_AUX = [n for n in dseg.MODELS if "aux" in signature(find_class(n)).parameters]
NOT_LOGITS = re.compile("_argmax_hist$|_log_softmax$|^fold_")  # of a golden's recordings
AUX_OUTPUTS = {
    **{"ICNet": 3, "DFANet": 2, "BiSeNetV2": 4, "BiSeNet": 2, "DeepStemBiSeNet": 2, "DFN": 3},
    **{"DANet": 2, "DeepStemDANet": 2, "TramacDANet": 2},
}
LEAST_SIDES = {"GALDNet": 111}  # of networks that do not accept 16
SEMSEG_SIZE = (1025, 2049)  # the only size near 1024x2048 that these authors' networks accept
IN_VAIN = {  # the authors' operations without effect: auxiliary heads, keys twice, beyond a mask
    "icnet_fastseg": 100_084_096,
    "danet_r50_danet": 637_534_208,
    "danet_r101_danet": 637_534_208,
    "danet_r50_tramac": 637_534_208,
    "deeplabv3_r50_torchvision": 77_468_794_880,
    "ccnet_r50_ccnet": 156_757_992_960,
    "ccnet_r101_ccnet": 156_757_992_960,
    "ocnet_base_r50_ocnet": 161_103_422_976,
    "ocnet_base_r101_ocnet": 161_103_422_976,
    "ocnet_pyramid_r50_ocnet": 174_139_713_024,
    "ocnet_pyramid_r101_ocnet": 174_139_713_024,
    "ocnet_asp_r50_ocnet": 157_026_428_416,
    "ocnet_asp_r101_ocnet": 157_026_428_416,
    "ocnet_base_r50_tramac": 4_294_967_296,
    "ocnet_pyramid_r50_tramac": 17_179_869_184,
    "ocnet_asp_r50_tramac": 1_073_741_824,
    "psanet_r50_semseg": 19_750_993_920,
    "psanet_r101_semseg": 19_750_993_920,
    "dfn_r50_torchseg": 33_407_944_704,
    "dfn_r101_torchseg": 33_407_944_704,
}
SCRIPT = Path(__file__).parent.parent / "scripts" / "check_golden.py"


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def build_shapes(name: str, num_classes: int | None = None, **kwargs: object) -> SegModel:
    """Build a network on the meta device, where a forward pass costs nothing."""
    with torch.device("meta"):
        return build_model(name, num_classes, **kwargs)


@cache
def published(name: str) -> SegModel:
    """Return a published network on the meta device, in evaluation mode."""
    return build_shapes(name).eval()


def image(height: int, width: int, batch: int = 1) -> torch.Tensor:
    return torch.empty(batch, 3, height, width, device="meta")


def test_the_table_holds_the_networks_that_were_promised() -> None:
    assert len(dseg.MODELS) == 130
    assert len(AUTHORS) == 10
    assert len(AT_STRIDE_16) == 5
    assert len(WITH_AUX) == 75


@pytest.mark.parametrize("name", one_fast_of_each_class(dseg.MODELS))
def test_parameters_and_operations_are_those_of_the_table(name: str) -> None:
    cost = count_cost(name)
    assert cost.params == dseg.MODELS[name].params
    assert cost.macs == dseg.MODELS[name].macs
    assert cost.flops == 2 * cost.macs


@pytest.mark.parametrize("golden", OF_GOLDEN)
def test_the_table_has_the_size_that_was_recorded_of_the_authors_code(golden: str) -> None:
    name, contract = OF_GOLDEN[golden], read_contract(FOLDER, golden)
    spec = dseg.MODELS[name]
    assert spec.num_classes == contract["n_class"]
    if "deploy_state_dict" in contract:  # of a form for training; the table has the folded form
        folded = contract["macs_1024x2048_other"]["deploy form"]
        assert spec.params == contract["params_deploy_form_without_aux_head"]
        assert spec.macs == folded < contract["macs_1024x2048"] == count_unfolded_macs(name)
        assert count_kept(name, contract) == contract["params_without_aux_head"]
    else:
        assert spec.params == count_kept(name, contract)
    counts_aux = "_aux_" in golden or "_aug_" in golden
    if not counts_aux and "deploy_state_dict" not in contract:
        ours = count_cost(name, *SEMSEG_SIZE).macs if golden.endswith("_semseg") else spec.macs
        assert ours == contract["macs_1024x2048"] - IN_VAIN.get(golden, 0)
    facts = contract["mean_std"]
    if golden.endswith("_gald"):  # its scripts normalise in two ways
        (facts,) = (f for key, f in facts.items() if ("dualseg" in key) == ("dgcnet" in golden))
    assert (spec.mean, spec.std) == normalisation(facts)
    assert spec.order == facts.get("order", "RGB").split()[0]


def count_kept(name: str, contract: dict[str, Any]) -> int:
    """Count the authors' parameters that the published network has: no auxiliary heads."""
    shapes = {key: torch.empty(shape, device="meta") for key, shape in contract["state_dict"]}
    mapped = map_keys(find_class(name), shapes)
    options = find_class(name).options_for(mapped)
    form = {"folded": options["folded"]} if "folded" in options else {}
    ours = dict(build_shapes(name, **form).named_parameters())
    return sum(t.numel() for key, t in mapped.items() if key in ours)


def count_unfolded_macs(name: str) -> int:
    with FlopCounterMode(display=False) as counter:
        published(name).logits(image(1024, 2048))
    return counter.get_total_flops() // 2


def normalisation(facts: dict[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of RGB in 0..1; some contracts have them in 0..255."""
    if "mean_RGB" in facts:
        facts = {"mean": facts["mean_RGB"], "std": [1, 1, 1], "scale": "0..255"}
    step = -1 if facts.get("order") == "BGR" else 1
    scale = 255 if facts.get("scale") == "0..255" else 1
    mean, std = (tuple(number / scale for number in facts[key][::step]) for key in ("mean", "std"))
    return mean, std


def test_operations_of_the_form_for_training() -> None:
    assert count_cost("gcnet_s", folded=False)[:2] == (20_657_075, 102_551_322_624)


def test_operations_at_another_size() -> None:
    assert count_cost("denseaspp121", 320, 320).macs == 15_077_273_600


@pytest.mark.parametrize("size", [(16, 16), (17, 35), (64, 96)], ids=str)
@pytest.mark.parametrize("name", one_fast_of_each_class(dseg.MODELS))
def test_logits_are_as_large_as_the_image(name: str, size: tuple[int, int]) -> None:
    model = published(name)
    assert model.min_size == LEAST_SIDES.get(type(model).__name__, 16)
    out = model(image(*size))
    assert isinstance(out, SegOutput)
    assert out.main.shape == (1, dseg.MODELS[name].num_classes, *size)
    assert out.aux == ()


@pytest.mark.parametrize("name", ["mobilenetdenseaspp", "denseaspp_densenet121_citys"])
def test_logits_of_the_smallest_image_are_numbers(name: str) -> None:
    model = build_model(name, output_stride=16).eval()
    main = model(torch.zeros(1, 3, 16, 16)).main
    assert main.shape == (1, 19, 16, 16)
    assert main.isfinite().all()


@pytest.mark.parametrize("name", one_fast_of_each_class(WITH_AUX))
def test_an_auxiliary_head_speaks_in_training_only(name: str) -> None:
    model = build_shapes(name, 5, aux=True)
    assert model.training
    out = model(image(33, 65, batch=2))
    assert {scores.shape for scores in (out.main, *out.aux)} == {(2, 5, 33, 65)}
    assert len(out.aux) == AUX_OUTPUTS.get(find_class(name).__name__, 1)
    assert [edges.shape for edges in out.edges] == [(2, 1, 33, 65)] * model.num_edges
    assert model.eval()(image(33, 65))[1:] == ((), ())
    assert build_shapes(name)(image(33, 65, batch=2))[1:] == ((), ())


@pytest.mark.parametrize("name", WITH_AUX)
def test_an_auxiliary_head_is_built_on_request_only(name: str) -> None:
    extra = build_shapes(name, aux=True).state_dict().keys() - published(name).state_dict().keys()
    assert {key.split(".")[0] for key in extra} == {"aux"}


@pytest.mark.parametrize("name", one_fast_of_each_class(dseg.MODELS))
def test_another_number_of_classes_has_its_own_label_space(name: str) -> None:
    model = build_shapes(name, 7).eval()
    assert model(image(16, 16)).main.shape == (1, 7, 16, 16)
    assert model.card.label_space.name == "unnamed-7"
    assert model.card.network == name
    assert published(name).card.label_space.name == dseg.MODELS[name].label_space


@pytest.mark.parametrize("name", AT_STRIDE_16)
def test_stride_16_gives_logits_as_large_as_stride_8(name: str) -> None:
    coarse, fine = published(name), published(name.removesuffix("_os16"))
    assert fine.logits(image(48, 80))[0].shape == (1, 19, 48, 80)
    assert coarse.logits(image(48, 80))[0].shape == (1, 19, 48, 80)
    assert coarse.backbone(image(48, 80)).shape[-2:] == (3, 5)
    assert fine.backbone(image(48, 80)).shape[-2:] == (6, 10)


@pytest.mark.parametrize(
    ("name", "odd"),
    [
        ("denseaspp121", (96, 192)),  # pooling drops the last row and column
        ("denseaspp121_os16", (96, 192)),
        ("mobilenetdenseaspp", (104, 200)),  # convolutions of stride 2 keep them
        ("mobilenetdenseaspp_os16", (112, 208)),
    ],
)
def test_logits_of_an_odd_image_before_they_are_resized(name: str, odd: tuple[int, int]) -> None:
    assert published(name).logits(image(97, 193))[0].shape == (1, 19, *odd)


@pytest.mark.parametrize("name", AT_STRIDE_16)
def test_stride_16_has_the_keys_of_stride_8(name: str) -> None:
    coarse, fine = published(name), published(name.removesuffix("_os16"))
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (coarse, fine)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("DenseASPP161", "denseaspp161"),
        ("dense-ASPP_161", "denseaspp161"),
        ("MobileNetDenseASPP", "mobilenetdenseaspp"),
        ("DenseASPP-DenseNet121-Citys", "denseaspp_densenet121_citys"),
        ("denseaspp 121 OS16", "denseaspp121_os16"),
    ],
)
def test_names_in_any_spelling(typed: str, key: str) -> None:
    assert find_model(typed) == key
    assert find_class(typed) is find_class(key)


def test_no_two_networks_share_a_spelling() -> None:
    assert len({plain_name(name) for name in dseg.MODELS}) == len(dseg.MODELS)


@pytest.mark.parametrize(
    ("typed", "near"), [("DenseASSP161", "denseaspp161"), ("mobilenet-aspp", "mobilenetdenseaspp")]
)
def test_a_wrong_name_is_told_the_nearest(typed: str, near: str) -> None:
    with pytest.raises(DsegError) as caught:
        build_model(typed)
    assert caught.value.problem == f"Unknown network {typed!r}."
    assert f"did you mean {near}" in caught.value.hint
    assert caught.value.hint.endswith("List all: dseg models")


def test_a_name_that_is_near_to_none_gets_no_guess() -> None:
    with pytest.raises(DsegError) as caught:
        find_model("zzz")
    assert caught.value.hint == "List all: dseg models"


def test_an_unknown_argument_is_told_the_known_ones() -> None:
    with pytest.raises(DsegError) as caught:
        build_model("denseaspp121", aux=True)
    assert caught.value.problem == "Unknown argument 'aux' of denseaspp121."
    assert caught.value.hint == "it has: depth, mid, growth, output_stride."


@pytest.mark.parametrize("name", ["denseaspp121", "mobilenetdenseaspp"])
def test_an_output_stride_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(DsegError, match="output stride 4"):
        build_model(name, output_stride=4)


def test_every_golden_file_belongs_to_a_network_and_is_there() -> None:
    assert list_goldens(FOLDER) == sorted(OF_GOLDEN)
    for golden in OF_GOLDEN:
        assert (FOLDER / f"{golden}.json").is_file()
        outputs = read_contract(FOLDER, golden)["outputs"]
        assert not outputs or outputs.keys() <= set(load_recorded(FOLDER, golden).files)


# Sizes and forms of which others of the same release are tested anyway.
OTHER_SIZES = {
    *("denseaspp169_deepmotion", "denseaspp_densenet161_voc_tramac", "pspnet101_fastseg"),
    *("denseaspp_densenet169_citys_tramac", "denseaspp_densenet201_citys_tramac"),
    *("efficientvit_seg_b1_mithanlab", "gcnet_m_gyyang", "gcnet_m_deploy_gyyang"),
    *("gcnet_l_deploy_gyyang", "pidnet_m_xujiacong", "pidnet_l_xujiacong"),
    *("pidnet_m_aug_xujiacong", "ddrnet_23_ydhonghit"),
}


def _goldens() -> list[Any]:
    """Return all goldens; of two depths of one release, the deeper one is slow."""
    names = list_goldens(FOLDER)
    slow = {name for name in names if "r101" in name and name.replace("r101", "r50") in names}
    slow |= OTHER_SIZES
    return [pytest.param(name, marks=pytest.mark.slow if name in slow else ()) for name in names]


@pytest.mark.parametrize("golden", _goldens())
def test_logits_match_the_authors_code(golden: str, tmp_path: Path) -> None:
    contract = read_contract(FOLDER, golden)
    file = tmp_path / "authors.pth"
    save_as_the_authors_do(contract, file)
    model = load_golden(golden, file)
    found = {difference.case: difference for difference in compare_cases(model, FOLDER, golden)}
    recorded = load_recorded(FOLDER, golden).files if contract["outputs"] else []
    if not (FOLDER / f"{golden}.npz").is_file():  # those of the network with auxiliary heads
        recorded = list(contract["outputs"])
    assert sorted(found) == sorted(key for key in recorded if not NOT_LOGITS.search(key))
    assert [case for case, difference in found.items() if not difference.passed] == []


def test_a_wrong_weight_fails_its_golden(tmp_path: Path) -> None:
    golden = "mobilenetdenseaspp_deepmotion"
    file = tmp_path / "authors.pth"
    save_as_the_authors_do(read_contract(FOLDER, golden), file)
    model = dseg.load_model(OF_GOLDEN[golden], weights=file)
    model.classifier.bias[3] += 0.001
    assert not any(difference.passed for difference in compare_cases(model, FOLDER, golden))


@pytest.mark.parametrize("lost", ["json", "npz", "entry"])
def test_check_golden_fails_where_a_file_or_the_networks_entry_is_missing(
    lost: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = importlib.util.spec_from_file_location("check_golden", SCRIPT)
    assert loaded is not None and loaded.loader is not None
    script = importlib.util.module_from_spec(loaded)
    monkeypatch.setattr(sys, "path", [*sys.path])  # the script puts tests/ in front
    loaded.loader.exec_module(script)
    golden = "mobilenetdenseaspp_deepmotion"
    for suffix in ("json", "npz"):
        shutil.copy(FOLDER / f"{golden}.{suffix}", tmp_path)
    assert script.check(golden, tmp_path, tmp_path)
    if lost == "entry":
        monkeypatch.delitem(OF_GOLDEN, golden)
    else:
        (tmp_path / f"{golden}.{lost}").unlink()
    assert not script.check(golden, tmp_path, tmp_path)
    assert "FAIL" in capsys.readouterr().out
