"""Camera and light of a drawn street, and the label ids of what stands on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dseg.labels import Color

Point = tuple[float, float]
Floats = NDArray[np.float32]
NEAR = 1.7  # metres; what is nearer is drawn as if it were there
LABEL_IDS = {
    "ego": 1, "out of roi": 3, "road": 7, "sidewalk": 8, "rail track": 10, "building": 11,
    "wall": 12, "fence": 13, "pole": 17, "light": 19, "sign": 20, "vegetation": 21,
    "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26, "truck": 27, "bus": 28,
    "train": 31, "motorcycle": 32, "bicycle": 33,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Where the camera stands, where it looks and how many pixels it has.

    Attributes:
        scale: how many times finer than the final size everything is drawn.
        focal: focal length in pixels of the final size.
        center: the point on the horizon straight ahead, in pixels from the upper left.
        eye: metres above the ground.
        aside: metres to the right of the road's middle.
        bend: the road leaves its straight by this times the squared distance, in 1/metres.
    """

    height: int = 512
    width: int = 1024
    scale: int = 2
    focal: float = 560.0
    center: Point = (512.0, 212.0)
    eye: float = 1.5
    aside: float = 0.0
    bend: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Daylight:
    """The light of a scene.

    Attributes:
        sky: colours at the top and at the horizon.
        cloud: colour of the clouds.
        haze: colour that far things fade to.
        ambient: share of each channel that surfaces throw back.
        lamps: whether windows, lanterns and headlights shine.
        reach: metres after which two thirds of a colour are haze.
        sides: brightness of what stands along the left and the right of the road.
        shadow: metres that the houses' shadow reaches over the road, from the left if positive,
            from the right if negative; 0 without sun.
        wet: how much of the scene the road mirrors, 0 to 1.
    """

    sky: tuple[Color, Color]
    cloud: Color
    haze: Color
    ambient: tuple[float, float, float]
    lamps: bool
    reach: float = 140.0
    sides: Point = (1.0, 1.0)
    shadow: float = 0.0
    wet: float = 0.0
