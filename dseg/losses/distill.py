"""Losses of knowledge distillation: the distance of a network's logits from a teacher's."""

from __future__ import annotations

from torch import Tensor

FAR = -1e30  # logit of a position that does not count; finite, so that no difference is NaN


def logits_loss(student: Tensor, teacher: Tensor, weights: Tensor, temperature: float) -> Tensor:
    """Return the divergence of the softened class probabilities, averaged over pixels and images.

    With p = softmax(logits / T) of each pixel, the loss is T^2 KL(p_teacher || p_student) (Hinton
    et al., arXiv 1503.02531, section 2: the factor keeps gradients of one size for any T).

    Args:
        student, teacher: logits of the same classes, (N, K, H, W) float32.
        weights: (N, H, W), 0 for a pixel that does not count, up to 1. The mean is over the pixels
            with a weight above 0.
        temperature: T, above 0.

    Returns:
        A scalar, not below 0.
    """
    own = (student / temperature).log_softmax(1)
    aim = (teacher / temperature).log_softmax(1)
    divergence = (aim.exp() * (aim - own)).sum(1) * weights
    counted = (weights > 0).sum((1, 2)).clamp(min=1)
    return temperature**2 * (divergence.sum((1, 2)) / counted).mean()


def channels_loss(student: Tensor, teacher: Tensor, inside: Tensor, temperature: float) -> Tensor:
    """Return the divergence of each channel's distribution over the image, averaged over images.

    With p = softmax(logits / T) over the positions of a channel, the loss of an image is T^2 / C
    times the sum over its C channels of KL(p_teacher || p_student) (Shu et al., "Channel-wise
    Knowledge Distillation for Dense Prediction", ICCV 2021, equations 4 and 5).

    Args:
        student, teacher: logits of the same classes, (N, C, H, W) float32.
        inside: (N, H, W) bool, False for a position that does not count.
        temperature: T, above 0.

    Returns:
        A scalar, not below 0.
    """
    outside = ~inside[:, None]
    own = (student / temperature).masked_fill(outside, FAR).flatten(2).log_softmax(2)
    aim = (teacher / temperature).masked_fill(outside, FAR).flatten(2).log_softmax(2)
    divergence = (aim.exp() * (aim - own)).sum(2)
    return temperature**2 * divergence.mean()
