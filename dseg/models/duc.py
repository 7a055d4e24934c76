"""DUC-HDC: dense upsampling and hybrid dilated convolution (Wang et al., WACV 2018).

    image (N,3,H,W)
      -> backbone    ResNet at 1/8, rates 1 2 5 9 in turn,    (N,2048,h,w)
                     then 5 9 17
      -> classifier  six atrous 3x3, summed, 16 K channels,   (N,K,4h,4w)
                     rearranged

This was written from the paper's abstract only. Rates, pyramid and cells are those of its best
variant as commonly reported, not verified: "Dilation-bigger", an atrous pyramid of six rates, and
cells of 2, one prediction for 2x2 pixels with a quarter of the channels. The plain 7x7 stem and
the lack of an auxiliary head are ours.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from dseg.models.dilated import DilatedNetwork
from dseg.nn.backbones.resnet import Layout, ResNet
from dseg.nn.duc import DenseUpsampling

STRIDE = 8
# the rates of neighbouring blocks have no common factor, to avoid gridding (section 3.2);
# of depth 101's 23 blocks in the third stage the last three are 1, 2, 5
HDC: Layout = ((1, (1,)), (2, (1,)), (1, (1, 2, 5, 9) * 9), (1, (5, 9, 17)))
RATES = (6, 12, 18, 24, 30, 36)  # dilations of the pyramid


class DUCHDC(DilatedNetwork):
    """The network ResNet-DUC-HDC.

    Args:
        num_classes: number of outputs.
        depth: depth of the ResNet; 101 in the paper, which gives no rates for 50.

    Attributes:
        cell: side in pixels of the cell of one prediction; 1, the paper's first form, predicts
            every pixel.
    """

    classifiers = ("classifier.rate6.", "classifier.")
    cell: ClassVar[int] = 2
    outputs_per_class: ClassVar[int] = (STRIDE // cell) ** 2
    align_corners = False  # ours: a prediction is then at the centre of its cell

    def __init__(self, num_classes: int, depth: int = 101):
        super().__init__(
            ResNet(depth, STRIDE, layout=HDC),
            nn.Identity(),
            DenseUpsampling(2048, num_classes, STRIDE // self.cell, RATES),
        )

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits of the image's cells, (N, K, ceil(H / cell), ceil(W / cell)).

        Cells outside the image, for sides that are not multiples of 8, are cut off.
        """
        (scores,) = super().logits(image)
        # Not -(-side // cell): ONNX Runtime's integer division rounds towards zero.
        rows, columns = ((side + self.cell - 1) // self.cell for side in image.shape[-2:])
        return [scores[..., :rows, :columns]]
