"""GloRe: an FCN with one global reasoning unit (Chen et al., CVPR 2019).

    image (N,3,H,W)
      -> backbone    ResNet, stride 8, multi-grid                (N,2048,h,w)
      -> context     3x3, graph of 64 nodes, 3x3                 (N,512,h,w)
      -> classifier  1x1                                         (N,K,h,w)
         aux         on the third stage, in training             (N,K,h,w)

The unit is tested against the release, which lacks the segmentation network. The dilated ResNet and
the single unit after it are the paper's. The rest could not be compared with the authors' files and
is chosen here: the multi-grid, the two 3x3 convolutions and their 512 channels, 64 nodes of 128
states, the dropout and the auxiliary head.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from dseg.models.dilated import DilatedNetwork
from dseg.nn.backbones.resnet import MULTI_GRID, ResNet
from dseg.nn.conv import conv_norm_act, fcn_head
from dseg.nn.glore import GlobalReasoning


class GloReNet(DilatedNetwork):
    """The Cityscapes network of the paper, with torchvision's stem.

    Args:
        num_classes: number of outputs.
        depth: depth of the ResNet, 50 or 101.
        aux: add the auxiliary head, read in training only.
        nodes: number of graph nodes.
        states: number of states per node.
    """

    def __init__(
        self,
        num_classes: int,
        depth: int = 50,
        aux: bool = False,
        nodes: int = 64,
        states: int = 128,
    ):
        context = nn.Sequential(
            OrderedDict(
                reduce=conv_norm_act(2048, 512, 3, act=nn.ReLU(inplace=True)),
                # image sizes differ between training and evaluation
                reason=GlobalReasoning(512, nodes, states, normalize=True),
                refine=conv_norm_act(512, 512, 3, act=nn.ReLU(inplace=True)),
                dropout=nn.Dropout2d(0.1),
            )
        )
        super().__init__(
            ResNet(depth, 8, layout=MULTI_GRID),
            context,
            nn.Conv2d(512, num_classes, 1),
            fcn_head(1024, num_classes, of_maps=True) if aux else None,
        )
