"""Draw cars in perspective with windows, wheels and lights."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from dseg.labels import Color
from dseg.synth.camera import Point
from dseg.synth.canvas import Point3, Scene

DARK: Color = (34, 36, 42)
GLASS: Color = (58, 72, 88)
TIRE: Color = (26, 26, 28)
HEADLIGHT: Color = (250, 246, 226)
TAIL: Color = (206, 28, 30)
PLATE: Color = (232, 232, 224)
SHADOW: Color = (58, 58, 62)


@dataclass(frozen=True, kw_only=True)
class Body:
    """Outline of a car from the side, with its rear end first.

    Attributes:
        hull: Points of the lower body as (metres from the rear, metres above the ground), from
            the lower rear corner to the lower front corner.
        cabin: Corners of the cabin in the same coordinates: lower rear, upper rear, upper front
            and lower front.
        half: Half of the width in metres.
    """

    hull: tuple[Point, ...]
    cabin: tuple[Point, Point, Point, Point]
    half: float = 0.88

    @property
    def length(self) -> float:
        return self.hull[-1][0]

    def front_first(self) -> Body:
        """Return the outline with its front end first."""
        far = self.length
        hull = tuple((far - a, b) for a, b in reversed(self.hull))
        a, b, c, d = ((far - p, q) for p, q in reversed(self.cabin))
        return Body(hull=hull, cabin=(a, b, c, d), half=self.half)


BODIES: dict[str, Body] = {
    "saloon": Body(
        hull=((0.0, 0.28), (0.02, 0.88), (4.2, 0.84), (4.25, 0.3)),
        cabin=((0.3, 0.88), (0.75, 1.42), (2.4, 1.46), (3.3, 0.86)),
    ),
    "hatchback": Body(
        hull=((0.0, 0.28), (0.02, 0.9), (3.7, 0.82), (3.8, 0.3)),
        cabin=((0.06, 0.9), (0.4, 1.44), (2.1, 1.48), (3.0, 0.88)),
        half=0.84,
    ),
    "estate": Body(
        hull=((0.0, 0.28), (0.02, 0.9), (4.5, 0.82), (4.55, 0.3)),
        cabin=((0.08, 0.9), (0.35, 1.44), (2.7, 1.48), (3.6, 0.86)),
    ),
    "jeep": Body(
        hull=((0.0, 0.4), (0.02, 1.08), (4.4, 1.02), (4.45, 0.42)),
        cabin=((0.05, 1.08), (0.25, 1.76), (2.7, 1.8), (3.4, 1.06)),
        half=0.94,
    ),
    "van": Body(
        hull=((0.0, 0.32), (0.02, 1.12), (4.7, 0.95), (4.8, 0.34)),
        cabin=((0.03, 1.12), (0.08, 2.1), (3.5, 2.1), (4.4, 1.02)),
        half=0.96,
    ),
}


ONCOMING = Body(  # saloon with its front end first: lower front, cabin farther back
    hull=((0.0, 0.28), (0.02, 0.72), (1.1, 0.9), (4.2, 0.92), (4.25, 0.3)),
    cabin=((1.0, 0.9), (1.85, 1.44), (3.4, 1.44), (4.0, 0.9)),
)


def draw_wheel(scene: Scene, x: float, z: float, radius: float, ident: int) -> None:
    """Draw a wheel that is parallel to the street."""
    scene.disc((x, radius, z), (radius, radius), TIRE, ident, True)
    scene.disc((x, radius, z), (radius * 0.6, radius * 0.6), (150, 152, 156), None, True)


def visible_side(scene: Scene, xs: Point, z: float) -> float:
    """Return the x of an object's side, of the two in ``xs``, that faces the camera."""
    return xs[0] if scene.lateral_offset((xs[0] + xs[1]) / 2, z) > 0 else xs[1]


def draw_lamps(scene: Scene, x: float, y: float, z: float, radius: float, away: bool) -> None:
    """Add the glow of a vehicle's lamp, red if it drives ``away``, otherwise warm white."""
    scene.lamp((x, y, z), radius, (190, 20, 16) if away else (255, 240, 200))


def _prism(
    scene: Scene, xs: Point, outline: list[Point], color: Color, ident: int, taper: float = 0
) -> None:
    """Draw a prism with the same outline from ``xs[0]`` to ``xs[1]``.

    Args:
        outline: Corners as (z, y), from the lower near corner over the top to the lower far one.
        taper: Metres by which the sides are inset at the top.
    """
    lowest = min(y for _, y in outline)
    span = max(y for _, y in outline) - lowest

    def corner(place: Point, right: bool) -> Point3:
        inset = taper * (place[1] - lowest) / span
        return (xs[1] - inset if right else xs[0] + inset), place[1], place[0]

    pairs = list(pairwise(outline))
    for first, second in reversed(pairs[1:]):  # roof and far slopes
        rising = second[1] >= first[1]
        if rising or first[1] < scene.camera.eye - 0.05:
            quad = [corner(first, False), corner(first, True)]
            quad += [corner(second, True), corner(second, False)]
            scene.face(quad, color, ident, 1.06, "paint")
    right = scene.lateral_offset((xs[0] + xs[1]) / 2, outline[0][0]) < 0
    scene.face([corner(place, right) for place in outline], color, ident, 0.8, "paint")
    first, second = pairs[0]
    quad = [corner(first, False), corner(first, True), corner(second, True), corner(second, False)]
    scene.face(quad, color, ident, texture="paint")


def draw_car(
    scene: Scene, x: float, z: float, color: Color, away: bool = True, kind: str = "saloon"
) -> None:
    """Draw a car with its middle at ``x`` and its near end at ``z``.

    Args:
        away: Whether it drives away from the camera instead of towards it.
        kind: Key of ``BODIES``.
    """
    ident, body = scene.new_id("car"), BODIES[kind]
    if not away:
        body = ONCOMING if kind == "saloon" else body.front_first()
    half, xs = body.half, (x - body.half, x + body.half)
    under = scene.shadow(SHADOW)
    scene.flat((xs[0] - 0.1, xs[1] + 0.1), (z - 0.1, z + body.length + 0.15), under, None)
    for left in (xs[0] + 0.05, xs[1] - 0.28):
        scene.upright((left, left + 0.23), (0, 0.5), z + 0.3, TIRE, ident)
    roof = (min(255, color[0] + 14), min(255, color[1] + 14), min(255, color[2] + 14))
    _prism(scene, xs, [(z + a, b) for a, b in body.hull], color, ident)
    cabin = (x - half + 0.08, x + half - 0.08)
    _prism(scene, cabin, [(z + a, b) for a, b in body.cabin], roof, ident, 0.17)
    _draw_glass(scene, x, z, body, ident)
    side = visible_side(scene, xs, z)
    for wheel in (0.8, body.length - 0.85):
        draw_wheel(scene, side, z + wheel, 0.32, ident)
    _draw_end(scene, x, z, body, away, color)


def _draw_glass(scene: Scene, x: float, z: float, body: Body, ident: int) -> None:
    """Draw the window that faces the camera and the side windows."""
    (z0, y0), (z1, y1), (z2, y2), (z3, _) = ((z + a, b) for a, b in body.cabin)
    half = body.half - 0.08

    def between(t: float) -> Point3:
        return half - 0.06 - 0.15 * t, y0 + (y1 - y0) * t, z0 + (z1 - z0) * t

    (w0, h0, d0), (w1, h1, d1) = between(0.12), between(0.9)
    pane = [(x - w0, h0, d0), (x - w1, h1, d1), (x + w1, h1, d1), (x + w0, h0, d0)]
    scene.face(pane, GLASS, ident, texture="glass")
    shine = [(x - w0 * 0.2, h0, d0), (x, h1, d1), (x + w1 * 0.5, h1, d1), (x + w0 * 0.3, h0, d0)]
    scene.face(shine, (84, 102, 120), None)
    sign = -1 if scene.lateral_offset(x, z) > 0 else 1
    low, high = x + sign * (half - 0.02), x + sign * (half - 0.155)
    side = [(low, y0 + 0.06, z0 + 0.25), (high, y1 - 0.06, z1 + 0.05)]
    side += [(high, y2 - 0.06, z2 - 0.05), (low, y0 + 0.06, z3 - 0.3)]
    scene.face(side, (46, 58, 72), ident, texture="glass")


def _draw_end(scene: Scene, x: float, z: float, body: Body, away: bool, color: Color) -> None:
    """Draw the bumper, number plate and lights of the end that faces the camera."""
    foot = body.hull[0][1]
    scene.upright((x - body.half, x + body.half), (foot, foot + 0.18), z, color, None, 0.66)
    plate = (foot + 0.12, foot + 0.24) if not away else (foot + 0.28, foot + 0.4)
    scene.upright((x - 0.26, x + 0.26), plate, z, PLATE, None)
    if not away:
        scene.upright((x - 0.5, x + 0.5), (foot + 0.25, foot + 0.38), z, DARK, None)
    for sign in (-1, 1):
        lamp = (x + sign * (body.half - 0.18), foot + (0.35 if not away else 0.46), z)
        radius = (0.16, 0.08) if not away else (0.13, 0.1)
        scene.disc(lamp, radius, TAIL if away else HEADLIGHT, None)
        draw_lamps(scene, *lamp, 0.12 if away else 0.2, away)


def draw_car_across(
    scene: Scene, x: float, z: float, color: Color, way: int = 1, kind: str = "saloon"
) -> None:
    """Draw a car that crosses the street, with its middle at ``x``.

    Args:
        way: Direction of travel, 1 for right and -1 for left.
        kind: Key of ``BODIES``.
    """
    ident, body = scene.new_id("car"), BODIES[kind]
    middle = body.length / 2
    scene.disc((x, 0.0, z), (middle, 0.1), scene.shadow(SHADOW), None)

    def place(point: Point, deep: float = 0.0) -> Point3:
        return x + way * (point[0] - middle), point[1], z + deep

    scene.face([place(p, 0.2) for p in body.cabin], color, ident, 1.05, "paint")
    scene.face([place(p) for p in body.hull], color, ident, texture="paint")
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = body.cabin
    pane = [(x0 + 0.25, y0 + 0.03), (x1 + 0.1, y1 - 0.08), (x2 - 0.1, y2 - 0.08), (x3 - 0.3, y3)]
    scene.face([place(p, 0.19) for p in pane], GLASS, ident, texture="glass")
    pillar = (x1 + x2) / 2
    post = [(pillar - 0.04, y0), (pillar - 0.04, y1), (pillar + 0.04, y1), (pillar + 0.04, y0)]
    scene.face([place(p, 0.19) for p in post], color, None)
    for wheel in (0.8, body.length - 0.85):
        center = place((wheel, 0.32))
        scene.disc(center, (0.32, 0.32), TIRE, ident)
        scene.disc(center, (0.19, 0.19), (150, 152, 156), None)
    for end, lamp in ((0.06, TAIL), (body.length - 0.08, HEADLIGHT)):
        scene.disc(place((end, body.hull[0][1] + 0.42)), (0.08, 0.07), lamp, None)
