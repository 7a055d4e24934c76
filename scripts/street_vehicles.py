"""Vehicles of a drawn street: boxes in perspective with glass, wheels and lights."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from street import LABEL_IDS, Color, Point, Scene
from street_things import DARK, GLASS, METAL, TIRE

HEADLIGHT: Color = (250, 246, 226)
TAIL: Color = (206, 28, 30)
PLATE: Color = (232, 232, 224)
SHADOW: Color = (58, 58, 62)


def _draw_wheel(scene: Scene, x: float, z: float, radius: float, ident: int) -> None:
    scene.disc((x, radius, z), (radius, radius), TIRE, ident, True)
    scene.disc((x, radius, z), (radius * 0.6, radius * 0.6), (150, 152, 156), None, True)


def _inner_side(xs: Point) -> float:
    """Return that side of a thing that is seen from the middle of the road."""
    return xs[0] if xs[0] + xs[1] > 0 else xs[1]


def _prism(
    scene: Scene,
    xs: Point,
    outline: list[Point],
    color: Color,
    ident: int,
    taper: float = 0,
) -> None:
    """Draw a body of one outline from ``xs[0]`` to ``xs[1]``.

    Args:
        outline: (z, y) from the near foot over the top to the far foot.
        taper: metres by which each upper corner lies farther in.
    """
    lowest = min(y for _, y in outline)
    span = max(y for _, y in outline) - lowest

    def corner(place: Point, right: bool) -> tuple[float, float, float]:
        inset = taper * (place[1] - lowest) / span
        return (xs[1] - inset if right else xs[0] + inset), place[1], place[0]

    pairs = list(pairwise(outline))
    for first, second in reversed(pairs[1:]):  # roof and far slopes
        rising = second[1] >= first[1]
        if rising or first[1] < 1.45:
            quad = [corner(first, False), corner(first, True)]
            scene.face([*quad, corner(second, True), corner(second, False)], color, ident, 1.06)
    right = xs[0] + xs[1] < 0
    scene.face([corner(place, right) for place in outline], color, ident, 0.8)
    first, second = pairs[0]
    quad = [corner(first, False), corner(first, True), corner(second, True), corner(second, False)]
    scene.face(quad, color, ident)


def draw_car(scene: Scene, x: float, z: float, color: Color, away: bool = True) -> None:
    """Draw a car with its middle at ``x`` and its near end at ``z``.

    Args:
        away: seen from behind; else it comes towards the camera.
    """
    ident, xs = scene.new_id("car"), (x - 0.88, x + 0.88)
    side = _inner_side(xs)
    scene.flat((xs[0] - 0.1, xs[1] + 0.1), (z - 0.1, z + 4.4), SHADOW, None)
    for left in (xs[0] + 0.05, xs[1] - 0.28):
        scene.upright((left, left + 0.23), (0, 0.5), z + 0.3, TIRE, ident)
    hull = [(0.0, 0.28), (0.02, 0.88), (4.2, 0.84 if away else 0.92), (4.25, 0.3)]
    cabin = [(0.3, 0.88), (0.75, 1.42), (2.4, 1.46), (3.3, 0.86)]
    if not away:
        hull[1:2] = [(0.02, 0.72), (1.1, 0.9)]
        cabin = [(1.0, 0.9), (1.85, 1.44), (3.4, 1.44), (4.0, 0.9)]
    roof = (min(255, color[0] + 14), min(255, color[1] + 14), min(255, color[2] + 14))
    _prism(scene, xs, [(z + a, b) for a, b in hull], color, ident)
    _prism(scene, (x - 0.8, x + 0.8), [(z + a, b) for a, b in cabin], roof, ident, 0.17)
    _draw_car_glass(scene, x, z, cabin)
    for wheel in (0.8, 3.4):
        _draw_wheel(scene, side, z + wheel, 0.32, ident)
    _draw_car_end(scene, x, z, away, color)


def _draw_car_glass(scene: Scene, x: float, z: float, cabin: list[Point]) -> None:
    """Draw the window towards the camera and the side windows."""
    (z0, y0), (z1, y1), (z2, y2), (z3, _) = ((z + a, b) for a, b in cabin)

    def between(t: float) -> tuple[float, float, float]:
        return 0.74 - 0.15 * t, y0 + (y1 - y0) * t, z0 + (z1 - z0) * t

    (w0, h0, d0), (w1, h1, d1) = between(0.12), between(0.9)
    pane = [(x - w0, h0, d0), (x - w1, h1, d1), (x + w1, h1, d1), (x + w0, h0, d0)]
    scene.face(pane, GLASS, None)
    shine = [(x - w0 * 0.2, h0, d0), (x, h1, d1), (x + w1 * 0.5, h1, d1), (x + w0 * 0.3, h0, d0)]
    scene.face(shine, (84, 102, 120), None)
    sign = -1 if x > 0 else 1
    side = [(x + sign * 0.78, y0 + 0.06, z0 + 0.25), (x + sign * 0.645, y1 - 0.06, z1 + 0.05)]
    side += [(x + sign * 0.645, y2 - 0.06, z2 - 0.05), (x + sign * 0.78, y0 + 0.06, z3 - 0.3)]
    scene.face(side, (46, 58, 72), None)


def _draw_car_end(scene: Scene, x: float, z: float, away: bool, color: Color) -> None:
    """Draw bumper, plate and lights of the end towards the camera."""
    scene.upright((x - 0.88, x + 0.88), (0.28, 0.46), z, color, None, 0.66)
    scene.upright((x - 0.26, x + 0.26), (0.4, 0.52) if not away else (0.56, 0.68), z, PLATE, None)
    if not away:
        scene.upright((x - 0.5, x + 0.5), (0.53, 0.66), z, DARK, None)
    for sign in (-1, 1):
        lamp = (x + sign * 0.7, 0.63 if not away else 0.74, z)
        scene.disc(
            lamp, (0.16, 0.08) if not away else (0.13, 0.1), TAIL if away else HEADLIGHT, None
        )
        scene.lamp(lamp, 0.12 if away else 0.2, (190, 20, 16) if away else (255, 240, 200))


def _draw_box(
    scene: Scene, xs: Point, ys: Point, zs: Point, color: Color, ident: int, shade: float = 0.82
) -> None:
    """Draw the two visible faces of a box taller than the camera."""
    scene.along(_inner_side(xs), ys, zs, color, ident, shade)
    scene.upright(xs, ys, zs[0], color, ident)


def draw_bus(
    scene: Scene, x: float, z: float, color: Color, away: bool = True, kind: str = "bus"
) -> None:
    """Draw a bus or, as ``train``, a tram; its middle at ``x`` and its near end at ``z``."""
    long, high = (11.0, 3.0) if kind == "bus" else (26.0, 3.5)
    ident, xs, zs = scene.new_id(kind), (x - 1.25, x + 1.25), (z, z + long)
    side = _inner_side(xs)
    scene.flat((xs[0] - 0.1, xs[1] + 0.1), (z - 0.1, z + long), SHADOW, None)
    for left in (xs[0] + 0.1, xs[1] - 0.4):
        scene.upright((left, left + 0.3), (0, 0.6), z + 0.4, TIRE, ident)
    _draw_box(scene, xs, (0.32, high), zs, color, ident)
    scene.along(side, (1.25, 2.3), (z + 0.3, z + long - 0.3), (52, 64, 78), None)
    for post in np.arange(z + 1.6, z + long - 0.5, 1.5).tolist():
        scene.along(side, (1.25, 2.3), (post, post + 0.1), color, None, 0.7)
    if kind == "train":
        scene.along(side, (0.75, 1.0), zs, (232, 226, 214), None, 0.82)
        scene.upright(xs, (0.95, 1.08), z, (232, 226, 214), None)
        scene.line([(x, high, z + 6), (x, 4.4, z + 5), (x, 5.4, z + 6)], 0.08, METAL, ident)
    for wheel in (2.0, long - 2.6) if kind == "bus" else ():
        _draw_wheel(scene, side, z + wheel, 0.46, ident)
    scene.upright((xs[0] + 0.18, xs[1] - 0.18), (1.15, 2.35), z, GLASS, None)
    scene.upright((x - 0.75, x + 0.75), (2.5, 2.8), z, DARK, None)
    scene.upright((x - 0.6, x + 0.5), (2.58, 2.72), z, (244, 176, 50), None)
    for sign in (-1, 1):
        lamp = (x + sign * 1.0, 0.75, z)
        scene.disc(lamp, (0.14, 0.14), TAIL if away else HEADLIGHT, None)
        scene.lamp(lamp, 0.16, (190, 20, 16) if away else (255, 240, 200))
    scene.upright((x - 0.28, x + 0.28), (0.5, 0.64), z, PLATE, None)


def draw_truck(scene: Scene, x: float, z: float, color: Color) -> None:
    """Draw a truck that drives ahead: its doors, its side and its wheels."""
    ident, xs = scene.new_id("truck"), (x - 1.25, x + 1.25)
    scene.flat((xs[0] - 0.1, xs[1] + 0.1), (z - 0.1, z + 9), SHADOW, None)
    side = _inner_side(xs)
    _draw_box(scene, (xs[0] + 0.1, xs[1] - 0.1), (0.5, 2.7), (z + 6.6, z + 8.6), color, ident)
    for left in (xs[0] + 0.12, xs[1] - 0.5):
        scene.upright((left, left + 0.38), (0, 0.8), z + 0.6, TIRE, ident)
    scene.along(side, (0.55, 0.85), (z, z + 7), METAL, ident, 0.6)
    _draw_box(scene, xs, (0.85, 3.5), (z, z + 6.4), (216, 214, 208), ident)
    scene.along(side, (1.6, 2.5), (z + 0.8, z + 5.6), color, None, 0.85)
    for wheel in (1.2, 2.3, 7.5):
        _draw_wheel(scene, side, z + wheel, 0.48, ident)
    scene.upright((x - 0.02, x + 0.02), (0.9, 3.45), z, (120, 120, 118), None)
    for bar in (x - 0.4, x + 0.4):
        scene.upright((bar - 0.03, bar + 0.03), (0.95, 3.4), z, (150, 150, 148), None)
    scene.upright(xs, (0.55, 0.85), z, (90, 90, 92), ident)
    scene.upright((x - 0.28, x + 0.28), (0.6, 0.74), z, PLATE, None)
    for sign in (-1, 1):
        scene.disc((x + sign * 1.02, 0.7, z), (0.15, 0.1), TAIL, None)
        scene.lamp((x + sign * 1.02, 0.7, z), 0.14, (190, 20, 16))


def draw_rails(scene: Scene, x: float) -> None:
    """Draw the bed and the two rails of a tramway; the bed is a class of its own."""
    scene.flat((x - 1.4, x + 1.4), (1.7, 200), (112, 106, 102), LABEL_IDS["rail track"])
    for rail in (x - 0.75, x + 0.7):
        scene.flat((rail, rail + 0.07), (1.7, 200), (168, 170, 174), None)
