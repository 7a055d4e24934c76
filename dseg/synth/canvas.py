"""Canvas with perspective: draw primitives in metres into an image, an id map and a surface map.

Coordinates are in metres: x to the right of the road's centre line, y up from the ground, z ahead
of the camera. Everything is drawn at ``Camera.scale`` times the final size, far objects first.
Each pixel has one id.
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
from dseg.synth.camera import LABEL_IDS, NEAR, Camera, Daylight, Point
from dseg.synth.depth_order import GroundBox, order_far_first
from dseg.synth.texture import Surface, add_texture

Point3 = tuple[float, float, float]
SURFACE_BITS = 16  # a mark has an id in its lower 16 bits and the number of a surface above them
_ANGLES = [math.pi * step / 12 for step in range(24)]
CIRCLE = [(math.cos(angle), math.sin(angle)) for angle in _ANGLES]


@dataclass
class Scene:
    """Image, id map and surface map of one street while it is drawn.

    Attributes:
        light: Light of the scene.
        rng: Random generator for the shapes of objects.
        camera: Camera of the scene.
        grain: Random generator for textures; None draws without textures.
        ground: Colour of the road, for the shadows under objects; None uses a default colour.
        things: Ground and drawing function of each object that is not drawn yet.
        counts: Number of instances of each label id.
        surfaces: Number of each surface in the surface map.
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
        """Return the shadow colour under an object, ``plain`` if ``ground`` is None."""
        return rgb(0.5 * c for c in self.ground) if self.ground else plain

    def new_id(self, name: str) -> int:
        """Return the next instance id of a class: 1000 times its label id plus a number."""
        label_id = LABEL_IDS[name]
        self.counts[label_id] += 1
        return label_id * 1000 + self.counts[label_id] - 1

    def add(
        self, where: GroundBox | float, function: Callable[..., None], *args: object, **more: object
    ) -> None:
        """Register an object, which is drawn after all objects that it hides.

        Args:
            where: Ground that the object covers, or only its distance in metres.
            function: Drawing function, called with this scene and the further arguments.
        """
        box = where if isinstance(where, GroundBox) else GroundBox(0.0, 0.0, where, where)
        self.things.append((box, lambda: function(self, *args, **more)))

    def draw_things(self) -> None:
        """Draw the registered objects, the farthest first."""
        for position in order_far_first([box for box, _ in self.things]):
            self.things[position][1]()

    def at(self, x: float, y: float, z: float) -> Point:
        """Project a point in the world to pixel coordinates of the canvas."""
        c = self.camera
        z = max(z, NEAR)
        ahead = c.focal / z
        u = c.center[0] + ahead * (x - c.aside + c.bend * z * z)
        return u * c.scale, (c.center[1] + ahead * (c.eye - y)) * c.scale

    def lateral_offset(self, x: float, z: float) -> float:
        """Return how many metres a plane along the street is to the right of the line of sight.

        If the offset is positive, the left side of an object is visible, otherwise the right one.
        """
        return x - self.camera.aside - self.camera.bend * z * z

    def pixels_of(self, metres: float, z: float) -> float:
        """Return the length in canvas pixels of ``metres`` at the distance ``z``."""
        return metres * self.camera.focal * self.camera.scale / max(z, NEAR)

    def tone(self, color: Color, z: float, shade: float = 1.0) -> Color:
        """Return the apparent colour of a surface in this light at the distance ``z``."""
        fade = 1 - math.exp(-z / self.light.reach)
        lit = (c * a * shade for c, a in zip(color, self.light.ambient, strict=True))
        mixed = (c + (h - c) * fade for c, h in zip(lit, self.light.haze, strict=True))
        return rgb(mixed)

    def polygon(
        self, points: Sequence[Point], color: Color | None, ident: int | None, surface: int = 0
    ) -> None:
        """Fill a polygon in canvas coordinates; without an id, the pixels keep theirs."""
        if color is not None:
            self.draw.polygon(points, color)
            if self.light.lamps:
                self.shine.polygon(points, 0)  # hide the lamps behind it
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
        """Fill a polygon in world coordinates; a texture requires an id."""
        points = [self.at(*corner) for corner in corners]
        us, vs = [u for u, _ in points], [v for _, v in points]
        if max(us) < 0 or min(us) > self.size[0] or max(vs) < 0 or min(vs) > self.size[1]:
            return
        z = sum(corner[2] for corner in corners) / len(corners)
        self.polygon(points, self.tone(color, z, shade), ident, self._surface(corners, z, texture))

    def _surface(self, corners: Sequence[Point3], z: float, texture: str) -> int:
        """Return the number of the surface through these corners, 0 without texture."""
        if not texture or self.grain is None:
            return 0
        first, last = min(corners, key=lambda c: c[2]), max(corners, key=lambda c: c[2])
        run = last[2] - first[2]
        if max(c[1] for c in corners) - min(c[1] for c in corners) < 0.01:
            surface = Surface("flat", 0.0, 0.0, texture)
        elif run > 0.3 and abs(last[0] - first[0]) < run:
            near, far = (self._offset_ahead(c) for c in (first, last))
            slope = (far - near) / run
            surface = Surface("along", round(near - slope * first[2], 3), round(slope, 4), texture)
        else:
            surface = Surface("front", round(max(z, NEAR), 2), 0.0, texture)
        return self.surfaces.setdefault(surface, len(self.surfaces) + 1)

    def _offset_ahead(self, corner: Point3) -> float:
        """Return how many metres a corner is to the right of the camera's axis."""
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
        """Fill a horizontal rectangle, in strips so that haze increases with the distance."""
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
        """Fill a vertical rectangle that is parallel to the street."""
        corners = [(x, ys[0], zs[0]), (x, ys[1], zs[0]), (x, ys[1], zs[1]), (x, ys[0], zs[1])]
        self.face(corners, color, ident, shade * self.light.sides[x > 0], texture)

    def disc(
        self,
        center: Point3,
        radius: Point,
        color: Color,
        ident: int | None,
        parallel: bool = False,
        texture: str = "",
    ) -> None:
        """Fill an ellipse that faces the camera or, if ``parallel``, is parallel to the street."""
        x, y, z = center
        fine = self.grain is None or self.pixels_of(max(radius), z) > 12
        corners = []
        for cosine, sine in CIRCLE if fine else CIRCLE[::2]:
            wide, high = radius[0] * cosine, radius[1] * sine
            corners.append((x, y + high, z + wide) if parallel else (x + wide, y + high, z))
        self.face(corners, color, ident, texture=texture)

    def line(
        self,
        points: Sequence[Point3],
        wide: float,
        color: Color,
        ident: int | None,
        texture: str = "",
    ) -> None:
        """Draw a line of ``wide`` metres through points at about the same distance."""
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
        """Write words ``size`` metres high, without changing the ids."""
        pixels = self.pixels_of(size, center[2])
        if pixels >= 6:
            font = ImageFont.load_default(pixels)
            tone = self.tone(color, center[2])
            self.draw.text(self.at(*center), words, tone, font, anchor="mm")

    def lamp(self, center: Point3, radius: float, color: Color) -> None:
        """Add the glow of a lamp if lamps are on."""
        if self.light.lamps:
            (u, v), r = self.at(*center), self.pixels_of(radius, center[2])
            self.shine.ellipse((u - r, v - r, u + r, v + r), color)

    def finished(self) -> tuple[Pixels, Ids]:
        """Return the image, (H, W, 3) uint8, and the ids, (H, W) int32, at the final size."""
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
        for blur, strength in ((2, 0.9), (14, 0.8)):
            halo = self.glow.resize(image.size, Image.Resampling.BOX)
            halo = halo.filter(ImageFilter.GaussianBlur(blur * image.height / 512))
            image = ImageChops.add(image, halo.point(lambda value, s=strength: int(value * s)))
        return image


def rgb(channels: Iterable[float]) -> Color:
    """Return a colour with channels rounded and clipped to 0 to 255."""
    red, green, blue = (min(255, max(0, round(c))) for c in channels)
    return red, green, blue
