"""Draw the sky, the skyline, the road, its pavements and its markings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from dseg.labels import Color
from dseg.synth.camera import LABEL_IDS, NEAR, Point
from dseg.synth.canvas import Scene

END = 220.0  # distance of the far end of the ground in metres


@dataclass(frozen=True, kw_only=True)
class Street:
    """Dimensions and colours of a road and its pavements.

    Attributes:
        half_road: Distance from the road's centre line to the kerb in metres.
        pavements: Widths of the left and the right pavement in metres.
        crossing: Distance of the pedestrian crossing in metres, None for no crossing.
        dashes: Positions of the lane lines in metres from the centre line.
        solid: Whether the first lane line is solid.
        edges: Whether there are lines along the kerbs.
        worn: Wear of the markings, from 0 to 1 for the colour of the road.
        road, pavement, kerb, land: Colours.
        kinds: Textures of road, pavement and land.
    """

    half_road: float
    pavements: Point
    crossing: float | None
    dashes: tuple[float, ...] = (0.0,)
    solid: bool = False
    edges: bool = True
    worn: float = 0.0
    road: Color = (92, 92, 96)
    pavement: Color = (158, 152, 146)
    kerb: Color = (186, 182, 176)
    land: Color = (112, 140, 78)
    kinds: tuple[str, str, str] = ("asphalt", "slabs", "grass")

    @property
    def outer(self) -> Point:
        """Positions of the pavements' outer edges in metres, of which the left is negative."""
        return -self.half_road - self.pavements[0], self.half_road + self.pavements[1]

    def mark(self, color: Color) -> Color:
        """Return the colour of a worn marking."""
        pairs = zip(color, self.road, strict=True)
        red, green, blue = (round(new + (old - new) * self.worn) for new, old in pairs)
        return red, green, blue


def draw_sky(scene: Scene, cover: float, grain: np.random.Generator) -> None:
    """Draw a gradient and noise clouds, and label all pixels as sky.

    Args:
        cover: Approximate fraction of the sky under clouds.
    """
    camera = scene.camera
    high = min(camera.height, max(8, int(camera.center[1]) + 6))
    top, low = (np.array(color, np.float32) for color in scene.light.sky)
    t = np.linspace(0, 1, high, dtype=np.float32)[:, None, None]
    sky = top + (low - top) * t
    noise = np.zeros((high, camera.width), np.float32)
    for cells, weight in ((2, 0.5), (5, 0.32), (11, 0.2), (26, 0.1)):
        small = grain.random((cells + 1, 2 * cells + 2), np.float32)
        wide = Image.fromarray(small).resize(noise.shape[::-1], Image.Resampling.BICUBIC)
        noise += np.float32(weight) * np.asarray(wide)
    density = np.clip((noise - np.float32(0.92 - 0.75 * cover)) * 3, 0, 1)[..., None]
    body = np.array(scene.light.cloud, np.float32) * (1.08 - 0.2 * noise[..., None])
    mixed = sky + (body - sky) * density
    painted = Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8))
    scene.image.paste(painted.resize((scene.size[0], high * camera.scale)), (0, 0))
    scene.mark.rectangle((0, 0, *scene.size), LABEL_IDS["sky"])


def draw_skyline(scene: Scene) -> None:
    """Draw distant trees and roofs at the end of the street."""
    wall, leaf = LABEL_IDS["building"], LABEL_IDS["vegetation"]
    for _ in range(26):
        x, wide, high = (float(scene.rng.uniform(*r)) for r in ((-150, 150), (6, 16), (6, 15)))
        scene.upright((x, x + wide), (-1, high), 185, (120, 112, 108), wall, texture="far")
    for _ in range(70):
        x, r = float(scene.rng.uniform(-110, 110)), float(scene.rng.uniform(2, 5))
        scene.disc((x, r * 0.8, 165), (r * 1.4, r), (62, 88, 50), leaf, texture="leaves")


def draw_ground(scene: Scene, street: Street) -> None:
    """Draw the land, the pavements with kerbs, the road and its markings."""
    half, (left, right) = street.half_road, street.outer
    road, pavement, land = street.kinds
    scene.flat((-200, 200), (NEAR, END), street.land, LABEL_IDS["terrain"], texture=land)
    scene.flat((left, right), (NEAR, END), street.pavement, LABEL_IDS["sidewalk"], texture=pavement)
    if scene.grain is None:
        _draw_joints(scene, street)
    scene.flat((-half - 0.22, half + 0.22), (NEAR, END), street.kerb, None)
    scene.flat((-half, half), (NEAR, END), street.road, LABEL_IDS["road"], texture=road)
    _draw_patches(scene, street)
    _draw_markings(scene, street)


def _draw_joints(scene: Scene, street: Street) -> None:
    """Draw the joints between the slabs of the pavements, for scenes without textures."""
    for joint in np.arange(2, 60, 1.5).tolist():
        for side, outer in zip((-1, 1), street.outer, strict=True):
            span = side * street.half_road, outer
            scene.flat(span, (joint, joint + 0.04), (128, 122, 117), None)


def _draw_patches(scene: Scene, street: Street) -> None:
    """Draw patches of newer and older asphalt."""
    half, rng = street.half_road, scene.rng
    for _ in range(26):
        x = float(rng.uniform(-half, half - 1.2))
        z = float(rng.uniform(3, 60))
        change = int(rng.integers(82, 102)) - 92
        wide, long = float(rng.uniform(0.5, 1.2)), float(rng.uniform(1, 9))
        red, green, blue = street.road
        patch = (red + change, green + change, blue + change - 1)
        scene.flat((x, x + wide), (z, z + long), patch, None)


def _draw_markings(scene: Scene, street: Street) -> None:
    """Draw the lines between lanes and along the kerbs, and the crossing."""
    half, crossing = street.half_road, street.crossing
    for place, line in enumerate(street.dashes):
        for z in np.arange(2, 150, 6).tolist():
            if crossing is None or abs(z - crossing) >= 4.5:
                length = 6 if street.solid and place == 0 else 3
                scene.flat(
                    (line - 0.07, line + 0.07), (z, z + length), street.mark((226, 226, 222)), None
                )
    if crossing is not None:
        for x in np.arange(-half + 0.5, half - 0.8, 1.0).tolist():
            scene.flat((x, x + 0.5), (crossing, crossing + 3), street.mark((222, 222, 218)), None)
    for edge in (-half + 0.35, half - 0.45) if street.edges else ():
        scene.flat((edge, edge + 0.1), (NEAR, 160), street.mark((205, 205, 200)), None)


def draw_side_street(scene: Scene, street: Street, side: int, zs: Point) -> None:
    """Draw a road that branches off between ``zs[0]`` and ``zs[1]`` metres ahead.

    Args:
        side: -1 for left, 1 for right.
    """
    kerb, far = side * street.half_road, side * 90.0
    span = min(kerb, far), max(kerb, far)
    outer = (zs[0] - 2.2, zs[1] + 2.2)
    scene.flat(span, outer, street.pavement, LABEL_IDS["sidewalk"], texture=street.kinds[1])
    scene.flat(span, zs, street.road, LABEL_IDS["road"], texture=street.kinds[0])


def draw_arrow(scene: Scene, street: Street, x: float, z: float) -> None:
    """Draw an arrow on the road, pointing ahead."""
    color = street.mark((222, 222, 218))
    scene.flat((x - 0.08, x + 0.08), (z, z + 2.2), color, None)
    tip = [(x - 0.4, 0.0, z + 2.2), (x + 0.4, 0.0, z + 2.2), (x, 0.0, z + 3.8)]
    scene.face(tip, color, None)


def draw_verge(scene: Scene, street: Street, side: int, wide: float) -> None:
    """Draw a strip of grass on a pavement, along the kerb."""
    near = side * (street.half_road + 0.25)
    span = (near, near + side * wide)
    scene.flat(
        (min(span), max(span)), (NEAR, END), street.land, LABEL_IDS["terrain"],
        texture=street.kinds[2],
    )  # fmt: skip


def draw_rails(scene: Scene, x: float, bed: Color | None = (112, 106, 102)) -> None:
    """Draw two rails in the road, or on a bed of colour ``bed``, which is labelled rail track."""
    if bed is not None:
        track = LABEL_IDS["rail track"]
        scene.flat((x - 1.4, x + 1.4), (NEAR, 200), bed, track, texture="gravel")
    for rail in (x - 0.75, x + 0.7):
        scene.flat((rail, rail + 0.07), (NEAR, 200), (168, 170, 174), None)
