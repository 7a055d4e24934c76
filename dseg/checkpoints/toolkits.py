"""Recognise the toolkit of a checkpoint that fits no network of dseg, by its keys."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

CLASSIFIER = "a classification network without a segmentation head"


@dataclass(frozen=True)
class KeyPattern:
    """Keys by which a toolkit's checkpoints are recognised.

    Attributes:
        name: noun phrase for a message.
        present: patterns that each match the start of at least one key.
        only: pattern that matches the start of every key, if given.
    """

    name: str
    present: tuple[str, ...]
    only: str = ""

    def fits(self, keys: list[str]) -> bool:
        """Return True if the keys match."""
        return all(_any(pattern, keys) for pattern in self.present) and (
            not self.only or all(re.match(self.only, key) for key in keys)
        )


PATTERNS = (  # the first match wins; a "model." that starts all keys may be removed already
    KeyPattern(
        "segmentation_models.pytorch",
        (r"encoder\.", r"decoder\.", r"segmentation_head\.0\.weight$"),
    ),
    KeyPattern(
        "Hugging Face Transformers (SegFormer)",
        (
            r"(segformer\.)?encoder\.(patch_embeddings|block)\.0",
            r"decode_head\.linear_fuse\.weight$",
        ),
    ),
    KeyPattern(
        "Hugging Face Transformers (Mask2Former, MaskFormer or OneFormer)",
        (r"(model\.)?pixel_level_module\.", r"(model\.)?transformer_module\."),
    ),
    KeyPattern(
        "Hugging Face Transformers (UPerNet)",
        (r"backbone\.", r"decode_head\.psp_modules\.", r"decode_head\.classifier\.weight$"),
    ),
    KeyPattern(
        "mmsegmentation",
        (r"decode_head\.(\d\.)?(conv_seg|fc_seg|cls_seg|cls_embed)\.",),
    ),
    KeyPattern("detectron2", (r"sem_seg_head\.",)),
    KeyPattern(
        "torchvision (FCN)",
        (r"backbone\.layer4\.", r"classifier\.0\.weight$", r"classifier\.4\.weight$"),
    ),
    KeyPattern(
        "Ultralytics (YOLO)",
        (r"(model\.){0,2}0\.(conv\.)?conv\.weight$", r"(model\.){0,2}\d+\.cv1\.conv\.weight$"),
    ),
    KeyPattern(
        "PaddleSeg",
        (r"(\w+\.)+_conv\.weight$", r"(\w+\.)+_batch_norm\.weight$"),
    ),
    KeyPattern(
        CLASSIFIER,
        (r"(conv1|layer0\.conv1|stem\.0)\.weight$", r"layer1\.0\.conv1\.weight$", r"fc\.weight$"),
        only=r"(conv|bn|layer|stem|fc)\w*\.",
    ),
    KeyPattern(
        CLASSIFIER,
        (r"features\.", r"(classifier(\.\d+)?|head)\.weight$"),
        only=r"(features|avgpool|norm|classifier|head)\.",
    ),
    KeyPattern(CLASSIFIER, (r"conv_stem\.weight$", r"blocks\.0\.0\.", r"classifier\.weight$")),
    KeyPattern(
        CLASSIFIER,
        (r"(blocks|layers\.0\.blocks)\.0\.attn\.qkv\.weight$", r"(head|head\.fc)\.weight$"),
        only=r"(cls_token|pos_embed|patch_embed|blocks|layers|norm|fc_norm|head)\b",
    ),
    KeyPattern(CLASSIFIER, (r"stages\.0\.(blocks\.)?0\.", r"head\.fc\.weight$")),
)
OLDER_VERSIONS = (
    KeyPattern(
        "an older version of BiSeNetV2 (its release of 74.39 % mIoU)",
        (r"detail\.", r"segment\.", r"head\.conv_out\.weight$"),
    ),
    KeyPattern(
        "an older version of BiSeNetV1 (its release of 78.45 % mIoU)",
        (r"cp\.arm16\.", r"sp\.conv1\.", r"ffm\.conv1\.weight$", r"ffm\.conv2\.weight$"),
    ),
)


def name_toolkit(keys: Iterable[str]) -> str:
    """Return the toolkit whose networks have such keys, as a noun phrase; "" if unknown."""
    return _first(PATTERNS, list(keys))


def name_older_version(state: Mapping[str, Tensor]) -> str:
    """Return the older release of one of dseg's networks that has such keys; "" if none.

    Only the authors' newer release fits a network of dseg.
    """
    return _first(OLDER_VERSIONS, list(state))


def _first(patterns: Iterable[KeyPattern], keys: list[str]) -> str:
    return next((pattern.name for pattern in patterns if keys and pattern.fits(keys)), "")


def _any(pattern: str, keys: list[str]) -> bool:
    return any(re.match(pattern, key) for key in keys)
