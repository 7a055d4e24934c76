"""Draw houses with fronts along the street, gables, windows and roofs."""

from __future__ import annotations

from dataclasses import dataclass

from dseg.labels import Color
from dseg.synth.camera import LABEL_IDS, Point
from dseg.synth.canvas import Scene

GLASS: Color = (58, 72, 88)
WARM: Color = (244, 196, 118)
FRAME: Color = (222, 218, 210)
HOUSE = LABEL_IDS["building"]
SIMPLE_FROM = 45.0  # distance in metres from which windows are drawn without frames


@dataclass(frozen=True, kw_only=True)
class House:
    """Appearance of a house.

    Attributes:
        height: Height of the eaves in metres.
        color: Colour of the walls.
        floor: Height of one floor in metres.
        bay: Distance from one window to the next in metres.
        window: Width of a window as a fraction of ``bay``, and its height in metres.
        frame: Colour of the window frames.
        shops: Whether the ground floor has shop windows and a sign above them.
        roof: Height from the eaves to the ridge in metres, 0 for a flat roof.
        tiles: Colour of the roof.
        depth: Distance from the front to the back in metres.
        texture: Texture of the walls, a key of ``TEXTURES``.
        lit: Fraction of the windows that are lit if lamps are on.
    """

    height: float
    color: Color
    floor: float = 3.2
    bay: float = 2.7
    window: Point = (0.5, 1.6)
    frame: Color = FRAME
    shops: bool = True
    roof: float = 0.0
    tiles: Color = (134, 74, 56)
    depth: float = 14.0
    texture: str = "plaster"
    lit: float = 0.4

    @property
    def floors(self) -> int:
        return int((self.height - 0.8) / self.floor)


def draw_house(scene: Scene, x: float, zs: Point, house: House) -> None:
    """Draw a house with its front at ``x``, parallel to the street from ``zs[0]`` to ``zs[1]``."""
    side = 1 if x > 0 else -1
    _draw_roof(scene, x, zs, house)
    back = x + side * house.depth
    scene.upright((x, back), (0, house.height), zs[0], house.color, HOUSE, 0.72, house.texture)
    _draw_gable_windows(scene, x, zs[0], house)
    scene.along(x, (0, house.height), zs, house.color, HOUSE, texture=house.texture)
    scene.along(x, (house.height - 0.4, house.height), zs, (214, 208, 198), None)
    scene.along(x, (0, 0.5), zs, (104, 100, 98), None)
    _draw_front(scene, x, zs, house)
    if house.shops:
        red, green, blue = scene.rng.integers(70, 190, 3).tolist()
        scene.along(x, (2.85, 3.25), zs, (red, green, blue), HOUSE, texture="board")


def _draw_roof(scene: Scene, x: float, zs: Point, house: House) -> None:
    """Draw the roof slope that faces the street and the gable."""
    if not house.roof:
        return
    side = 1 if x > 0 else -1
    low, high, middle = house.height, house.height + house.roof, x + side * house.depth / 2
    gable = [(x, low, zs[0]), (middle, high, zs[0]), (x + side * house.depth, low, zs[0])]
    slope = [(x - side * 0.3, low - 0.1, zs[0]), (x - side * 0.3, low - 0.1, zs[1])]
    slope += [(middle, high, zs[1]), (middle, high, zs[0])]
    scene.face(slope, house.tiles, HOUSE, 0.95 * scene.light.sides[x > 0], "tiles")
    scene.face(gable, house.color, HOUSE, 0.72, house.texture)
    if house.depth > 9:
        z, place = zs[0] + (zs[1] - zs[0]) * 0.3, x + side * house.depth * 0.3
        top = low + house.roof * 0.6
        scene.upright((place, place + 0.9), (top - 0.6, top + 1.6), z, house.tiles, HOUSE, 0.7)


def _draw_front(scene: Scene, x: float, zs: Point, house: House) -> None:
    """Draw the windows that face the street."""
    bays = max(1, int((zs[1] - zs[0]) / house.bay))
    step = (zs[1] - zs[0]) / bays
    margin = (1 - house.window[0]) / 2 + 0.01
    for floor in range(house.floors):
        for bay in range(bays):
            near = zs[0] + (bay + margin) * step
            if near < 3:
                continue
            shop = floor == 0 and house.shops
            low = 0.7 if shop else floor * house.floor + 1.0
            spans = (low, low + (1.9 if shop else house.window[1]))
            shines = scene.light.lamps and scene.rng.random() < (0.8 if shop else house.lit)
            depth = (near, near + step * house.window[0])
            _draw_window(scene, x, spans, depth, shines, house.frame)


def _draw_gable_windows(scene: Scene, x: float, z: float, house: House) -> None:
    side = 1 if x > 0 else -1
    for floor in range(1, house.floors):
        low = floor * house.floor + 1.0
        for place in (2.5, 6, 9.5):
            if place > house.depth - 1.5:
                continue
            middle = x + side * place
            for rim, color, shade in ((0.1, house.frame, 0.7), (0.0, GLASS, 0.85)):
                xs = middle - 0.55 - rim, middle + 0.55 + rim
                ys = (low - rim, low + 1.5 + rim)
                scene.upright(xs, ys, z, color, HOUSE, shade, "" if rim else "glass")


def _draw_window(scene: Scene, x: float, ys: Point, zs: Point, shines: bool, rim: Color) -> None:
    if zs[0] < SIMPLE_FROM or scene.grain is None:
        frame = (ys[0] - 0.12, ys[1] + 0.12), (zs[0] - 0.12, zs[1] + 0.12)
        scene.along(x, *frame, rim, HOUSE, 0.94)
    if shines:
        corners = [(x, y, z) for y, z in ((ys[0], zs[0]), (ys[1], zs[0]), (ys[1], zs[1]))]
        points = [scene.at(*corner) for corner in [*corners, (x, ys[0], zs[1])]]
        dim = float(scene.rng.uniform(0.72, 1))
        warm = (int(WARM[0] * dim), int(WARM[1] * dim), int(WARM[2] * dim * dim))
        scene.polygon(points, warm, HOUSE)
        scene.shine.polygon(points, (26, 18, 6))
        return
    scene.along(x, ys, zs, GLASS, HOUSE, texture="glass")
    if zs[0] < SIMPLE_FROM or scene.grain is None:
        middle = (zs[0] + zs[1]) / 2
        scene.along(x, (ys[0] + 0.9, ys[1]), (middle, zs[1]), (112, 136, 158), None)
