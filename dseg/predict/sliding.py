"""Sliding-window prediction as it is published: a tile of one size over each resized image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dseg.images import Pixels
from dseg.predict.protocol import Protocol, scaled
from dseg.predict.resizing import resize_image
from dseg.predict.tiles import Size, blend_rows


def slide(
    image: Pixels,
    protocol: Protocol,
    scores_of: Callable[[Pixels], Tensor],
    resize: Callable[[Tensor, int, int], Tensor],
) -> Tensor:
    """Return the scores of an image, the mean over all sizes, mirrored or not, of its tiles' means.

    At each scale the tile slides over the whole resized image, also over its mirror image; where
    tiles overlap, their logits count alike. So do GALD-Net's, DGCNet's and CCNet's releases
    evaluate, with a stride of two thirds of the tile. Memory: the scores of the largest view,
    K x H x W float32, and once more at the image's size.

    Args:
        image: (H, W, 3) uint8, RGB.
        protocol: with a tile.
        scores_of: returns the logits (K, h, w) of an (h, w, 3) tile.
        resize: resizes logits (1, K, h, w) to a height and width.

    Returns:
        (K, H, W): mean logits, or mean probabilities if the protocol fuses those.
    """
    height, width = image.shape[:2]
    total: Tensor | None = None
    for scale in protocol.scales:
        seen = scaled(protocol.input_of((height, width)), scale)
        for mirrored in (False, True)[: 1 + protocol.flip]:
            scores = _slide_once(image, seen, mirrored, protocol, scores_of)
            scores = resize(scores, height, width)
            if protocol.fusion == "prob":
                scores = scores.softmax(1)
            total = scores if total is None else total.add_(scores)
    assert total is not None
    return total.div_(len(protocol.scales) * (1 + protocol.flip))[0]


def _slide_once(
    image: Pixels,
    seen: Size,
    mirrored: bool,
    protocol: Protocol,
    scores_of: Callable[[Pixels], Tensor],
) -> Tensor:
    """Return the logits (1, K, h, w) of an image of another size, as they lie in the image."""
    view = resize_image(image, seen)
    view = view[:, ::-1] if mirrored else view

    def tile_scores(top: int, left: int, height: int, width: int) -> Tensor:
        return scores_of(view[top : top + height, left : left + width])

    assert protocol.tile is not None
    bands = blend_rows(seen, protocol.tile, protocol.overlap, tile_scores, even=True)
    scores = torch.cat([band.clone() for _, band in bands], 1)[None]
    return scores.flip(-1) if mirrored else scores
