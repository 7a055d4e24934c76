"""Draw bicycles and motorcycles, parked or with riders."""

from __future__ import annotations

import math

from PIL import Image, ImageDraw

from dseg.labels import Color
from dseg.synth.canvas import Point3, Scene
from dseg.synth.people import DARK, SKIN, darker

TIRE: Color = (26, 26, 28)
METAL: Color = (104, 108, 112)
TROUSERS: Color = (58, 62, 86)
YELLOW: Color = (240, 206, 60)


def draw_bicycle(scene: Scene, x: float, z: float, color: Color, way: int = 1) -> None:
    """Draw a bicycle from the side.

    Args:
        way: Direction of its front, 1 for right and -1 for left.
    """
    ident = scene.new_id("bicycle")
    for wheel in (-0.52, 0.52):
        center = (x + wheel, 0.34, z)
        background = _crop_background(scene, center, 0.4)
        scene.disc(center, (0.34, 0.34), TIRE, ident)
        _draw_spokes(scene, center, 0.29, background)
        scene.disc(center, (0.04, 0.04), METAL, None)
    crank, seat, head = ((x + way * a, b, z) for a, b in ((-0.05, 0.3), (-0.2, 0.82), (0.38, 0.82)))
    rear, front = (x - way * 0.52, 0.34, z), (x + way * 0.52, 0.34, z)
    for path in ([rear, crank, head, seat, rear], [crank, seat], [head, front]):
        scene.line(path, 0.045, color, ident)
    scene.line([(x + way * 0.3, 1.0, z), (x + way * 0.42, 1.02, z), head], 0.04, DARK, ident)
    scene.line([(x - way * 0.32, 0.9, z), (x - way * 0.1, 0.9, z)], 0.07, DARK, ident)


Patch = tuple[Image.Image, tuple[int, int]]


def _crop_background(scene: Scene, center: Point3, radius: float) -> Patch:
    """Return a crop of the canvas around a wheel, and the position of its upper left corner."""
    u, v = scene.at(*center)
    r = scene.pixels_of(radius, center[2]) + 2
    left, top = max(0, int(u - r)), max(0, int(v - r))
    right, low = min(scene.size[0], int(u + r) + 1), min(scene.size[1], int(v + r) + 1)
    box = (left, top, max(left, right), max(top, low))
    return scene.image.crop(box), (left, top)


def _draw_spokes(scene: Scene, center: Point3, radius: float, background: Patch) -> None:
    """Draw spokes on the background of a wheel, whose pixels keep the id of the wheel."""
    (u, v), (edge, _) = scene.at(*center), scene.at(center[0] + radius, *center[1:])
    r = edge - u
    crop, (left, top) = background
    if crop.width and crop.height:
        hole = Image.new("L", crop.size)
        spot = (u - r - left, v - r - top, u + r - left, v + r - top)
        ImageDraw.Draw(hole).ellipse(spot, 255)
        scene.image.paste(crop, (left, top), hole)
    for spoke in range(6):
        du, dv = r * math.cos(spoke * math.pi / 6), r * math.sin(spoke * math.pi / 6)
        scene.draw.line((u - du, v - dv, u + du, v + dv), scene.tone(METAL, center[2]))


def draw_cyclist(
    scene: Scene,
    x: float,
    z: float,
    coat: Color,
    way: int = 1,
    bicycle: Color = (186, 44, 40),
    hat: Color = YELLOW,
    skin: Color = SKIN,
) -> None:
    """Draw a rider on a bicycle who crosses the road.

    Args:
        way: Direction of travel, 1 for right and -1 for left.
    """
    scene.disc((x, 0.01, z), (0.9, 0.06), scene.shadow((66, 66, 70)), None)
    draw_bicycle(scene, x, z, bicycle, way)
    ident = scene.new_id("rider")

    def place(a: float, b: float) -> Point3:
        return x + way * a, b, z

    hip, knee, foot = place(-0.2, 0.95), place(0.14, 0.66), place(0.02, 0.2)
    far_leg = [hip, place(0.08, 0.74), place(-0.12, 0.42)]
    scene.line(far_leg, 0.15, (44, 48, 66), ident, "cloth")
    scene.line([hip, knee, foot], 0.15, TROUSERS, ident, "cloth")
    scene.line([place(-0.05, 0.18), place(0.16, 0.18)], 0.09, DARK, ident)
    neck = place(0.14, 1.42)
    scene.line([hip, place(-0.08, 1.2), neck], 0.27, coat, ident, "cloth")
    scene.line([neck, place(0.22, 1.16), place(0.38, 1.06)], 0.09, coat, ident, "cloth")
    scene.disc(place(0.22, 1.58), (0.105, 0.13), skin, ident)
    scene.disc(place(0.2, 1.66), (0.14, 0.08), hat, ident)


def draw_rider_ahead(
    scene: Scene,
    x: float,
    z: float,
    coat: Color,
    away: bool = True,
    motor: Color | None = None,
    hat: Color = YELLOW,
    skin: Color = SKIN,
) -> None:
    """Draw a rider from behind if they ride ``away``, otherwise from the front.

    Args:
        motor: Colour of the motorcycle, None for a bicycle.
    """
    scene.disc((x, 0.01, z), (0.45, 0.07), scene.shadow((70, 68, 68)), None)
    if motor is None:
        _draw_thin_bicycle(scene, x, z)
    else:
        _draw_thin_motorcycle(scene, x, z, motor, away)
    ident, wide = scene.new_id("rider"), 0.34 if motor is None else 0.4
    seat = 0.95 if motor is None else 0.8
    for side in (-1, 1):
        knee = (x + side * (0.2 if motor is None else 0.28), seat - 0.3, z)
        foot = (x + side * 0.16, seat - (0.7 if side > 0 else 0.5), z)
        scene.line([(x + side * 0.1, seat, z), knee, foot], 0.14, TROUSERS, ident, "cloth")
        arm = [(x + side * wide * 0.6, seat + 0.5, z), (x + side * wide, seat + 0.2, z)]
        scene.line(arm, 0.11, darker(coat, 0.82), ident, "cloth")
    corners = [(x - wide * 0.66, seat + 0.56, z), (x + wide * 0.66, seat + 0.56, z)]
    hips = [(x + 0.19, seat - 0.06, z), (x - 0.19, seat - 0.06, z)]
    scene.face([*corners, *hips], coat, ident, texture="cloth")
    scene.disc((x, seat + 0.55, z), (wide * 0.66, 0.07), coat, ident, texture="cloth")
    helmet = motor is not None or away
    scene.disc((x, seat + 0.72, z), (0.11, 0.14), hat if helmet else skin, ident)
    scene.disc((x, seat + 0.8, z), (0.125, 0.09), hat, ident)


def _draw_thin_bicycle(scene: Scene, x: float, z: float) -> None:
    ident = scene.new_id("bicycle")
    scene.upright((x - 0.035, x + 0.035), (0, 0.68), z, TIRE, ident)
    scene.line([(x, 0.6, z), (x, 0.95, z)], 0.05, METAL, ident)
    scene.line([(x - 0.3, 1.03, z), (x + 0.3, 1.03, z)], 0.045, DARK, ident)
    scene.line([(x - 0.15, 0.3, z), (x + 0.15, 0.3, z)], 0.05, METAL, ident)


def _draw_thin_motorcycle(scene: Scene, x: float, z: float, color: Color, away: bool) -> None:
    ident = scene.new_id("motorcycle")
    scene.upright((x - 0.09, x + 0.09), (0, 0.64), z, TIRE, ident)
    body = [(x - 0.2, 0.35, z), (x - 0.26, 0.75, z), (x - 0.1, 0.98, z), (x + 0.1, 0.98, z)]
    scene.face([*body, (x + 0.26, 0.75, z), (x + 0.2, 0.35, z)], color, ident, texture="paint")
    scene.line([(x - 0.42, 1.05, z), (x + 0.42, 1.05, z)], 0.06, DARK, ident)
    lamp = (x, 0.7, z) if away else (x, 0.86, z)
    scene.disc(lamp, (0.09, 0.06), (206, 28, 30) if away else (250, 246, 226), ident)
    scene.lamp(lamp, 0.12, (190, 20, 16) if away else (255, 240, 200))


def draw_motorcycle(scene: Scene, x: float, z: float, color: Color, way: int = 1) -> None:
    """Draw a parked motorcycle from the side; its front is right if ``way`` is 1, left if -1."""
    ident = scene.new_id("motorcycle")
    scene.disc((x, 0.01, z), (1.0, 0.07), scene.shadow((70, 68, 68)), None)
    for wheel in (-0.68, 0.68):
        scene.disc((x + wheel, 0.32, z), (0.32, 0.32), TIRE, ident)
        scene.disc((x + wheel, 0.32, z), (0.18, 0.18), METAL, ident)
    body = [(-0.75, 0.72), (-0.2, 0.84), (0.3, 0.95), (0.45, 0.6), (0.25, 0.3), (-0.35, 0.3)]
    outline = [(x + way * a, b, z) for a, b in body]
    scene.face(outline, color, ident, texture="paint")
    scene.disc((x - way * 0.02, 0.4, z), (0.26, 0.17), (92, 94, 98), ident)
    scene.line([(x - way * 0.7, 0.8, z), (x - way * 0.1, 0.84, z)], 0.14, DARK, ident)
    fork = [(x + way * a, b, z) for a, b in ((0.68, 0.32), (0.42, 1.0), (0.26, 1.1))]
    scene.line(fork, 0.07, METAL, ident)
    scene.disc((x + way * 0.5, 0.9, z), (0.11, 0.11), (224, 222, 206), ident)


def draw_motorcyclist(
    scene: Scene, x: float, z: float, coat: Color, motor: Color, way: int = 1
) -> None:
    """Draw a motorcyclist who crosses the road, to the right if ``way`` is 1, left if -1."""
    draw_motorcycle(scene, x, z, motor, way)
    ident = scene.new_id("rider")

    def place(a: float, b: float) -> Point3:
        return x + way * a, b, z

    hip, neck = place(-0.3, 0.9), place(-0.08, 1.42)
    scene.line([hip, place(0.12, 0.8), place(-0.02, 0.34)], 0.16, TROUSERS, ident, "cloth")
    scene.line([hip, place(-0.28, 1.15), neck], 0.3, coat, ident, "cloth")
    scene.line([neck, place(0.08, 1.2), place(0.3, 1.1)], 0.1, darker(coat, 0.85), ident, "cloth")
    scene.disc(place(-0.02, 1.6), (0.14, 0.16), DARK, ident)
    scene.disc(place(0.06, 1.6), (0.07, 0.07), (96, 110, 124), ident)
