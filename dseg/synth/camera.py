"""Camera, light and label ids of a synthetic scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dseg.labels import Color

Point = tuple[float, float]
Floats = NDArray[np.float32]
NEAR = 1.7  # metres; distances are clipped to this minimum
LABEL_IDS = {
    "ego": 1, "out of roi": 3, "road": 7, "sidewalk": 8, "rail track": 10, "building": 11,
    "wall": 12, "fence": 13, "pole": 17, "light": 19, "sign": 20, "vegetation": 21,
    "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26, "truck": 27, "bus": 28,
    "train": 31, "motorcycle": 32, "bicycle": 33,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Image size and pose of the camera.

    Attributes:
        height, width: Final image size in pixels.
        scale: Supersampling factor of the canvas.
        focal: Focal length in pixels of the final size.
        center: Principal point (x, y) on the horizon, in pixels from the upper left corner.
        eye: Height above the ground in metres.
        aside: Distance to the right of the road's centre line in metres.
        bend: Curvature coefficient in 1/metres: the road's lateral deviation is this times the
            squared distance.
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
    """Light of a scene.

    Attributes:
        sky: Colours of the sky at the top and at the horizon.
        cloud: Colour of the clouds.
        haze: Colour that distant objects fade to.
        ambient: Brightness factor of each channel.
        lamps: Whether windows, street lamps and headlights are on.
        reach: Distance in metres at which about two thirds of a colour are haze.
        sides: Brightness factors of surfaces along the left and the right side of the road.
        shadow: Position of the shadow's edge on the ground in metres; the shadow is to its left if
            positive, to its right if negative, and absent if 0.
        wet: Strength of the reflections on the road, 0 to 1.
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
