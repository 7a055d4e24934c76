"""``dseg infer`` with the authors' checkpoint files gives the authors' masks.

Each network's file is saved as its authors do. The expected mask is that of their
evaluation of the same image, reimplemented, with the network's own logits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from authors_masks import (
    ADE20K,
    CAFFE,
    COCOSTUFF,
    COINCHEUNG,
    DABNET,
    DABNET_CAMVID,
    DEEPMOTION,
    IMAGENET,
    IMAGENET_255,
    OCNET,
    ORSIC,
    Mask,
    Normalise,
    Size,
    bisenet,
    by_cubes,
    draw_image,
    fraction_equal,
    infer,
    labels_of,
    padded_to_8k_and_1,
    save_authors_file,
    shows_classes,
    torchvision_preset,
    with_corners,
    with_outputs,
    without_corners,
)
from goldens import FOLDER, read_contract

from dseg.checkpoints import read_checkpoint
from dseg.checkpoints.identify import choose_network
from dseg.images import Pixels
from dseg.models import build_model


@dataclass(frozen=True)
class Case:
    """A network and its authors' evaluation.

    Attributes:
        golden: the recording that lists the authors' keys.
        read: their normalisation.
        mask: their pre- and post-processing.
        size: (height, width) of the image.
        outputs: number of outputs in the file, by default the golden's.
        inplace_abn: the authors' norms use the absolute values of their weights.
        calibrated: give norms the statistics of the image. After linear attention, whose result
            hardly differs between positions, that would multiply rounding errors in every block.
        least: smallest accepted fraction of equal pixels.
        slow: whether the case takes about 10 seconds, or resembles another.
    """

    golden: str
    read: Normalise
    mask: Mask
    size: Size = (360, 480)
    outputs: int = 0
    inplace_abn: bool = False
    calibrated: bool = True
    least: float = 0.999
    slow: bool = False


SMALL = (180, 240)
SMALL_8 = (184, 240)  # multiples of 8
SMALL_8K_AND_1 = (177, 241)  # sides that semseg's networks accept
CASES = {
    "denseaspp121": Case("denseaspp121_deepmotion", DEEPMOTION, with_corners, SMALL),
    "mobilenetdenseaspp": Case("mobilenetdenseaspp_deepmotion", DEEPMOTION, with_corners),
    "denseaspp_densenet121_citys": Case(
        "denseaspp_densenet121_citys_tramac", IMAGENET, with_corners, SMALL
    ),
    "denseaspp_densenet121_voc": Case(
        "denseaspp_densenet121_voc_tramac", IMAGENET, with_corners, SMALL, slow=True
    ),
    "dabnet": Case("dabnet_cityscapes_reagan", DABNET, without_corners),
    "dabnet_camvid": Case("dabnet_camvid_reagan", DABNET_CAMVID, without_corners),
    "icnet": Case("icnet_fastseg", CAFFE, with_corners),
    "dfsegv1": Case("dfsegv1_fastseg", IMAGENET, with_corners),
    "bisenetv1": Case("bisenetv1_coincheung", COINCHEUNG, bisenet),
    "bisenetv2": Case("bisenetv2_coincheung", COINCHEUNG, bisenet),
    "bisenetv1_coco": Case(
        "bisenetv1_coincheung", COCOSTUFF, partial(bisenet, short=512), outputs=171
    ),
    "bisenetv2_ade20k": Case(
        "bisenetv2_coincheung", ADE20K, partial(bisenet, short=512), outputs=150
    ),
    "bisenet_fastseg": Case("bisenet_fastseg", CAFFE, with_corners),
    "dfanet": Case("dfanet_fastseg", IMAGENET, with_corners, (384, 512), least=0.96),
    "ddrnet_23_slim": Case("ddrnet_23_slim_aug_ydhonghit", IMAGENET, without_corners),
    "ddrnet_23": Case("ddrnet_23_ydhonghit", IMAGENET, without_corners, SMALL_8, slow=True),
    "pidnet_s": Case("pidnet_s_aug_xujiacong", IMAGENET, with_corners),
    "pidnet_m": Case("pidnet_m_aug_xujiacong", IMAGENET, with_corners, SMALL_8, slow=True),
    "pidnet_l": Case("pidnet_l_aug_xujiacong", IMAGENET, with_corners, SMALL_8, slow=True),
    "swiftnet_r18": Case("swiftnet_rn18_single_orsic", ORSIC, without_corners),
    "swiftnet_pyramid_r18": Case("swiftnet_rn18_pyramid_orsic", ORSIC, without_corners),
    "swiftnet_fastseg": Case("swiftnet_fastseg", IMAGENET, with_corners),
    "fastscnn": Case("fastscnn_fastseg", IMAGENET, with_corners),
    "espnet_fastseg": Case("espnet_fastseg", IMAGENET, without_corners),
    "espnet_c_fastseg": Case("espnetc_fastseg", IMAGENET, without_corners),
    **{
        f"efficientvit_{size}": Case(
            f"efficientvit_seg_{size}_mithanlab",
            *(IMAGENET, by_cubes, (192, 249)),
            calibrated=False,
            slow=size != "b0",
        )
        for size in ("b0", "b1", "b2", "l1")
    },
    "gald_r50": Case("gald_r50_gald", CAFFE, with_corners, SMALL, slow=True),
    "dgcnet_r50": Case("dgcnet_r50_gald", IMAGENET, with_corners, SMALL, slow=True),
    "pspnet_r50_gald": Case("pspnet_r50_gald", CAFFE, with_corners, SMALL, slow=True),
    "danet_r50": Case("danet_r50_danet", IMAGENET, with_corners, SMALL, slow=True),
    "danet_r50_tramac": Case("danet_r50_tramac", IMAGENET, with_corners, SMALL, slow=True),
    "ccnet_r50": Case("ccnet_r50_ccnet", CAFFE, with_corners, SMALL, inplace_abn=True, slow=True),
    "ocnet_base_r50": Case(
        "ocnet_base_r50_ocnet", OCNET, with_corners, SMALL, inplace_abn=True, slow=True
    ),
    "emanet_r50": Case("emanet_r50_emanet", IMAGENET, padded_to_8k_and_1, SMALL),
    "psanet_r50": Case("psanet_r50_semseg", IMAGENET_255, with_corners, SMALL_8K_AND_1, slow=True),
    "pspnet_r50": Case("pspnet_r50_semseg", IMAGENET_255, with_corners, SMALL_8K_AND_1),
    "deeplabv3_r50_voc": Case(
        "deeplabv3_r50_torchvision",
        *(IMAGENET, torchvision_preset, (180, 238)),
        outputs=21,
        slow=True,
    ),
    "deeplabv3plus_r50": Case(
        "deeplabv3plus_r50_decouple", IMAGENET, with_corners, SMALL, slow=True
    ),
    "deeplabv3plus_r50_nvidia": Case(
        "deeplabv3plus_r50_nvidia", IMAGENET, without_corners, SMALL, slow=True
    ),
    "dfn_r50": Case("dfn_r50_torchseg", IMAGENET, with_corners, (192, 256), slow=True),
    "refinenet_r50": Case("refinenet_r50_drsleep", IMAGENET, by_cubes, SMALL, slow=True),
    "lraspp_mobilenetv3_voc": Case(
        "lraspp_mobilenet_v3_large_torchvision",
        *(IMAGENET, torchvision_preset, (180, 238)),
        slow=True,
    ),
    "sfnet_r18": Case("sfnet_r18_lxtgh", IMAGENET, with_corners, SMALL),
    "sfnet_lite_r18": Case("sfnet_lite_r18_lxtgh", IMAGENET, with_corners, SMALL, slow=True),
    "gff_wr38": Case("gff_wr38_decouple", IMAGENET, with_corners, SMALL, slow=True),
    "gcnet_s": Case("gcnet_s_gyyang", IMAGENET_255, without_corners),
}
SLOW = [pytest.param(n, marks=pytest.mark.slow) if c.slow else n for n, c in CASES.items()]
FOUND = [
    "mobilenetdenseaspp",
    "dabnet",
    "bisenetv2",
    "pidnet_s",
    "swiftnet_r18",
    "espnet_c_fastseg",
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that is removed after the test: files of accurate networks are large."""
    with TemporaryDirectory() as name:
        yield Path(name)


def prepare(name: str, case: Case, file: Path) -> tuple[Pixels, Pixels]:
    """Save a network's file; return an image and its authors' mask."""
    contract = read_contract(FOLDER, case.golden)
    if case.outputs:
        contract = with_outputs(contract, case.outputs)
    image = draw_image(*case.size)
    buffers = {"mean": case.read.mean, "std": case.read.std} if case.read is ORSIC else {}
    model = save_authors_file(
        *(name, contract, file, case.read(image)),
        inplace_abn=case.inplace_abn,
        calibrated=case.calibrated,
        extra={f"backbone.img_{k}": np.float32(v).reshape(1, 3, 1, 1) for k, v in buffers.items()},
    )
    with torch.inference_mode():
        return image, case.mask(lambda view: model.logits(view)[0], image, case.read)


@pytest.mark.parametrize("name", SLOW)
def test_an_authors_file_gives_the_authors_mask(name: str, folder: Path) -> None:
    case, file = CASES[name], folder / "authors.pth"
    image, expected = prepare(name, case, file)
    assert shows_classes(expected)
    mask, _ = infer(file, image, "--model", name)
    assert fraction_equal(mask, expected) >= case.least
    if name in FOUND:
        mask, result = infer(file, image)
        assert fraction_equal(mask, expected) >= case.least
        found = (f"The network is {name},", f"assumed to be {name};")
        assert any(text in result.stderr for text in found)
    else:
        assert choose_network(read_checkpoint(file))[0] == name


def test_statistics_in_a_file_are_used_instead_of_the_networks(folder: Path) -> None:
    other = Normalise((120.0, 100.0, 90.0), (70.0, 60.0, 50.0))
    case, file = replace(CASES["swiftnet_r18"], read=other), folder / "authors.pth"
    contract = read_contract(FOLDER, case.golden)
    image = draw_image(*case.size)
    values = {"mean": other.mean, "std": other.std}
    extra = {f"backbone.img_{k}": np.float32(v).reshape(1, 3, 1, 1) for k, v in values.items()}
    model = save_authors_file("swiftnet_r18", contract, file, other(image), extra=extra)
    with torch.inference_mode():
        expected = without_corners(lambda view: model.logits(view)[0], image, other)
    mask, result = infer(file, image)
    assert fraction_equal(mask, expected) >= 0.999
    assert "normalised by the mean and standard deviation in the file" in result.stderr


@pytest.mark.parametrize(
    ("named", "name"), [("dabnet", "dabnet_camvid"), ("bisenetv1", "bisenetv1_coco")]
)
def test_another_data_sets_file_is_read_as_that(named: str, name: str, folder: Path) -> None:
    case, file = CASES[name], folder / "authors.pth"
    image, expected = prepare(name, case, file)
    mask, result = infer(file, image, "--model", named)
    assert f"outputs match {name}, whose labels and normalisation are used." in result.stderr
    assert fraction_equal(mask, expected) >= case.least


def test_an_unknown_number_of_classes_is_warned_of(folder: Path) -> None:
    case, file = replace(CASES["dabnet"], outputs=7), folder / "authors.pth"
    image, expected = prepare("dabnet", case, file)
    mask, result = infer(file, image, "--model", "dabnet")
    assert "WARNING: dabnet was published with 19 outputs and the file has 7" in result.stderr
    assert "normalised as usual for dabnet" in result.stderr
    assert fraction_equal(mask, expected) >= 0.999


def save_constant_file(golden: str, outputs: int, file: Path) -> None:
    """Save a file whose network predicts the last class everywhere; PSANet's has a mask of 59."""
    contract = with_outputs(read_contract(FOLDER, golden), outputs)
    state = {}
    for key, shape in contract["state_dict"]:
        full = [59**2 if size == 89**2 else size for size in shape]
        state[key] = torch.full((), float(key.endswith("running_var"))).expand(full)  # stored once
        if shape == [outputs]:
            state[key] = torch.arange(outputs, dtype=torch.float32)
    torch.save(state, file)


@pytest.mark.parametrize(
    ("named", "golden"),
    [
        ("emanet_r50", "emanet_r50_emanet"),
        ("dfn_r50", "dfn_r50_torchseg"),
        ("pspnet_r50", "pspnet_r50_semseg"),
        ("psanet_r50", "psanet_r50_semseg"),
        ("refinenet_r50", "refinenet_r50_drsleep"),
    ],
)
def test_21_outputs_are_vocs_classes_and_the_first_is_background(
    named: str, golden: str, folder: Path
) -> None:
    file = folder / "voc.pth"
    save_constant_file(golden, 21, file)
    mask, result = infer(file, draw_image(40, 56), "--model", named, kind="label_ids")
    assert "The 21 outputs match" in result.stderr
    assert "WARNING" not in result.stderr
    assert (mask == 20).all()  # tvmonitor, in VOC's own masks
    record = json.loads((folder / "masks" / "dseg-run.json").read_text())
    assert record["label_space"] == "voc"


def test_ccnet_with_recurrence_1_is_another_network(folder: Path) -> None:
    contract = read_contract(FOLDER, "ccnet_r50_ccnet")
    view = CAFFE(draw_image(65, 97))
    twice = save_authors_file("ccnet_r50", contract, folder / "a.pth", view)
    once = build_model("ccnet_r101_r1", depth=50, aux=True).eval()
    once.load_state_dict(twice.state_dict())
    with torch.inference_mode():
        attend = once.context.attend
        assert (attend.recurrence, twice.context.attend.recurrence) == (1, 2)
        first, second = labels_of(once.logits(view)[0]), labels_of(twice.logits(view)[0])
    assert fraction_equal(first, second) < 0.99
