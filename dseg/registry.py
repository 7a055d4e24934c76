"""The table of networks: one ModelSpec each, data only. Everything that lists networks reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from dseg.errors import DsegError


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One network that a user can name.

    Attributes:
        title: the name as its paper spells it.
        paper: authors, venue and year.
        target: ``module:Class`` below ``dseg.models``.
        kwargs: what the class's constructor is given besides ``num_classes``.
        num_classes: outputs of the published network.
        label_space: what those outputs mean, a key of ``dseg.labels.LABEL_SPACES``.
        params: parameters at ``num_classes``, without auxiliary heads.
        macs: multiply-accumulates at 1024x2048, as ``dseg.bench.count_cost`` counts them.
        mean, std: normalisation of the RGB image in 0..1.
        goldens: recordings of the authors' own code that hold the network to it.
        weights: name of the authors' checkpoint file, empty if none was published.
        source: the authors' release, where that file is found.
        published: the authors' own figures, in words.
        recipe: how it is trained unless told otherwise, a key of ``dseg.recipes.RECIPES``.
    """

    title: str
    paper: str
    target: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    num_classes: int = 19
    label_space: str = "cityscapes"
    params: int
    macs: int
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    goldens: tuple[str, ...] = ()
    weights: str = ""
    source: str = ""
    published: str = ""
    recipe: str = "denseaspp_cityscapes"


PAPER: dict[str, Any] = {"title": "DenseASPP", "paper": "Yang et al., CVPR 2018"}
DEEPMOTION: dict[str, Any] = {
    **PAPER,
    "mean": (0.290101, 0.328081, 0.286964),
    "std": (0.182954, 0.186566, 0.184475),
    "source": "github.com/DeepMotionAIResearch/DenseASPP",
}
TRAMAC: dict[str, Any] = {
    **PAPER,
    "target": "denseaspp:PostNormDenseASPP",
    "source": "github.com/Tramac/awesome-semantic-segmentation-pytorch",
    "recipe": "denseaspp_voc",
}
VOC: dict[str, Any] = {"num_classes": 21, "label_space": "voc"}

D121: dict[str, Any] = {
    **DEEPMOTION,
    "target": "denseaspp:DenseASPP",
    "kwargs": {"depth": 121, "mid": 128, "growth": 64},
    "params": 8_280_851,
}
D161: dict[str, Any] = {
    **DEEPMOTION,
    "target": "denseaspp:DenseASPP",
    "kwargs": {"depth": 161, "mid": 512, "growth": 128},
    "params": 35_395_427,
    "weights": "denseASPP161.pkl",
}
D169: dict[str, Any] = {
    **DEEPMOTION,
    "target": "denseaspp:DenseASPP",
    "kwargs": {"depth": 169, "mid": 336, "growth": 168},
    "params": 18_420_675,
}
D201: dict[str, Any] = {
    **DEEPMOTION,
    "target": "denseaspp:DenseASPP",
    "kwargs": {"depth": 201, "mid": 480, "growth": 240},
    "params": 28_639_987,
}
MOBILE: dict[str, Any] = {
    **DEEPMOTION,
    "title": "MobileNetDenseASPP",
    "target": "denseaspp:MobileNetDenseASPP",
    "params": 2_486_419,
}
DABNET: dict[str, Any] = {
    "title": "DABNet",
    "paper": "Li et al., BMVC 2019",
    "target": "dabnet:DABNet",
    "std": (1 / 255, 1 / 255, 1 / 255),  # 0..255 minus the mean, not divided
    "source": "github.com/Reagan1311/DABNet",
}
CAMVID: dict[str, Any] = {"num_classes": 11, "label_space": "camvid"}


def _rgb(red: float, green: float, blue: float) -> tuple[float, float, float]:
    """Return a mean that is published in 0..255 in 0..1."""
    return red / 255, green / 255, blue / 255


def _at_stride_16(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of the same network at output stride 16: same weights, a quarter the map."""
    return {**entry, "kwargs": {**entry.get("kwargs", {}), "output_stride": 16}}


MODELS: dict[str, ModelSpec] = {
    "denseaspp121": ModelSpec(**D121, macs=308_782_563_328, goldens=("denseaspp121_deepmotion",)),
    "denseaspp121_os16": ModelSpec(
        **_at_stride_16(D121),
        macs=161_814_151_168,
    ),
    "denseaspp161": ModelSpec(
        **D161,
        macs=1_239_479_222_272,
        goldens=("denseaspp161_deepmotion",),
        published="Cityscapes val 79.9 (single scale), 80.6 (multi-scale), test 79.5",
    ),
    "denseaspp161_os16": ModelSpec(
        **_at_stride_16(D161), macs=612_434_968_576, goldens=("denseaspp161_os16_deepmotion",)
    ),
    "denseaspp169": ModelSpec(**D169, macs=638_302_552_064, goldens=("denseaspp169_deepmotion",)),
    "denseaspp169_os16": ModelSpec(
        **_at_stride_16(D169),
        macs=336_111_337_472,
    ),
    "denseaspp201": ModelSpec(**D201, macs=970_682_007_552, goldens=("denseaspp201_deepmotion",)),
    "denseaspp201_os16": ModelSpec(
        **_at_stride_16(D201),
        macs=521_119_727_616,
    ),
    "mobilenetdenseaspp": ModelSpec(
        **MOBILE,
        macs=83_773_358_080,
        goldens=("mobilenetdenseaspp_deepmotion",),
        published="Cityscapes val 74.5 (single scale), 75.0 (multi-scale)",
    ),
    "mobilenetdenseaspp_os16": ModelSpec(
        **_at_stride_16(MOBILE),
        macs=41_452_306_432,
    ),
    "denseaspp_densenet121_citys": ModelSpec(
        **TRAMAC,
        macs=338_897_666_048,
        kwargs={"depth": 121},
        params=9_196_051,
        goldens=("denseaspp_densenet121_citys_tramac", "denseaspp_densenet121_citys_aux_tramac"),
    ),
    "denseaspp_densenet161_citys": ModelSpec(
        **TRAMAC,
        macs=1_071_507_308_544,
        kwargs={"depth": 161},
        params=30_252_211,
        goldens=("denseaspp_densenet161_citys_tramac",),
    ),
    "denseaspp_densenet169_citys": ModelSpec(
        **TRAMAC,
        macs=544_917_684_224,
        kwargs={"depth": 169},
        params=15_558_035,
        goldens=("denseaspp_densenet169_citys_tramac",),
    ),
    "denseaspp_densenet201_citys": ModelSpec(
        **TRAMAC,
        macs=737_276_854_272,
        kwargs={"depth": 201},
        params=21_499_027,
        goldens=("denseaspp_densenet201_citys_tramac",),
    ),
    "denseaspp_densenet121_voc": ModelSpec(
        **TRAMAC,
        **VOC,
        macs=338_985_746_432,
        kwargs={"depth": 121},
        params=9_198_741,
        goldens=("denseaspp_densenet121_voc_tramac", "denseaspp_densenet121_voc_aux_tramac"),
        published="VOC 2012 60.1 at 320x320 (another zoo's redeployment)",
    ),
    "denseaspp_densenet161_voc": ModelSpec(
        **TRAMAC,
        **VOC,
        macs=1_071_672_983_552,
        kwargs={"depth": 161},
        params=30_257_269,
        goldens=("denseaspp_densenet161_voc_tramac",),
        published="VOC 2012 68.5 at 320x320 (another zoo's redeployment)",
    ),
    "denseaspp_densenet169_voc": ModelSpec(
        **TRAMAC, **VOC, macs=545_047_707_648, kwargs={"depth": 169}, params=15_562_005
    ),
    "denseaspp_densenet201_voc": ModelSpec(
        **TRAMAC, **VOC, macs=737_423_654_912, kwargs={"depth": 201}, params=21_503_509
    ),
    "dabnet": ModelSpec(
        **DABNET,
        params=756_643,
        macs=40_881_520_640,
        mean=_rgb(73.1583251953125, 82.90901947021484, 72.39240264892578),
        goldens=("dabnet_cityscapes_reagan",),
        published="Cityscapes val 69.57, test 70.07",
        recipe="dabnet_cityscapes",
    ),
    "dabnet_camvid": ModelSpec(
        **DABNET,
        **CAMVID,
        params=754_571,
        macs=40_813_625_344,
        mean=_rgb(99.62540435791016, 103.329833984375, 105.65775299072266),
        goldens=("dabnet_camvid_reagan",),
        published="CamVid test 66.72 at 360x480, trained on train and val",
        recipe="dabnet_camvid",
    ),
}


def plain_name(name: str) -> str:
    """Return a name as the comparison sees it: lower case, without ``-``, ``_`` and spaces."""
    return "".join(c for c in name.lower() if c not in "-_ ")


def find_model(name: str) -> str:
    """Return the table's key for a network's name in any case and spelling of ``-`` and ``_``.

    Raises:
        DsegError: there is none; the hint names the nearest ones.
    """
    keys = {plain_name(key): key for key in MODELS}
    if plain_name(name) in keys:
        return keys[plain_name(name)]
    nearest = [keys[near] for near in get_close_matches(plain_name(name), keys, n=3, cutoff=0.5)]
    guess = f"did you mean {' or '.join(nearest)}? " if nearest else ""
    raise DsegError(f"No network named {name!r}.", hint=f"{guess}List all: dseg models")
