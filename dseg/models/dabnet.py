"""DABNet: depth-wise asymmetric bottlenecks at two scales (Li et al., BMVC 2019).

    image (N,3,H,W) ----------------------+ average pooling to 1/2, 1/4, 1/8
      -> stem    three 3x3, stride 2      |                        (N,32,h/2)
      -> down1   with the image at 1/2 ---+ block1: 3 modules      (N,64,h/4)
      -> down2   with the image at 1/4 ---+ block2: 6 modules      (N,128,h/8)
      -> classifier 1x1, with the image at 1/8                     (N,K,h/8)
      -> to the image's size

Each block's input is concatenated to its output (section 3).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.models.base import KeyMap, SegModel
from dseg.nn.conv import conv_norm_act, init_convs, norm_prelu

EPS = 1e-3
DILATIONS = (2, 2, 2), (4, 4, 8, 8, 16, 16)


class DABNet(SegModel):
    """The network of the paper, 0.76 M parameters.

    The release only accepts sides of 0 or 3 modulo 4, since the pooling of ``Downsample`` rounds
    down and its convolution up; here both round up, which is equal for such sides.

    Args:
        num_classes: number of outputs.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"\.bn_prelu\.bn\.", ".norm."),
        (r"\.bn_prelu\.acti\.", ".act."),
        (r"^init_conv\.", "stem."),
        (r"^bn_prelu_(\d)\.bn\.", r"norm\1.norm."),
        (r"^bn_prelu_(\d)\.acti\.", r"norm\1.act."),
        (r"^downsample_(\d)\.conv3x3\.conv\.", r"down\1.conv."),
        (r"^downsample_(\d)\.(norm|act)\.", r"down\1.norm.\2."),
        (r"^DAB_Block_(\d)\.DAB_Module_\d_(\d)\.", r"block\1.\2."),
        (r"\.bn_relu_1\.bn\.", ".enter.norm."),
        (r"\.bn_relu_1\.acti\.", ".enter.act."),
        (r"\.bn_relu_2\.bn\.", ".leave.norm."),
        (r"\.bn_relu_2\.acti\.", ".leave.act."),
        (r"\.conv3x3\.", ".reduce."),
        (r"\.dconv3x1\.", ".near.0."),
        (r"\.dconv1x3\.", ".near.1."),
        (r"\.ddconv3x1\.", ".far.0."),
        (r"\.ddconv1x3\.", ".far.1."),
        (r"\.conv1x1\.conv\.", ".expand."),
        (r"^classifier\.0\.conv\.", "classifier."),
    )
    align_corners: ClassVar[bool] = False

    def __init__(self, num_classes: int):
        super().__init__()
        self.stem = nn.Sequential(
            conv_norm_act(3, 32, 3, stride=2, act=nn.PReLU(32), eps=EPS),
            conv_norm_act(32, 32, 3, act=nn.PReLU(32), eps=EPS),
            conv_norm_act(32, 32, 3, act=nn.PReLU(32), eps=EPS),
        )
        self.norm1 = norm_prelu(32 + 3, EPS)
        self.down1 = Downsample(32 + 3, 64)
        self.block1 = nn.Sequential(*(DABModule(64, rate) for rate in DILATIONS[0]))
        self.norm2 = norm_prelu(64 + 64 + 3, EPS)
        self.down2 = Downsample(64 + 64 + 3, 128)
        self.block2 = nn.Sequential(*(DABModule(128, rate) for rate in DILATIONS[1]))
        self.norm3 = norm_prelu(128 + 128 + 3, EPS)
        self.classifier = nn.Conv2d(128 + 128 + 3, num_classes, 1, bias=False)
        init_convs(self)  # the initial slope of PReLU is 0.25, near ReLU

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at an eighth of the image's size."""
        halves = [image]
        for _ in range(3):
            halves.append(F.avg_pool2d(halves[-1], 3, stride=2, padding=1))
        x = self.norm1(torch.cat([self.stem(image), halves[1]], 1))
        x = self.down1(x)
        x = self.norm2(torch.cat([self.block1(x), x, halves[2]], 1))
        x = self.down2(x)
        x = self.norm3(torch.cat([self.block2(x), x, halves[3]], 1))
        return [self.classifier(x)]


class DABModule(nn.Module):
    """The depth-wise asymmetric bottleneck (section 3).

    Half the channels pass two pairs of depth-wise 3x1 and 1x3 convolutions, one pair dilated;
    their sum is projected to all channels and added to the input.

    Args:
        channels: channels of input and output.
        dilation: dilation of the second pair.
    """

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        mid = channels // 2
        self.enter = norm_prelu(channels, EPS)
        self.reduce = conv_norm_act(channels, mid, 3, act=nn.PReLU(mid), eps=EPS)
        self.near = self._asymmetric(mid, 1)
        self.far = self._asymmetric(mid, dilation)
        self.leave = norm_prelu(mid, EPS)
        self.expand = nn.Conv2d(mid, channels, 1, bias=False)

    @staticmethod
    def _asymmetric(channels: int, dilation: int) -> nn.Sequential:
        return nn.Sequential(
            *(
                conv_norm_act(
                    *(channels, channels, kernel),
                    dilation=dilation,
                    groups=channels,
                    act=nn.PReLU(channels),
                    eps=EPS,
                )
                for kernel in ((3, 1), (1, 3))
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        y = self.reduce(self.enter(x))
        out: Tensor = x + self.expand(self.leave(self.near(y) + self.far(y)))
        return out


class Downsample(nn.Module):
    """A 3x3 convolution of stride 2, concatenated with max pooling if the channels grow.

    It is the initial block of ENet (Paszke et al., 2016, section 3).

    Args:
        in_channels, out_channels: channels of input and output; without growth, all output
            channels are the convolution's.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.pools = in_channels < out_channels
        made = out_channels - in_channels if self.pools else out_channels
        self.conv = nn.Conv2d(in_channels, made, 3, stride=2, padding=1, bias=False)
        self.norm = norm_prelu(out_channels, EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, H/2, W/2), rounded up."""
        y = self.conv(x)
        if self.pools:
            y = torch.cat([y, F.max_pool2d(x, 2, stride=2, ceil_mode=True)], 1)
        out: Tensor = self.norm(y)
        return out
