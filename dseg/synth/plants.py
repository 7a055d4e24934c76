"""Draw trees, hedges, bushes, fences, guard rails and walls."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dseg.labels import Color
from dseg.synth.camera import LABEL_IDS, Point
from dseg.synth.canvas import Point3, Scene

LEAF = LABEL_IDS["vegetation"]
BARK: Color = (88, 68, 50)
SUMMER: tuple[Color, ...] = ((44, 72, 34), (62, 96, 44), (86, 122, 56), (112, 146, 72))


@dataclass(frozen=True, kw_only=True)
class TreeShape:
    """Appearance of a tree.

    Attributes:
        height: Height in metres.
        greens: Colours of the leaves from dark to light; empty for a bare tree.
        kind: ``round``, ``tall`` or ``conifer``.
        bark: Colour of the trunk.
    """

    height: float
    greens: tuple[Color, ...] = SUMMER
    kind: str = "round"
    bark: Color = BARK


def draw_tree(scene: Scene, x: float, z: float, tree: TreeShape) -> None:
    """Draw a trunk with a crown of leaves, lit from the upper left, or of bare branches."""
    if not tree.greens:
        _draw_bare(scene, (x, 0.0, z), tree)
    elif tree.kind == "conifer":
        _draw_conifer(scene, x, z, tree)
    else:
        _draw_crown(scene, x, z, tree)


def _draw_crown(scene: Scene, x: float, z: float, tree: TreeShape) -> None:
    height, tall = tree.height, tree.kind == "tall"
    trunk = (x - 0.16, x + 0.16)
    scene.upright(trunk, (0, height * 0.6), z, tree.bark, LEAF, texture="bark")
    spread, rise = (0.19, 1.7) if tall else (0.3, 1.05)
    for level, green in enumerate(tree.greens):
        for _ in range(26 - 4 * level):
            angle, far = scene.rng.uniform(0, 2 * math.pi), math.sqrt(scene.rng.random())
            reach = height * (spread - 0.035 * level) * far
            u = x + reach * math.cos(angle) - height * 0.025 * level
            v = height * 0.68 + reach * rise * math.sin(angle) + height * 0.03 * level
            r = height * float(scene.rng.uniform(0.05, 0.11)) * (1 - 0.14 * level)
            scene.disc((u, v, z), (r, r * 0.85), green, LEAF, texture="leaves")


def _draw_conifer(scene: Scene, x: float, z: float, tree: TreeShape) -> None:
    height = tree.height
    scene.upright((x - 0.14, x + 0.14), (0, height * 0.3), z, tree.bark, LEAF, texture="bark")
    for level in range(9):
        low = height * (0.12 + 0.092 * level)
        wide = height * 0.22 * (1 - level / 10.5) * float(scene.rng.uniform(0.85, 1.1))
        ragged = [(x - wide, low + 0.1, z), (x - wide * 0.5, low - 0.12, z), (x, low + 0.1, z)]
        ragged += [(x + wide * 0.55, low - 0.1, z), (x + wide, low + 0.15, z)]
        green = tree.greens[min(level // 3, len(tree.greens) - 1)]
        scene.face([*ragged, (x, low + height * 0.2, z)], green, LEAF, texture="leaves")


def _draw_bare(scene: Scene, foot: Point3, tree: TreeShape) -> None:
    """Draw a tree of recursively forking branches without leaves."""
    x, _, z = foot
    fork = (x, tree.height * 0.32, z)
    scene.line([foot, fork], tree.height * 0.034, tree.bark, LEAF, "bark")
    depth = 4 if scene.pixels_of(tree.height, z) > 90 else 3
    _draw_branches(scene, fork, math.pi / 2, tree.height * 0.24, depth, tree)


def _draw_branches(
    scene: Scene, start: Point3, angle: float, length: float, depth: int, tree: TreeShape
) -> None:
    x, y, z = start
    for turn in (-0.55, 0.0, 0.5):
        way = angle + turn + float(scene.rng.uniform(-0.2, 0.2))
        reach = length * float(scene.rng.uniform(0.75, 1.15))
        end = (x + reach * math.cos(way), y + reach * math.sin(way), z)
        scene.line([start, end], 0.022 * depth * length, tree.bark, LEAF)
        if depth > 1:
            _draw_branches(scene, end, way, length * 0.72, depth - 1, tree)


def draw_hedge(
    scene: Scene, x: float, zs: Point, height: float, greens: tuple[Color, ...] = ()
) -> None:
    """Draw a hedge that is parallel to the street."""
    base = greens[0] if greens else (52, 80, 40)
    scene.along(x, (0, height * 0.9), zs, base, LEAF, texture="leaves")
    for _ in range(int(70 * (zs[1] - zs[0]) / 20)):
        z = zs[0] + (zs[1] - zs[0]) * float(scene.rng.random())
        y, r = height * float(scene.rng.uniform(0.1, 0.95)), float(scene.rng.uniform(0.1, 0.3))
        more = int(scene.rng.integers(0, 34))
        leaf = (base[0] + 8 + more, base[1] + 10 + more, base[2] + 6 + more)
        scene.disc((x, y, z), (r, r * 0.7), leaf, LEAF, True, "leaves")


def draw_bush(scene: Scene, x: float, z: float, height: float, greens: tuple[Color, ...]) -> None:
    """Draw a bush."""
    for level, green in enumerate(greens):
        for _ in range(9 - level):
            u = x + height * float(scene.rng.uniform(-0.6, 0.6)) * (1 - 0.15 * level)
            r = height * float(scene.rng.uniform(0.22, 0.4)) * (1 - 0.12 * level)
            y = max(r, height * float(scene.rng.uniform(0.3, 0.7)) + 0.08 * level)
            scene.disc((u, y, z), (r, r), green, LEAF, texture="leaves")


def draw_fence(
    scene: Scene, x: float, zs: Point, height: float = 1.3, color: Color = (46, 52, 50)
) -> None:
    """Draw an iron fence parallel to the street; the gaps between its bars are labelled fence."""
    low, high = height - 0.15, height - 0.07
    points = [(x, 0, zs[0]), (x, height, zs[0]), (x, height, zs[1]), (x, 0, zs[1])]
    scene.polygon([scene.at(*point) for point in points], None, LABEL_IDS["fence"])
    rail = (color[0] + 6, color[1] + 6, color[2] + 6)
    for span in ((0.2, 0.28), (low, high)):
        scene.along(x, span, zs, rail, None)
    z = zs[0]
    while z < zs[1]:
        scene.along(x, (0, height), (z, z + 0.07), color, None)
        z += 0.32 if z < 40 or scene.grain is None else 0.8


def draw_boards(scene: Scene, x: float, zs: Point, height: float, color: Color) -> None:
    """Draw a fence of boards that is parallel to the street."""
    fence = LABEL_IDS["fence"]
    scene.along(x, (0, height), zs, color, fence, texture="boards")
    post = (round(color[0] * 0.8), round(color[1] * 0.8), round(color[2] * 0.8))
    z = zs[0]
    while z < zs[1]:
        scene.along(x, (0, height + 0.1), (z, z + 0.14), post, fence)
        z += 2.4


def draw_barrier(scene: Scene, x: float, zs: Point) -> None:
    """Draw a guard rail parallel to the street; the gap below the rail is labelled fence."""
    fence, steel = LABEL_IDS["fence"], (158, 162, 166)
    points = [(x, 0, zs[0]), (x, 0.8, zs[0]), (x, 0.8, zs[1]), (x, 0, zs[1])]
    scene.polygon([scene.at(*point) for point in points], None, fence)
    z = zs[0]
    while z < zs[1]:
        scene.along(x, (0, 0.7), (z, z + 0.14), (120, 124, 128), fence)
        z += 2.0
    scene.along(x, (0.42, 0.8), zs, steel, fence, texture="metal")
    scene.along(x, (0.58, 0.63), zs, (112, 116, 120), None)


def draw_wall(
    scene: Scene,
    x: float,
    zs: Point,
    height: float,
    color: Color = (146, 128, 112),
    texture: str = "",
) -> None:
    """Draw a wall parallel to the street; without a texture, draw its stones one by one."""
    wall = LABEL_IDS["wall"]
    scene.along(x, (0, height), zs, color, wall, texture=texture)
    if not texture:
        _draw_stones(scene, x, zs, height)
    top = (color[0] + 30, color[1] + 38, color[2] + 42)
    scene.along(x, (height, height + 0.12), zs, top, wall)


def _draw_stones(scene: Scene, x: float, zs: Point, height: float) -> None:
    for row in range(int(height / 0.4)):
        z = zs[0] + 0.4 * (row % 2)
        while z + 0.8 < zs[1]:
            grey = int(scene.rng.integers(-14, 15))
            stone = (150 + grey, 130 + grey, 112 + grey)
            scene.along(x, (row * 0.4 + 0.03, row * 0.4 + 0.37), (z + 0.03, z + 0.77), stone, None)
            z += 0.8
