"""What stands on a drawn street: each function draws one thing, its far parts first."""

from __future__ import annotations

import math

from PIL import Image, ImageDraw
from street import LABEL_IDS, Color, Point, Scene

DARK: Color = (34, 36, 42)
GLASS: Color = (58, 72, 88)
METAL: Color = (104, 108, 112)
TIRE: Color = (26, 26, 28)
WARM: Color = (244, 196, 118)
SKIN: Color = (214, 168, 138)


def draw_building(
    scene: Scene, x: float, zs: Point, height: float, color: Color, lit: float = 0.4
) -> None:
    """Draw a house whose front stands along the street at ``x``.

    Args:
        zs: its near and far end in metres.
        lit: share of the windows that are lit where lamps are on.
    """
    ident, side = LABEL_IDS["building"], 1 if x > 0 else -1
    scene.upright((x, x + side * 14), (0, height), zs[0], color, ident, 0.72)
    _draw_gable_windows(scene, x, zs[0], height)
    scene.along(x, (0, height), zs, color, ident)
    scene.along(x, (height - 0.4, height), zs, (214, 208, 198), None)
    scene.along(x, (0, 0.5), zs, (104, 100, 98), None)
    bays = max(1, int((zs[1] - zs[0]) / 2.7))
    step = (zs[1] - zs[0]) / bays
    for floor in range(int((height - 0.8) / 3.2)):
        for bay in range(bays):
            near = zs[0] + (bay + 0.26) * step
            shop = floor == 0
            low = 0.7 if shop else floor * 3.2 + 1.0
            spans = (low, low + (1.9 if shop else 1.6)), (near, near + step * 0.5)
            if near < 3:
                continue
            shines = scene.light.lamps and scene.rng.random() < (0.8 if shop else lit)
            _draw_window(scene, x, *spans, shines)
    red, green, blue = scene.rng.integers(70, 190, 3).tolist()
    scene.along(x, (2.85, 3.25), zs, (red, green, blue), None)  # a band above the shops


def _draw_gable_windows(scene: Scene, x: float, z: float, height: float) -> None:
    side = 1 if x > 0 else -1
    for floor in range(1, int((height - 0.8) / 3.2)):
        low = floor * 3.2 + 1.0
        for middle in (x + side * 2.5, x + side * 6, x + side * 9.5):
            for rim, color, shade in ((0.1, (222, 218, 210), 0.7), (0.0, GLASS, 0.85)):
                xs = middle - 0.55 - rim, middle + 0.55 + rim
                scene.upright(xs, (low - rim, low + 1.5 + rim), z, color, None, shade)


def _draw_window(scene: Scene, x: float, ys: Point, zs: Point, shines: bool) -> None:
    frame = (ys[0] - 0.12, ys[1] + 0.12), (zs[0] - 0.12, zs[1] + 0.12)
    scene.along(x, *frame, (222, 218, 210), None, 0.94)
    if shines:
        corners = [(x, y, z) for y, z in ((ys[0], zs[0]), (ys[1], zs[0]), (ys[1], zs[1]))]
        points = [scene.at(*corner) for corner in [*corners, (x, ys[0], zs[1])]]
        dim = float(scene.rng.uniform(0.72, 1))
        warm = (int(WARM[0] * dim), int(WARM[1] * dim), int(WARM[2] * dim * dim))
        scene.polygon(points, warm, None)
        scene.shine.polygon(points, (26, 18, 6))
        return
    scene.along(x, ys, zs, GLASS, None)
    middle = (zs[0] + zs[1]) / 2
    scene.along(x, (ys[0] + 0.9, ys[1]), (middle, zs[1]), (112, 136, 158), None)


def draw_tree(scene: Scene, x: float, z: float, height: float) -> None:
    """Draw a trunk and a crown of leaves, lighter towards the upper left."""
    ident = LABEL_IDS["vegetation"]
    scene.upright((x - 0.16, x + 0.16), (0, height * 0.6), z, (88, 68, 50), ident)
    greens = ((44, 72, 34), (62, 96, 44), (86, 122, 56), (112, 146, 72))
    for level, green in enumerate(greens):
        for _ in range(26 - 4 * level):
            angle, far = scene.rng.uniform(0, 2 * math.pi), math.sqrt(scene.rng.random())
            reach = height * (0.3 - 0.035 * level) * far
            u = x + reach * math.cos(angle) - height * 0.025 * level
            v = height * 0.68 + reach * 1.05 * math.sin(angle) + height * 0.03 * level
            r = height * float(scene.rng.uniform(0.05, 0.11)) * (1 - 0.14 * level)
            scene.disc((u, v, z), (r, r * 0.85), green, ident)


def draw_hedge(scene: Scene, x: float, zs: Point, height: float) -> None:
    """Draw a hedge along the street."""
    ident = LABEL_IDS["vegetation"]
    scene.along(x, (0, height * 0.9), zs, (52, 80, 40), ident)
    for _ in range(int(70 * (zs[1] - zs[0]) / 20)):
        z = zs[0] + (zs[1] - zs[0]) * float(scene.rng.random())
        y, r = height * float(scene.rng.uniform(0.1, 0.95)), float(scene.rng.uniform(0.1, 0.3))
        green = 84 + int(scene.rng.integers(0, 34))
        scene.disc((x, y, z), (r, r * 0.7), (green - 24, green + 6, green - 38), ident, True)


def draw_lantern(scene: Scene, x: float, z: float) -> None:
    """Draw a street lamp, its arm over the road."""
    ident, side = LABEL_IDS["pole"], -1 if x > 0 else 1
    scene.line([(x, 0, z), (x, 6.6, z), (x + side * 1.6, 7, z)], 0.14, METAL, ident)
    scene.upright((x - 0.16, x + 0.16), (0, 0.7), z, (84, 88, 92), ident)
    tip = (x + side * 1.6, 6.96, z)
    scene.disc(tip, (0.42, 0.12), (236, 230, 210), ident)
    scene.lamp(tip, 0.4, (255, 214, 140))


def draw_traffic_light(scene: Scene, x: float, z: float, green: bool) -> None:
    """Draw a traffic light on its pole."""
    scene.line([(x, 0, z), (x, 2.9, z)], 0.13, METAL, LABEL_IDS["pole"])
    ident = LABEL_IDS["light"]
    scene.upright((x - 0.2, x + 0.2), (2.3, 3.35), z, DARK, ident)
    colors = ((232, 48, 40), (236, 176, 40), (60, 214, 110))
    for place, color in enumerate(colors):
        on = place == (2 if green else 0)
        center = (x, 3.15 - place * 0.33, z)
        scene.disc(center, (0.12, 0.12), color if on else (66, 62, 58), ident)
        if on:
            scene.lamp(center, 0.13, color)


def draw_sign(scene: Scene, x: float, z: float, kind: str) -> None:
    """Draw a sign on a pole: ``stop``, ``yield``, ``speed`` or ``park``."""
    scene.line([(x, 0, z), (x, 2.5, z)], 0.08, (150, 152, 154), LABEL_IDS["pole"])
    ident, y, red = LABEL_IDS["sign"], 2.5, (200, 30, 38)
    if kind == "park":
        scene.upright((x - 0.33, x + 0.33), (y - 0.33, y + 0.33), z, (34, 84, 170), ident)
        scene.text((x, y, z), 0.62, "P", (240, 240, 240))
    elif kind == "yield":
        for size, color, own in ((0.46, red, ident), (0.28, (240, 240, 238), None)):
            corners = [(x - size, y + size * 0.6, z), (x + size, y + size * 0.6, z)]
            scene.face([*corners, (x, y - size, z)], color, own)
    else:
        scene.disc((x, y, z), (0.38, 0.38), red, ident)
        inner = (0.28, 0.28) if kind == "speed" else (0.28, 0.07)
        scene.disc((x, y, z), inner, (240, 240, 238), None)
        if kind == "speed":
            scene.text((x, y, z), 0.38, "30", DARK)


def draw_fence(scene: Scene, x: float, zs: Point) -> None:
    """Draw an iron fence along the street; what shows between its bars counts as fence."""
    points = [(x, y, z) for y, z in ((0, zs[0]), (1.3, zs[0]), (1.3, zs[1]), (0, zs[1]))]
    scene.polygon([scene.at(*point) for point in points], None, LABEL_IDS["fence"])
    for y in (0.2, 1.15):
        scene.along(x, (y, y + 0.08), zs, (52, 58, 56), None)
    z = zs[0]
    while z < zs[1]:
        scene.along(x, (0, 1.3), (z, z + 0.07), (46, 52, 50), None)
        z += 0.32


def draw_wall(scene: Scene, x: float, zs: Point, height: float) -> None:
    """Draw a wall of stones along the street."""
    scene.along(x, (0, height), zs, (146, 128, 112), LABEL_IDS["wall"])
    for row in range(int(height / 0.4)):
        z = zs[0] + 0.4 * (row % 2)
        while z + 0.8 < zs[1]:
            grey = int(scene.rng.integers(-14, 15))
            stone = (150 + grey, 130 + grey, 112 + grey)
            scene.along(x, (row * 0.4 + 0.03, row * 0.4 + 0.37), (z + 0.03, z + 0.77), stone, None)
            z += 0.8
    scene.along(x, (height, height + 0.12), zs, (176, 166, 154), LABEL_IDS["wall"])


def draw_person(scene: Scene, x: float, z: float, coat: Color, height: float = 1.75) -> None:
    """Draw somebody who walks."""
    ident, h = scene.new_id("person"), height
    step = float(scene.rng.uniform(0.06, 0.13)) * h
    trousers = (52, 56, 78) if scene.rng.random() < 0.6 else (84, 72, 60)
    scene.disc((x, 0.01, z), (0.4, 0.05), (70, 68, 68), None)
    for foot in (-step, step):
        scene.line([(x, h * 0.5, z), (x + foot, 0.04, z)], 0.085 * h, trousers, ident)
        scene.disc((x + foot * 1.15, 0.05, z), (0.12, 0.05), DARK, ident)
    shoulders = [(x - 0.13 * h, h * 0.8, z), (x + 0.13 * h, h * 0.8, z)]
    scene.face([*shoulders, (x + 0.1 * h, h * 0.43, z), (x - 0.1 * h, h * 0.43, z)], coat, ident)
    for side in (-1, 1):
        hand = (x + side * (0.15 * h + step * 0.3), h * 0.46, z)
        elbow = (x + side * 0.17 * h, h * 0.62, z)
        shade = (int(coat[0] * 0.82), int(coat[1] * 0.82), int(coat[2] * 0.82))
        scene.line([(x + side * 0.12 * h, h * 0.79, z), elbow, hand], 0.055 * h, shade, ident)
        scene.disc(hand, (0.045, 0.05), SKIN, ident)
    scene.disc((x, h * 0.83, z), (0.13 * h, 0.035 * h), coat, ident)
    scene.disc((x, h * 0.91, z), (0.056 * h, 0.075 * h), SKIN, ident)
    scene.disc((x, h * 0.95, z), (0.062 * h, 0.05 * h), (66, 46, 34), ident)


def draw_bicycle(scene: Scene, x: float, z: float, color: Color) -> None:
    """Draw a bicycle from its side, its front to the right."""
    ident = scene.new_id("bicycle")
    for wheel in (-0.52, 0.52):
        center = (x + wheel, 0.34, z)
        behind = scene.image.copy()
        scene.disc(center, (0.34, 0.34), TIRE, ident)
        _show_through(scene, center, 0.29, behind)
        scene.disc(center, (0.04, 0.04), METAL, None)
    crank, seat, head = (x - 0.05, 0.3, z), (x - 0.2, 0.82, z), (x + 0.38, 0.82, z)
    rear, front = (x - 0.52, 0.34, z), (x + 0.52, 0.34, z)
    for path in ([rear, crank, head, seat, rear], [crank, seat], [head, front]):
        scene.line(path, 0.045, color, ident)
    scene.line([(x + 0.3, 1.0, z), (x + 0.42, 1.02, z), head], 0.04, DARK, ident)
    scene.line([(x - 0.32, 0.9, z), (x - 0.1, 0.9, z)], 0.07, DARK, ident)


def _show_through(
    scene: Scene, center: tuple[float, float, float], radius: float, behind: Image.Image
) -> None:
    """Show what was behind a wheel between its spokes; the ids stay the wheel's."""
    (u, v), (edge, _) = scene.at(*center), scene.at(center[0] + radius, *center[1:])
    r = edge - u
    hole = Image.new("L", scene.image.size)
    ImageDraw.Draw(hole).ellipse((u - r, v - r, u + r, v + r), 255)
    scene.image.paste(behind, mask=hole)
    for spoke in range(6):
        du, dv = r * math.cos(spoke * math.pi / 6), r * math.sin(spoke * math.pi / 6)
        scene.draw.line((u - du, v - dv, u + du, v + dv), scene.tone(METAL, center[2]))


def draw_cyclist(scene: Scene, x: float, z: float, coat: Color) -> None:
    """Draw a rider on a bicycle that crosses the road to the right."""
    scene.disc((x, 0.01, z), (0.9, 0.06), (66, 66, 70), None)
    draw_bicycle(scene, x, z, (186, 44, 40))
    ident = scene.new_id("rider")
    hip, knee, foot = (x - 0.2, 0.95, z), (x + 0.14, 0.66, z), (x + 0.02, 0.2, z)
    scene.line([hip, (x + 0.08, 0.74, z), (x - 0.12, 0.42, z)], 0.15, (44, 48, 66), ident)
    scene.line([hip, knee, foot], 0.15, (58, 62, 86), ident)
    scene.line([(x - 0.05, 0.18, z), (x + 0.16, 0.18, z)], 0.09, DARK, ident)
    neck = (x + 0.14, 1.42, z)
    scene.line([hip, (x - 0.08, 1.2, z), neck], 0.27, coat, ident)
    scene.line([neck, (x + 0.22, 1.16, z), (x + 0.38, 1.06, z)], 0.09, coat, ident)
    scene.disc((x + 0.22, 1.58, z), (0.105, 0.13), SKIN, ident)
    scene.disc((x + 0.2, 1.66, z), (0.14, 0.08), (240, 206, 60), ident)


def draw_motorcycle(scene: Scene, x: float, z: float, color: Color) -> None:
    """Draw a parked motorcycle from its side, its front to the right."""
    ident = scene.new_id("motorcycle")
    scene.disc((x, 0.01, z), (1.0, 0.07), (70, 68, 68), None)
    for wheel in (-0.68, 0.68):
        scene.disc((x + wheel, 0.32, z), (0.32, 0.32), TIRE, ident)
        scene.disc((x + wheel, 0.32, z), (0.18, 0.18), METAL, ident)
    body = [(-0.75, 0.72), (-0.2, 0.84), (0.3, 0.95), (0.45, 0.6), (0.25, 0.3), (-0.35, 0.3)]
    scene.face([(x + a, b, z) for a, b in body], color, ident)
    scene.disc((x - 0.02, 0.4, z), (0.26, 0.17), (92, 94, 98), ident)
    scene.line([(x - 0.7, 0.8, z), (x - 0.1, 0.84, z)], 0.14, DARK, ident)
    scene.line([(x + 0.68, 0.32, z), (x + 0.42, 1.0, z), (x + 0.26, 1.1, z)], 0.07, METAL, ident)
    scene.disc((x + 0.5, 0.9, z), (0.11, 0.11), (224, 222, 206), ident)
