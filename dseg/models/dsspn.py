"""DSSPN: one small network for each concept, from broad to narrow (Liang et al., CVPR 2018).

    image (N,3,H,W)
      -> backbone    ResNet, stride 8                                   (N,2048,h,w)
      -> context     3x3, then a neuron for each concept with children:
           root      flat, construction, object, nature, sky, human, vehicle
           flat      road, sidewalk                     each reads the 3x3 and its ancestors'
           vehicle   car, truck, bus, ...               maps, weighted by its probability
           ...                                          log p(child | concept), (N,steps,h,w)
      -> classifier  the sum along each class's path, not trained          (N,K,h,w)

This was written from the paper's abstract only. From the abstract: a graph of neurons that follows
the hierarchy of the labels, each the module of one concept; dense blocks that pass the features of
all ancestors to a neuron; in training, only those neurons are active whose concepts an image shows.
From other sources, unverified: a ResNet-101 as backbone, attention by the ancestors'
predictions. Chosen here: the categories of Cityscapes as hierarchy; stride 8 and a 3x3 to 512
channels; a neuron of 1x1 to 256 and 3x3 to 128 channels and a classifier; an ancestor's map times
the probability that it gives to the next concept on the path; a softmax over a concept's children;
no auxiliary head, since each level of the tree is supervised anyway.

All neurons always run, which keeps the graph static. As logits are log-probabilities, cross-entropy
on classes is the sum of the cross-entropies of the levels. A neuron whose concept no pixel has then
gets no gradient, as if it were left out: exactly so at the logits' own resolution, nearly so if
they are resized first. Its norms read every image, unlike in the paper. In evaluation a class is
never more probable than its ancestors, so leaving out a neuron whose concept is everywhere less
probable than the best class would change neither labels nor the logits of classes outside it.
"""

from __future__ import annotations

from torch import nn

from dseg.models.dilated import DilatedNetwork
from dseg.nn.backbones.resnet import DILATED, ResNet
from dseg.nn.propagation import Concept, Groups, PathSum, SemanticPropagation, make_hierarchy

# the train ids of Cityscapes in its official categories; only sky is a category of one class
CITYSCAPES = Concept(
    "root",
    (
        Concept("flat", (0, 1)),
        Concept("construction", (2, 3, 4)),
        Concept("object", (5, 6, 7)),
        Concept("nature", (8, 9)),
        10,
        Concept("human", (11, 12)),
        Concept("vehicle", (13, 14, 15, 16, 17, 18)),
    ),
)


class DSSPN(DilatedNetwork):
    """The neuron graph on a dilated ResNet; logits are log-probabilities.

    Args:
        num_classes: number of outputs.
        depth: depth of the ResNet, 50, 101 or 152.
        hierarchy: class ids in groups, nested to any depth, such as ``((0, 1), 2, (3, 4))``. By
            default the categories of Cityscapes for 19 classes, otherwise one neuron for all.

    Raises:
        DsegError: the hierarchy does not hold every class exactly once, or unsupported depth.
    """

    # the number and shapes of the neurons depend on the classes
    classifiers = ("classifier.", "context.neurons.")

    def __init__(self, num_classes: int, depth: int = 101, hierarchy: Groups | None = None):
        root = CITYSCAPES
        if hierarchy is not None or num_classes != 19:
            groups = range(num_classes) if hierarchy is None else hierarchy
            root = make_hierarchy(groups, num_classes)
        backbone = ResNet(depth, 8, layout=DILATED)
        context: nn.Module = SemanticPropagation(backbone.out_channels, root)
        super().__init__(backbone, context, PathSum(root))
