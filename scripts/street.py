"""A drawn street in perspective: a canvas that keeps image and instance ids, and what stands on it.

Coordinates are metres: x to the right of the camera, y above the ground, z ahead. Everything is
drawn at SCALE times the final size, far things first; an id belongs to exactly one pixel.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

Color = tuple[int, int, int]
Point = tuple[float, float]
Point3 = tuple[float, float, float]

WIDTH, HEIGHT, SCALE = 1024, 512, 2
FOCAL, CENTER, EYE = 560.0, (512.0, 212.0), 1.5  # pixels, pixels, metres above the ground
NEAR = 1.7  # metres; what is nearer is drawn as if it were there

LABEL_IDS = {
    "ego": 1, "out of roi": 3, "road": 7, "sidewalk": 8, "rail track": 10, "building": 11,
    "wall": 12, "fence": 13, "pole": 17, "light": 19, "sign": 20, "vegetation": 21,
    "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26, "truck": 27, "bus": 28,
    "train": 31, "motorcycle": 32, "bicycle": 33,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Daylight:
    """The light of a scene.

    Attributes:
        sky: colours at the top and at the horizon.
        cloud: colour of the clouds.
        haze: colour that far things fade to.
        ambient: share of each channel that surfaces throw back.
        lamps: whether windows, lanterns and headlights shine.
    """

    sky: tuple[Color, Color]
    cloud: Color
    haze: Color
    ambient: tuple[float, float, float]
    lamps: bool


@dataclass
class Scene:
    """The image and the ids of one street, while it is drawn."""

    light: Daylight
    rng: np.random.Generator
    things: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    counts: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        size = (WIDTH * SCALE, HEIGHT * SCALE)
        self.image = Image.new("RGB", size)
        self.ids = Image.new("I", size)
        self.glow = Image.new("RGB", size)
        self.draw, self.mark = ImageDraw.Draw(self.image), ImageDraw.Draw(self.ids)
        self.shine = ImageDraw.Draw(self.glow)

    def new_id(self, name: str) -> int:
        """Return the next instance id of a class: 1000 times its label id, and a number."""
        label_id = LABEL_IDS[name]
        self.counts[label_id] += 1
        return label_id * 1000 + self.counts[label_id] - 1

    def add(self, z: float, function: Callable[..., None], *args: object) -> None:
        """Keep a thing to be drawn when all that is farther away is there."""
        self.things.append((z, lambda: function(self, *args)))

    def draw_things(self) -> None:
        """Draw what was added, the farthest first."""
        for _, function in sorted(self.things, key=lambda thing: -thing[0]):
            function()

    def at(self, x: float, y: float, z: float) -> Point:
        """Project a point to the canvas."""
        z = max(z, NEAR)
        u, v = CENTER[0] + FOCAL * x / z, CENTER[1] + FOCAL * (EYE - y) / z
        return u * SCALE, v * SCALE

    def tone(self, color: Color, z: float, shade: float = 1.0) -> Color:
        """Return a colour in this light, ``z`` metres away."""
        fade = 1 - math.exp(-z / 140)
        lit = (c * a * shade for c, a in zip(color, self.light.ambient, strict=True))
        mixed = (c + (h - c) * fade for c, h in zip(lit, self.light.haze, strict=True))
        return _rgb(mixed)

    def polygon(self, points: Sequence[Point], color: Color | None, ident: int | None) -> None:
        """Fill a polygon of the canvas; without an id what is there keeps its own."""
        if color is not None:
            self.draw.polygon(points, color)
            self.shine.polygon(points, 0)  # it hides the lamps behind it
        if ident is not None:
            self.mark.polygon(points, ident)

    def face(
        self, corners: Sequence[Point3], color: Color, ident: int | None, shade: float = 1.0
    ) -> None:
        """Fill a polygon of the world."""
        z = sum(corner[2] for corner in corners) / len(corners)
        self.polygon([self.at(*corner) for corner in corners], self.tone(color, z, shade), ident)

    def upright(
        self, xs: Point, ys: Point, z: float, color: Color, ident: int | None, shade: float = 1.0
    ) -> None:
        """Fill a rectangle that faces the camera."""
        corners = [(xs[0], ys[0], z), (xs[0], ys[1], z), (xs[1], ys[1], z), (xs[1], ys[0], z)]
        self.face(corners, color, ident, shade)

    def flat(self, xs: Point, zs: Point, color: Color, ident: int | None, y: float = 0) -> None:
        """Fill a rectangle that lies on the ground, in strips so that haze grows with distance."""
        steps = np.geomspace(max(zs[0], NEAR), zs[1], 2 + int((zs[1] - zs[0]) / 6))
        for near, far in zip(steps[:-1].tolist(), steps[1:].tolist(), strict=True):
            corners = [(xs[0], y, near), (xs[0], y, far), (xs[1], y, far), (xs[1], y, near)]
            self.face(corners, color, ident)

    def along(
        self, x: float, ys: Point, zs: Point, color: Color, ident: int | None, shade: float = 1.0
    ) -> None:
        """Fill a rectangle that stands along the street."""
        corners = [(x, ys[0], zs[0]), (x, ys[1], zs[0]), (x, ys[1], zs[1]), (x, ys[0], zs[1])]
        self.face(corners, color, ident, shade)

    def disc(
        self, center: Point3, radius: Point, color: Color, ident: int | None, turned: bool = False
    ) -> None:
        """Fill an ellipse that faces the camera or, ``turned``, stands along the street."""
        x, y, z = center
        angles = np.linspace(0, 2 * math.pi, 24, endpoint=False)
        corners = []
        for angle in angles.tolist():
            wide, high = radius[0] * math.cos(angle), radius[1] * math.sin(angle)
            corners.append((x, y + high, z + wide) if turned else (x + wide, y + high, z))
        self.face(corners, color, ident)

    def line(self, points: Sequence[Point3], wide: float, color: Color, ident: int | None) -> None:
        """Draw a bar of ``wide`` metres through the points, all about equally far."""
        z = points[0][2]
        pixels = max(2, round(wide * FOCAL * SCALE / max(z, NEAR)))
        path = [self.at(*point) for point in points]
        self.draw.line(path, self.tone(color, z), pixels, joint="curve")
        self.shine.line(path, 0, pixels, joint="curve")
        if ident is not None:
            self.mark.line(path, ident, pixels, joint="curve")

    def text(self, center: Point3, size: float, words: str, color: Color) -> None:
        """Write words ``size`` metres high; the ids stay."""
        pixels = size * FOCAL * SCALE / max(center[2], NEAR)
        if pixels >= 6:
            font = ImageFont.load_default(pixels)
            tone = self.tone(color, center[2])
            self.draw.text(self.at(*center), words, tone, font, anchor="mm")

    def lamp(self, center: Point3, radius: float, color: Color) -> None:
        """Let a lamp shine, if lamps are on."""
        if self.light.lamps:
            (u, v), r = self.at(*center), radius * FOCAL * SCALE / max(center[2], NEAR)
            self.shine.ellipse((u - r, v - r, u + r, v + r), color)

    def finished(self) -> tuple[Image.Image, NDArray[np.int32]]:
        """Return the image and (HEIGHT, WIDTH) int32 ids, at the final size."""
        image = self.image.resize((WIDTH, HEIGHT), Image.Resampling.BOX)
        for blur, share in ((2, 0.9), (14, 0.8)):
            halo = self.glow.resize((WIDTH, HEIGHT), Image.Resampling.BOX)
            halo = halo.filter(ImageFilter.GaussianBlur(blur))
            image = ImageChops.add(image, halo.point(lambda value, s=share: int(value * s)))
        return image, np.asarray(self.ids, np.int32)[::SCALE, ::SCALE]


def _rgb(channels: Iterable[float]) -> Color:
    red, green, blue = (min(255, max(0, round(c))) for c in channels)
    return red, green, blue


def draw_sky(scene: Scene) -> None:
    """Draw a gradient and soft clouds over the upper part of the canvas."""
    ident = LABEL_IDS["sky"]
    top, low = scene.light.sky
    bottom = int((CENTER[1] + 4) * SCALE)
    for row in range(bottom):
        t = (row / bottom) ** 1.3
        color = _rgb(a + (b - a) * t for a, b in zip(top, low, strict=True))
        scene.draw.line((0, row, WIDTH * SCALE, row), color)
    mask = Image.new("L", scene.image.size)
    puff = ImageDraw.Draw(mask)
    for _ in range(9):
        u, v = scene.rng.uniform(0, WIDTH * SCALE), scene.rng.uniform(0, bottom * 0.62)
        for _ in range(9):
            du, dv = scene.rng.normal(0, 90), scene.rng.normal(0, 9)
            r = scene.rng.uniform(14, 40)
            puff.ellipse((u + du - 2 * r, v + dv - r, u + du + 2 * r, v + dv + r * 0.7), 150)
    mask = mask.filter(ImageFilter.GaussianBlur(16))
    scene.image.paste(Image.new("RGB", scene.image.size, scene.light.cloud), mask=mask)
    scene.mark.rectangle((0, 0, WIDTH * SCALE, HEIGHT * SCALE), ident)


def draw_skyline(scene: Scene) -> None:
    """Draw far trees and roofs where the street ends."""
    for _ in range(26):
        x, wide, high = (float(scene.rng.uniform(*r)) for r in ((-150, 150), (6, 16), (6, 15)))
        scene.upright((x, x + wide), (-1, high), 185, (120, 112, 108), LABEL_IDS["building"])
    for _ in range(70):
        x, r = scene.rng.uniform(-110, 110), scene.rng.uniform(2, 5)
        scene.disc((x, r * 0.8, 165), (r * 1.4, r), (62, 88, 50), LABEL_IDS["vegetation"])


def draw_ground(scene: Scene, half_road: float, pavement: float, crossing: float) -> None:
    """Draw grass, pavements with kerbs, the road and its marks.

    Args:
        half_road: metres from the middle of the road to the kerb.
        pavement: width of a pavement in metres.
        crossing: how far ahead people cross, in metres.
    """
    outer = half_road + pavement
    scene.flat((-200, 200), (NEAR, 220), (112, 140, 78), LABEL_IDS["terrain"])
    scene.flat((-outer, outer), (NEAR, 220), (158, 152, 146), LABEL_IDS["sidewalk"])
    for joint in np.arange(2, 60, 1.5).tolist():  # between slabs
        for side in (-1, 1):
            span = side * half_road, side * outer
            scene.flat(span, (joint, joint + 0.04), (128, 122, 117), None)
    scene.flat((-half_road - 0.22, half_road + 0.22), (NEAR, 220), (186, 182, 176), None)
    scene.flat((-half_road, half_road), (NEAR, 220), (92, 92, 96), LABEL_IDS["road"])
    for _ in range(26):  # patches of newer and older asphalt
        x = float(scene.rng.uniform(-half_road, half_road - 1.2))
        z = float(scene.rng.uniform(3, 60))
        grey = int(scene.rng.integers(82, 102))
        size = scene.rng.uniform(0.5, 1.2), scene.rng.uniform(1, 9)
        scene.flat((x, x + size[0]), (z, z + size[1]), (grey, grey, grey + 3), None)
    for z in np.arange(2, 150, 6).tolist():
        if abs(z - crossing) < 4.5:
            continue
        scene.flat((-0.07, 0.07), (z, z + 3), (226, 226, 222), None)
    for x in np.arange(-half_road + 0.5, half_road - 0.8, 1.0).tolist():  # a zebra crossing
        scene.flat((x, x + 0.5), (crossing, crossing + 3), (222, 222, 218), None)
    for edge in (-half_road + 0.35, half_road - 0.45):
        scene.flat((edge, edge + 0.1), (NEAR, 160), (205, 205, 200), None)
