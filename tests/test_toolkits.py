"""Other toolkits' checkpoints are recognised by their keys; ours are never mistaken for theirs."""

from __future__ import annotations

import json

import pytest
import torch
import torchvision
from goldens import FOLDER, OF_GOLDEN, read_contract

from dseg.checkpoints.toolkits import CLASSIFIER, name_older_version, name_toolkit

KEYS = {
    "segmentation_models.pytorch": [
        "encoder.conv1.weight encoder.layer1.0.conv1.weight "
        "decoder.blocks.0.conv1.0.weight segmentation_head.0.weight segmentation_head.0.bias",
    ],
    "mmsegmentation": [
        "backbone.stem.0.weight backbone.layer1.0.conv1.weight decode_head.conv_seg.weight "
        "decode_head.psp_modules.0.1.conv.weight auxiliary_head.conv_seg.weight",
        "backbone.layers.0.0.projection.weight decode_head.convs.0.conv.weight "
        "decode_head.fusion_conv.conv.weight decode_head.conv_seg.weight",  # its SegFormer
        "backbone.patch_embed1.proj.weight decode_head.linear_fuse.conv.weight "
        "decode_head.linear_pred.weight decode_head.conv_seg.weight",  # SegFormer's authors
        "backbone.layer1.0.conv1.weight decode_head.0.conv_seg.weight decode_head.1.fc_seg.weight",
        "backbone.conv1.weight decode_head.query_embed.weight decode_head.cls_embed.weight",
    ],
    "Hugging Face Transformers (SegFormer)": [
        "segformer.encoder.patch_embeddings.0.proj.weight "
        "segformer.encoder.block.0.0.layer_norm_1.weight decode_head.linear_c.0.proj.weight "
        "decode_head.linear_fuse.weight decode_head.classifier.weight",
    ],
    "Hugging Face Transformers (Mask2Former, MaskFormer or OneFormer)": [
        "model.pixel_level_module.encoder.embeddings.norm.weight "
        "model.transformer_module.level_embed.weight class_predictor.weight",
    ],
    "Hugging Face Transformers (UPerNet)": [
        "backbone.embeddings.norm.weight decode_head.psp_modules.0.1.conv.weight "
        "decode_head.classifier.weight",
    ],
    "detectron2": [
        "backbone.stem.conv1.weight sem_seg_head.predictor.weight",
        "backbone.patch_embed.proj.weight sem_seg_head.pixel_decoder.mask_features.weight "
        "sem_seg_head.predictor.class_embed.weight",
    ],
    "torchvision (FCN)": [
        "backbone.conv1.weight backbone.layer4.0.conv1.weight classifier.0.weight "
        "classifier.1.running_mean classifier.4.weight classifier.4.bias",
    ],
    "Ultralytics (YOLO)": [
        "model.0.conv.weight model.0.bn.weight model.2.cv1.conv.weight model.22.dfl.conv.weight",
        "0.conv.weight 0.bn.weight 2.cv1.conv.weight 2.m.0.cv1.conv.weight",
        "model.model.0.conv.conv.weight model.model.2.cv1.conv.weight",
    ],
    "PaddleSeg": [
        "backbone.conv1_1._conv.weight backbone.conv1_1._batch_norm.weight "
        "backbone.conv1_1._batch_norm.running_mean head.classifier.weight",
    ],
}
CLASSIFIERS = (
    "resnet18", "resnext50_32x4d", "vgg16", "alexnet", "densenet121", "mobilenet_v2",
    "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny", "swin_t",
)  # fmt: skip
TIMM = (
    "conv_stem.weight bn1.weight blocks.0.0.conv_dw.weight classifier.weight",
    "cls_token pos_embed patch_embed.proj.weight blocks.0.attn.qkv.weight norm.weight head.weight",
    "patch_embed.proj.weight layers.0.blocks.0.attn.qkv.weight norm.weight head.fc.weight",
    "stem.0.weight stages.0.blocks.0.conv_dw.weight head.norm.weight head.fc.weight",
)
CASES = [(name, keys.split()) for name, variants in KEYS.items() for keys in variants]


@pytest.mark.parametrize(("name", "keys"), CASES)
def test_a_toolkit_is_recognised(name: str, keys: list[str]) -> None:
    assert name_toolkit(keys) == name
    assert name_toolkit(iter(reversed(keys))) == name


@pytest.mark.parametrize(("name", "keys"), CASES)
def test_a_backbone_alone_has_no_toolkit(name: str, keys: list[str]) -> None:
    heads = ("decode", "classifier", "segmentation", "sem_seg", "class_predictor", "model.trans")
    rest = [key for key in keys if not key.startswith(heads)]
    if name not in ("Ultralytics (YOLO)", "PaddleSeg"):
        assert name_toolkit(rest) == ""


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_of_torchvision_is_recognised(name: str) -> None:
    with torch.device("meta"):
        keys = list(torchvision.models.get_model(name, weights=None).state_dict())
    assert name_toolkit(keys) == CLASSIFIER
    assert name_toolkit([*keys, "aspp.0.weight"]) == ""


@pytest.mark.parametrize("keys", TIMM)
def test_a_classifier_of_timm_is_recognised(keys: str) -> None:
    assert name_toolkit(keys.split()) == CLASSIFIER


@pytest.mark.parametrize("golden", sorted(OF_GOLDEN))
def test_no_network_of_dseg_is_taken_for_anothers(golden: str) -> None:
    keys = [key for key, _ in read_contract(FOLDER, golden)["state_dict"]]
    assert len(keys) > 20
    toolkit = "mmsegmentation" if golden.endswith("_gyyang") else ""  # GCNet's authors use it
    assert name_toolkit(keys) == toolkit
    assert name_older_version(dict.fromkeys(keys, torch.ones(()))) == ""


def test_torchvisions_deeplab_is_ours() -> None:
    keys = read_contract(FOLDER, "deeplabv3_r50_torchvision")["state_dict"]
    assert name_toolkit(key for key, _ in keys) == ""
    assert any(key.startswith("classifier.0.convs.") for key, _ in keys)
    assert name_toolkit([]) == ""


OLD_V2 = "detail.S1.0.conv.weight segment.S1S2.conv.conv.weight bga.conv.0.weight {}"
OLD_V1 = (
    "cp.resnet.conv1.weight cp.arm16.conv.conv.weight cp.conv_avg.conv.weight "
    "sp.conv1.conv.weight ffm.convblk.conv.weight {} conv_out.conv_out.weight"
)


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        (
            OLD_V2.format("head.conv.conv.weight head.conv_out.weight"),
            "an older version of BiSeNetV2 (its release of 74.39 % mIoU)",
        ),
        (OLD_V2.format("head.conv.conv.weight head.conv_out.1.weight"), ""),
        (
            OLD_V1.format("ffm.conv1.weight ffm.conv2.weight"),
            "an older version of BiSeNetV1 (its release of 78.45 % mIoU)",
        ),
        (OLD_V1.format("ffm.conv.weight ffm.bn.weight"), ""),
    ],
)
def test_an_older_version_is_distinguished_from_the_newer_one(keys: str, name: str) -> None:
    assert name_older_version(dict.fromkeys(keys.split(), torch.ones(()))) == name


def test_the_goldens_that_are_read_are_those_of_the_folder() -> None:
    held = [path for path in FOLDER.glob("*.json") if "state_dict" in json.loads(path.read_text())]
    assert len(OF_GOLDEN) > 40
    assert {path.stem for path in held} >= set(OF_GOLDEN)
