"""A street's canvas in perspective: primitives in metres that keep image, ids and surfaces.

x runs to the right of the road's middle, y up from the ground, z ahead of the camera. Everything
is drawn at ``Camera.scale`` times the final size, far things first; each pixel has one id.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from dseg.images import Ids, Pixels
from dseg.labels import Color
from dseg.synth.order import GroundBox, order_far_first
from dseg.synth.texture import Surface, add_texture
from dseg.synth.view import LABEL_IDS, NEAR, Camera, Daylight, Point

Point3 = tuple[float, float, float]
SURFACE_BITS = 16  # a mark is an id, and above these bits the number of a surface
_ANGLES = [math.pi * step / 12 for step in range(24)]
CIRCLE = [(math.cos(angle), math.sin(angle)) for angle in _ANGLES]


@dataclass
class Scene:
    """The image, the ids and the surfaces of one street, while it is drawn.

    Attributes:
        grain: a generator for the surfaces' texture; None leaves all colours flat.
        ground: colour of the road, for what lies under things; None if each thing knows.
    """

    light: Daylight
    rng: np.random.Generator
    camera: Camera = field(default_factory=Camera)
    grain: np.random.Generator | None = None
    ground: Color | None = None
    things: list[tuple[GroundBox, Callable[[], None]]] = field(default_factory=list)
    counts: Counter[int] = field(default_factory=Counter)
    surfaces: dict[Surface, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.size = self.camera.width * self.camera.scale, self.camera.height * self.camera.scale
        self.image, self.marks = Image.new("RGB", self.size), Image.new("I", self.size)
        self.glow = Image.new("RGB", self.size if self.light.lamps else (1, 1))
        self.draw, self.mark = ImageDraw.Draw(self.image), ImageDraw.Draw(self.marks)
        self.shine = ImageDraw.Draw(self.glow)

    def shadow(self, plain: Color) -> Color:
        """Return the colour right under a thing: ``plain`` if the road's colour is not known."""
        return rgb(0.5 * c for c in self.ground) if self.ground else plain

    def new_id(self, name: str) -> int:
        """Return the next instance id of a class: 1000 times its label id, and a number."""
        label_id = LABEL_IDS[name]
        self.counts[label_id] += 1
        return label_id * 1000 + self.counts[label_id] - 1

    def add(
        self, where: GroundBox | float, function: Callable[..., None], *args: object, **more: object
    ) -> None:
        """Keep a thing to be drawn when all that it hides is there.

        Args:
            where: its ground, or how far ahead it is if that is enough.
        """
        box = where if isinstance(where, GroundBox) else GroundBox(0.0, 0.0, where, where)
        self.things.append((box, lambda: function(self, *args, **more)))

    def draw_things(self) -> None:
        """Draw what was added, the farthest first."""
        for position in order_far_first([box for box, _ in self.things]):
            self.things[position][1]()

    def at(self, x: float, y: float, z: float) -> Point:
        """Project a point to the canvas."""
        c = self.camera
        z = max(z, NEAR)
        ahead = c.focal / z
        u = c.center[0] + ahead * (x - c.aside + c.bend * z * z)
        return u * c.scale, (c.center[1] + ahead * (c.eye - y)) * c.scale

    def leaning(self, x: float, z: float) -> float:
        """Return how far to the right of the line of sight a plane along the street stands.

        What is positive shows its left side, what is negative its right one.
        """
        return x - self.camera.aside - self.camera.bend * z * z

    def pixels_of(self, metres: float, z: float) -> float:
        """Return how many pixels of the canvas a length has at a distance."""
        return metres * self.camera.focal * self.camera.scale / max(z, NEAR)

    def tone(self, color: Color, z: float, shade: float = 1.0) -> Color:
        """Return a colour in this light, ``z`` metres away."""
        fade = 1 - math.exp(-z / self.light.reach)
        lit = (c * a * shade for c, a in zip(color, self.light.ambient, strict=True))
        mixed = (c + (h - c) * fade for c, h in zip(lit, self.light.haze, strict=True))
        return rgb(mixed)

    def polygon(
        self, points: Sequence[Point], color: Color | None, ident: int | None, surface: int = 0
    ) -> None:
        """Fill a polygon of the canvas; without an id what is there keeps its own."""
        if color is not None:
            self.draw.polygon(points, color)
            if self.light.lamps:
                self.shine.polygon(points, 0)  # it hides the lamps behind it
        if ident is not None:
            self.mark.polygon(points, ident | surface << SURFACE_BITS)

    def face(
        self,
        corners: Sequence[Point3],
        color: Color,
        ident: int | None,
        shade: float = 1.0,
        texture: str = "",
    ) -> None:
        """Fill a polygon of the world; a texture needs an id."""
        points = [self.at(*corner) for corner in corners]
        us, vs = [u for u, _ in points], [v for _, v in points]
        if max(us) < 0 or min(us) > self.size[0] or max(vs) < 0 or min(vs) > self.size[1]:
            return
        z = sum(corner[2] for corner in corners) / len(corners)
        self.polygon(points, self.tone(color, z, shade), ident, self._surface(corners, z, texture))

    def _surface(self, corners: Sequence[Point3], z: float, texture: str) -> int:
        """Return the number of the plane through some corners, 0 for one without texture."""
        if not texture or self.grain is None:
            return 0
        first, last = min(corners, key=lambda c: c[2]), max(corners, key=lambda c: c[2])
        run = last[2] - first[2]
        if max(c[1] for c in corners) - min(c[1] for c in corners) < 0.01:
            surface = Surface("flat", 0.0, 0.0, texture)
        elif run > 0.3 and abs(last[0] - first[0]) < run:
            near, far = (self._bent(c) for c in (first, last))
            slope = (far - near) / run
            surface = Surface("along", round(near - slope * first[2], 3), round(slope, 4), texture)
        else:
            surface = Surface("front", round(max(z, NEAR), 2), 0.0, texture)
        return self.surfaces.setdefault(surface, len(self.surfaces) + 1)

    def _bent(self, corner: Point3) -> float:
        """Return a corner's metres to the right of the line of sight straight ahead."""
        return corner[0] - self.camera.aside + self.camera.bend * corner[2] ** 2

    def upright(
        self,
        xs: Point,
        ys: Point,
        z: float,
        color: Color,
        ident: int | None,
        shade: float = 1.0,
        texture: str = "",
    ) -> None:
        """Fill a rectangle that faces the camera."""
        corners = [(xs[0], ys[0], z), (xs[0], ys[1], z), (xs[1], ys[1], z), (xs[1], ys[0], z)]
        self.face(corners, color, ident, shade, texture)

    def flat(
        self, xs: Point, zs: Point, color: Color, ident: int | None, y: float = 0, texture: str = ""
    ) -> None:
        """Fill a rectangle that lies on the ground, in strips so that haze grows with distance."""
        steps = np.geomspace(max(zs[0], NEAR), zs[1], 2 + int((zs[1] - zs[0]) / 6))
        for near, far in zip(steps[:-1].tolist(), steps[1:].tolist(), strict=True):
            corners = [(xs[0], y, near), (xs[0], y, far), (xs[1], y, far), (xs[1], y, near)]
            self.face(corners, color, ident, texture=texture)

    def along(
        self,
        x: float,
        ys: Point,
        zs: Point,
        color: Color,
        ident: int | None,
        shade: float = 1.0,
        texture: str = "",
    ) -> None:
        """Fill a rectangle that stands along the street."""
        corners = [(x, ys[0], zs[0]), (x, ys[1], zs[0]), (x, ys[1], zs[1]), (x, ys[0], zs[1])]
        self.face(corners, color, ident, shade * self.light.sides[x > 0], texture)

    def disc(
        self,
        center: Point3,
        radius: Point,
        color: Color,
        ident: int | None,
        turned: bool = False,
        texture: str = "",
    ) -> None:
        """Fill an ellipse that faces the camera or, ``turned``, stands along the street."""
        x, y, z = center
        fine = self.grain is None or self.pixels_of(max(radius), z) > 12
        corners = []
        for cosine, sine in CIRCLE if fine else CIRCLE[::2]:
            wide, high = radius[0] * cosine, radius[1] * sine
            corners.append((x, y + high, z + wide) if turned else (x + wide, y + high, z))
        self.face(corners, color, ident, texture=texture)

    def line(
        self,
        points: Sequence[Point3],
        wide: float,
        color: Color,
        ident: int | None,
        texture: str = "",
    ) -> None:
        """Draw a bar of ``wide`` metres through the points, all about equally far."""
        z = points[0][2]
        pixels = max(2, round(self.pixels_of(wide, z)))
        path = [self.at(*point) for point in points]
        self.draw.line(path, self.tone(color, z), pixels, joint="curve")
        if self.light.lamps:
            self.shine.line(path, 0, pixels, joint="curve")
        if ident is not None:
            surface = self._surface([(0, 0, z), (0, 1, z)], z, texture)
            self.mark.line(path, ident | surface << SURFACE_BITS, pixels, joint="curve")

    def text(self, center: Point3, size: float, words: str, color: Color) -> None:
        """Write words ``size`` metres high; the ids stay."""
        pixels = self.pixels_of(size, center[2])
        if pixels >= 6:
            font = ImageFont.load_default(pixels)
            tone = self.tone(color, center[2])
            self.draw.text(self.at(*center), words, tone, font, anchor="mm")

    def lamp(self, center: Point3, radius: float, color: Color) -> None:
        """Let a lamp shine, if lamps are on."""
        if self.light.lamps:
            (u, v), r = self.at(*center), self.pixels_of(radius, center[2])
            self.shine.ellipse((u - r, v - r, u + r, v + r), color)

    def finished(self) -> tuple[Pixels, Ids]:
        """Return (H, W, 3) uint8 pixels and (H, W) int32 ids, at the final size."""
        c = self.camera
        image = self.image.resize((c.width, c.height), Image.Resampling.BOX)
        marks = np.asarray(self.marks, np.int32)[:: c.scale, :: c.scale]
        ids = marks & (1 << SURFACE_BITS) - 1
        if self.grain is not None:
            numbers = marks >> SURFACE_BITS
            pixels = np.array(image)
            add_texture(pixels, numbers, list(self.surfaces), c, self.light.shadow, self.grain)
            image = Image.fromarray(pixels)
        return np.asarray(self._with_glow(image)), ids

    def _with_glow(self, image: Image.Image) -> Image.Image:
        if not self.light.lamps:
            return image
        for blur, share in ((2, 0.9), (14, 0.8)):
            halo = self.glow.resize(image.size, Image.Resampling.BOX)
            halo = halo.filter(ImageFilter.GaussianBlur(blur * image.height / 512))
            image = ImageChops.add(image, halo.point(lambda value, s=share: int(value * s)))
        return image


def rgb(channels: Iterable[float]) -> Color:
    """Return a colour of whole numbers from 0 to 255."""
    red, green, blue = (min(255, max(0, round(c))) for c in channels)
    return red, green, blue
