"""Augmentation: random scale, crop, flip, rotation, colours and blur as one affine resample.

The augmentation of a sample is drawn first, as a ``View``, by a random generator that depends only
on (seed, epoch, index); then it is applied, on any device.
"""

from dseg.data.transforms.crop import apply_views, crop_view
from dseg.data.transforms.views import Augmentation, View, draw_view, make_generator

__all__ = ["Augmentation", "View", "apply_views", "crop_view", "draw_view", "make_generator"]
