"""Draw buses, trams and trucks."""

from __future__ import annotations

import numpy as np

from dseg.labels import Color
from dseg.synth.camera import Point
from dseg.synth.canvas import Scene
from dseg.synth.cars import (
    DARK,
    GLASS,
    HEADLIGHT,
    PLATE,
    SHADOW,
    TAIL,
    TIRE,
    draw_lamps,
    draw_wheel,
    visible_side,
)

METAL: Color = (104, 108, 112)
PALE: Color = (232, 226, 214)
WHITE: Color = (216, 214, 208)


def _draw_box(
    scene: Scene, xs: Point, ys: Point, zs: Point, color: Color, ident: int, shade: float = 0.82
) -> None:
    """Draw the two visible faces of a box taller than the camera."""
    scene.along(visible_side(scene, xs, zs[0]), ys, zs, color, ident, shade, "paint")
    scene.upright(xs, ys, zs[0], color, ident, texture="paint")


def draw_bus(
    scene: Scene,
    x: float,
    z: float,
    color: Color,
    away: bool = True,
    kind: str = "bus",
    stripe: Color | None = None,
) -> None:
    """Draw a bus, or a tram if ``kind`` is ``train``, with its near end at ``z``."""
    long, high = (11.0, 3.0) if kind == "bus" else (26.0, 3.5)
    ident, xs, zs = scene.new_id(kind), (x - 1.25, x + 1.25), (z, z + long)
    side = visible_side(scene, xs, z)
    scene.flat((xs[0] - 0.1, xs[1] + 0.1), (z - 0.1, z + long), scene.shadow(SHADOW), None)
    for left in (xs[0] + 0.1, xs[1] - 0.4):
        scene.upright((left, left + 0.3), (0, 0.6), z + 0.4, TIRE, ident)
    _draw_box(scene, xs, (0.32, high), zs, color, ident)
    windows = (z + 0.3, z + long - 0.3)
    scene.along(side, (1.25, 2.3), windows, (52, 64, 78), ident, texture="glass")
    for post in np.arange(z + 1.6, z + long - 0.5, 1.5).tolist():
        scene.along(side, (1.25, 2.3), (post, post + 0.1), color, None, 0.7)
    stripe = stripe or (PALE if kind == "train" else None)
    if stripe:
        scene.along(side, (0.75, 1.0), zs, stripe, None, 0.82)
        scene.upright(xs, (0.95, 1.08), z, stripe, None)
    if kind == "train":
        scene.line([(x, high, z + 6), (x, 4.4, z + 5), (x, 5.4, z + 6)], 0.08, METAL, ident)
    for wheel in (2.0, long - 2.6) if kind == "bus" else ():
        draw_wheel(scene, side, z + wheel, 0.46, ident)
    _draw_bus_end(scene, x, z, ident, away)


def _draw_bus_end(scene: Scene, x: float, z: float, ident: int, away: bool) -> None:
    """Draw the window, display, lights and number plate of the end that faces the camera."""
    scene.upright((x - 1.07, x + 1.07), (1.15, 2.35), z, GLASS, ident, texture="glass")
    scene.upright((x - 0.75, x + 0.75), (2.5, 2.8), z, DARK, None)
    scene.upright((x - 0.6, x + 0.5), (2.58, 2.72), z, (244, 176, 50), None)
    for sign in (-1, 1):
        lamp = (x + sign * 1.0, 0.75, z)
        scene.disc(lamp, (0.14, 0.14), TAIL if away else HEADLIGHT, None)
        draw_lamps(scene, *lamp, 0.16, away)
    scene.upright((x - 0.28, x + 0.28), (0.5, 0.64), z, PLATE, None)


def draw_truck(
    scene: Scene, x: float, z: float, color: Color, box: Color = WHITE, away: bool = True
) -> None:
    """Draw a truck with a cab of colour ``color`` and a cargo box of colour ``box``."""
    ident, xs = scene.new_id("truck"), (x - 1.25, x + 1.25)
    scene.flat((xs[0] - 0.1, xs[1] + 0.1), (z - 0.1, z + 9), scene.shadow(SHADOW), None)
    if away:
        _draw_truck_from_behind(scene, x, z, color, box, ident)
    else:
        _draw_truck_from_front(scene, x, z, color, box, ident)
    scene.upright((x - 0.28, x + 0.28), (0.6, 0.74), z, PLATE, None)
    for sign in (-1, 1):
        lamp = (x + sign * 1.02, 0.7, z)
        scene.disc(lamp, (0.15, 0.1), TAIL if away else HEADLIGHT, None)
        draw_lamps(scene, *lamp, 0.14, away)


def _draw_truck_from_behind(
    scene: Scene, x: float, z: float, color: Color, box: Color, ident: int
) -> None:
    xs = (x - 1.25, x + 1.25)
    side = visible_side(scene, xs, z)
    _draw_box(scene, (xs[0] + 0.1, xs[1] - 0.1), (0.5, 2.7), (z + 6.6, z + 8.6), color, ident)
    for left in (xs[0] + 0.12, xs[1] - 0.5):
        scene.upright((left, left + 0.38), (0, 0.8), z + 0.6, TIRE, ident)
    scene.along(side, (0.55, 0.85), (z, z + 7), METAL, ident, 0.6)
    _draw_box(scene, xs, (0.85, 3.5), (z, z + 6.4), box, ident)
    scene.along(side, (1.6, 2.5), (z + 0.8, z + 5.6), color, None, 0.85)
    for wheel in (1.2, 2.3, 7.5):
        draw_wheel(scene, side, z + wheel, 0.48, ident)
    scene.upright((x - 0.02, x + 0.02), (0.9, 3.45), z, (120, 120, 118), None)
    for bar in (x - 0.4, x + 0.4):
        scene.upright((bar - 0.03, bar + 0.03), (0.95, 3.4), z, (150, 150, 148), None)
    scene.upright(xs, (0.55, 0.85), z, (90, 90, 92), ident)


def _draw_truck_from_front(
    scene: Scene, x: float, z: float, color: Color, box: Color, ident: int
) -> None:
    xs = (x - 1.25, x + 1.25)
    side = visible_side(scene, xs, z)
    for left in (xs[0] + 0.12, xs[1] - 0.5):
        scene.upright((left, left + 0.38), (0, 0.8), z + 0.6, TIRE, ident)
    scene.along(side, (0.55, 0.85), (z + 1.5, z + 9), METAL, ident, 0.6)
    _draw_box(scene, xs, (0.85, 3.5), (z + 2.2, z + 9), box, ident)
    cab = (xs[0] + 0.08, xs[1] - 0.08)
    _draw_box(scene, cab, (0.45, 2.8), (z, z + 1.9), color, ident)
    near = visible_side(scene, cab, z)
    scene.along(near, (1.5, 2.4), (z + 0.3, z + 1.4), GLASS, ident, texture="glass")
    for wheel in (1.0, 6.4, 7.5):
        draw_wheel(scene, side, z + wheel, 0.48, ident)
    scene.upright((x - 1.05, x + 1.05), (1.5, 2.45), z, GLASS, ident, texture="glass")
    scene.upright((x - 0.7, x + 0.7), (0.85, 1.2), z, DARK, None)
    scene.upright(cab, (0.45, 0.6), z, (70, 72, 76), None)
