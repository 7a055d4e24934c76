"""DilatedNetwork: a dilated ResNet, a context module on its last map, a classifier.

    image (N,3,H,W)
      -> backbone    ResNet, last map at 1/8 (or 1/16)   (N,2048,h,w)
      -> context     differs between the networks        (N,C,h,w)
      -> classifier  1x1                                 (N,K,h,w)
         aux         on the third stage, in training     (N,K,h,w)

This is the structure of PSPNet (Zhao et al., CVPR 2017, figure 3) and of many later networks.
"""

from __future__ import annotations

from torch import Tensor, nn

from dseg.models.base import KeyMap, SegModel
from dseg.nn.backbones.resnet import STEM_KEYS, ResNet
from dseg.nn.conv import init_convs

# keys of releases whose backbone has no prefix, to ours
TOP_LEVEL_KEYS: KeyMap = ((r"^((conv|bn)\d|layer[1-4])\.", r"backbone.\1."),)
# usual keys of the auxiliary head, to those of ``fcn_head``
AUX_KEYS: KeyMap = (
    (r"^(dsn|aux|aux_classifier|auxlayer\.block)\.0\.", "aux.reduce.conv."),
    (r"^(dsn|aux|aux_classifier|auxlayer\.block)\.1\.", "aux.reduce.norm."),
    (r"^(dsn|aux|aux_classifier|auxlayer\.block)\.[34]\.", "aux.classifier."),
)
# keys of semseg's backbone, whose stem is part of layer0, and classifier, to ours
SEMSEG_KEYS: KeyMap = (
    (r"^layer0\.", "backbone.conv1."),
    *TOP_LEVEL_KEYS,
    *AUX_KEYS,
    (r"^cls\.4\.", "classifier."),
)
# keys of the Tramac zoo's backbone, with its unused ImageNet classifier, to ours
TRAMAC_KEYS: KeyMap = (
    (r"^pretrained\.fc\.", None),
    (r"^pretrained\.", "backbone."),
    *STEM_KEYS,
    *AUX_KEYS,
)
# keys of the head that CCNet, GALD-Net and DGCNet share, to those of ``EmbeddedContext``
EMBEDDED_KEYS: KeyMap = (
    (r"^head\.bottleneck\.3\.", "classifier."),
    (r"^head\.conva\.", "context.reduce."),
    (r"^head\.convb\.", "context.refine."),
    (r"^head\.bottleneck\.", "context.join."),
    (r"^(context\.(?:reduce|refine|join))\.0\.", r"\1.conv."),
    (r"^(context\.(?:reduce|refine|join))\.1\.", r"\1.norm."),
)


class DilatedNetwork(SegModel):
    """Base class of PSPNet and similar networks.

    Args:
        backbone: ResNet whose last two maps are used.
        context: module that maps the last one to the classifier's input, (N, C, h, w).
        classifier: module that maps (N, C, h, w) to logits.
        aux: auxiliary head on the third stage's map; None for none.
    """

    classifiers = ("classifier.", "aux.classifier.")

    def __init__(
        self,
        backbone: ResNet,
        context: nn.Module,
        classifier: nn.Module,
        aux: nn.Module | None = None,
    ):
        super().__init__()
        self.backbone = backbone
        self.context = context
        self.classifier = classifier
        self.aux = aux
        init_convs(self, skip="backbone.")

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at the backbone's last stride, in training the auxiliary ones too."""
        *_, third, last = self.backbone.maps(image)
        scores = [self.classifier(self.context(last))]
        if self.aux is not None and self.training:
            scores.append(self.aux(third))
        return scores
