"""Add random objects beside the road: houses, walls, trees, street furniture and people."""

from __future__ import annotations

import numpy as np

from dseg.synth.appearance import (
    LEAVES,
    chance,
    make_house,
    make_looks,
    make_paint,
    make_tree,
    pick,
    roll,
    vary,
)
from dseg.synth.camera import Point
from dseg.synth.canvas import Scene
from dseg.synth.furniture import PHASES, draw_lantern, draw_pole, draw_sign, draw_traffic_light
from dseg.synth.houses import draw_house
from dseg.synth.people import draw_person
from dseg.synth.plants import (
    draw_barrier,
    draw_boards,
    draw_bush,
    draw_fence,
    draw_hedge,
    draw_tree,
    draw_wall,
)
from dseg.synth.street_plan import RANGE, StreetPlan
from dseg.synth.two_wheelers import draw_bicycle, draw_motorcycle

SIGNS = ("stop", "yield", "speed", "park", "turn", "warning", "way", "back")
BORDERS = {
    "centre": ("houses", "houses", "houses", "houses", "wall", "fence"),
    "suburb": ("garden", "garden", "garden", "houses", "hedge"),
    "works": ("wall", "fence", "boards", "houses", "hedge"),
    "open": ("meadow", "meadow", "barrier", "fence", "hedge", "wall"),
}
PIECE = 4.0  # metres; long borders are drawn in pieces so that occlusions are correct


def add_side(scene: Scene, plan: StreetPlan, rng: np.random.Generator, side: int) -> None:
    """Add all objects on one side of the road, -1 for left and 1 for right."""
    edge = plan.street.outer[side > 0]
    district = plan.districts[side > 0]
    wanted = ["wall"] * chance(rng, 0.24) + ["fence"] * chance(rng, 0.22)
    z = roll(rng, 2.2, 3.5)
    while z < RANGE:
        kind = wanted.pop() if wanted else pick(rng, BORDERS[district])
        end = min(RANGE, z + (roll(rng, 10, 22) if kind != "houses" else roll(rng, 18, 60)))
        for zs in _around_side_street(plan, side, (z, end)):
            _add_border(scene, plan, rng, kind, district, edge, zs)
        z = end
    _add_woods(scene, plan, rng, edge)
    _add_posts(scene, plan, rng, side)
    _add_people(scene, plan, rng, side)


def _around_side_street(plan: StreetPlan, side: int, zs: Point) -> list[Point]:
    """Return the sections of a range outside the side street that are longer than 3 metres."""
    if plan.side_street is None or plan.side_street[0] != side:
        return [zs]
    near, far = plan.side_street[1][0] - 2.2, plan.side_street[1][1] + 2.2
    parts = [(zs[0], min(zs[1], near)), (max(zs[0], far), zs[1])]
    return [part for part in parts if part[1] - part[0] > 3]


def _add_border(
    scene: Scene,
    plan: StreetPlan,
    rng: np.random.Generator,
    kind: str,
    district: str,
    edge: float,
    zs: Point,
) -> None:
    side = 1 if edge > 0 else -1
    if kind == "houses":
        _add_houses(scene, plan, rng, district, edge, zs, gaps=0.1)
        return
    if kind == "garden":
        back = edge + side * roll(rng, 3, 7)
        _add_houses(scene, plan, rng, "suburb", back, zs, gaps=0.6)
        kind = pick(rng, ("wall", "fence", "boards", "hedge", "hedge", "none"))
    elif chance(rng, 0.5):
        far = edge + side * roll(rng, 8, 25)
        _add_houses(scene, plan, rng, "works" if district == "works" else "suburb", far, zs, gaps=1)
    _add_grove(scene, plan, rng, edge, zs)
    _add_fencing(scene, plan, rng, kind, edge, zs)


def _add_houses(
    scene: Scene,
    plan: StreetPlan,
    rng: np.random.Generator,
    district: str,
    x: float,
    zs: Point,
    gaps: float,
) -> None:
    """Add a row of houses; ``gaps`` is the probability of a gap after a house."""
    z, kind = zs[0], "centre" if district == "open" else district
    while z < zs[1] - 3:
        house = make_house(rng, kind)
        end = min(z + roll(rng, 7, 15), zs[1])
        if zs[1] - end < 4:
            end = zs[1]
        scene.add(plan.strip(x, house.depth, (z, end)), draw_house, x, (z, end), house)
        z = end + (roll(rng, 2, 6) if chance(rng, gaps) else 0)


def _add_fencing(
    scene: Scene, plan: StreetPlan, rng: np.random.Generator, kind: str, edge: float, zs: Point
) -> None:
    """Add a wall, a fence, a guard rail or a hedge in short pieces."""
    high = roll(rng, 0.7, 2.4)
    stone = vary(rng, pick(rng, ((146, 128, 112), (160, 156, 150), (152, 92, 72))), 18)
    kind_of_wall = pick(rng, ("stones", "bricks", "plaster", "panels"))
    board = vary(rng, pick(rng, ((124, 96, 68), (86, 72, 60), (190, 188, 182), (74, 92, 70))), 14)
    iron = pick(rng, ((46, 52, 50), (30, 60, 44), (120, 124, 126), (196, 196, 192)))
    greens = LEAVES[max(0, plan.season)]
    z = zs[0]
    while z < zs[1] - 0.4:
        part = (z, min(z + PIECE, zs[1]))
        where = plan.strip(edge, 0.3, part)
        if kind == "wall":
            scene.add(where, draw_wall, edge, part, high, stone, kind_of_wall)
        elif kind == "fence":
            scene.add(where, draw_fence, edge, part, max(1.0, high * 0.8), iron)
        elif kind == "boards":
            scene.add(where, draw_boards, edge, part, max(1.1, high * 0.85), board)
        elif kind == "barrier":
            scene.add(where, draw_barrier, edge, part)
        elif kind == "hedge":
            scene.add(where, draw_hedge, edge, part, max(0.8, high), greens)
        z += PIECE


def _add_grove(
    scene: Scene, plan: StreetPlan, rng: np.random.Generator, edge: float, zs: Point
) -> None:
    """Add trees and bushes behind the border of the street."""
    side = 1 if edge > 0 else -1
    for _ in range(int((zs[1] - zs[0]) / roll(rng, 3, 9))):
        x, z = edge + side * roll(rng, 1.5, 12), roll(rng, zs[0], zs[1])
        if chance(rng, 0.65):
            tree = make_tree(rng, plan.season, roll(rng, 4, 11))
            scene.add(plan.box(x, z, 0.6), draw_tree, x, z, tree)
        else:
            greens = LEAVES[max(0, plan.season)]
            scene.add(plan.box(x, z, 0.8), draw_bush, x, z, roll(rng, 0.6, 1.6), greens)


def _add_woods(scene: Scene, plan: StreetPlan, rng: np.random.Generator, edge: float) -> None:
    """Add trees far from the road as a background."""
    side = 1 if edge > 0 else -1
    for _ in range(pick(rng, (6, 14, 30))):
        x, z = edge + side * roll(rng, 18, 75), roll(rng, 40, RANGE)
        tree = make_tree(rng, plan.season, roll(rng, 7, 14))
        scene.add(plan.box(x, z, 0.6), draw_tree, x, z, tree)


def _add_posts(scene: Scene, plan: StreetPlan, rng: np.random.Generator, side: int) -> None:
    """Add street lamps, signs, traffic lights, bollards and trees along the kerb."""
    kerb = side * (plan.street.half_road + 0.45)
    color = pick(rng, ((104, 108, 112), (60, 64, 66), (150, 154, 156), (58, 74, 64)))
    step, high = roll(rng, 14, 32), roll(rng, 5.5, 9)
    for z in np.arange(roll(rng, 5, 16), RANGE * 0.8, step).tolist():
        if not plan.blocked(side, z):
            scene.add(plan.box(kerb, z), draw_lantern, kerb, z, high, color)
    if chance(rng, 0.5):
        step = roll(rng, 7, 16)
        for z in np.arange(roll(rng, 6, 20), RANGE * 0.7, step).tolist():
            if not plan.blocked(side, z):
                tree = make_tree(rng, plan.season, roll(rng, 4.5, 8.5))
                scene.add(plan.box(kerb + side * 0.4, z), draw_tree, kerb + side * 0.4, z, tree)
    if chance(rng, 0.25):
        step, tall = roll(rng, 1.4, 3), roll(rng, 0.7, 1.1)
        for z in np.arange(roll(rng, 4, 14), roll(rng, 18, 40), step).tolist():
            scene.add(plan.box(kerb, z), draw_pole, kerb, z, tall, color)
    if chance(rng, 0.2):
        for z in np.arange(roll(rng, 8, 20), RANGE * 0.8, 27).tolist():
            x = plan.street.outer[side > 0] - side * 0.4
            scene.add(plan.box(x, z), draw_pole, x, z, 8.5, (92, 76, 60))
    _add_signals(scene, plan, rng, kerb)


def _add_signals(scene: Scene, plan: StreetPlan, rng: np.random.Generator, kerb: float) -> None:
    """Add signs and traffic lights."""
    side = 1 if kerb > 0 else -1
    for _ in range(pick(rng, (0, 1, 1, 2, 3))):
        z, high = roll(rng, 7, 55), roll(rng, 1.9, 2.8)
        if not plan.blocked(side, z):
            scene.add(plan.box(kerb, z), draw_sign, kerb, z, pick(rng, SIGNS), high)
    crossing = plan.street.crossing
    if chance(rng, 0.7 if crossing is not None else 0.4):
        z = crossing + 3.8 if crossing is not None else roll(rng, 9, 30)
        phase, arm = pick(rng, tuple(PHASES)), chance(rng, 0.35)
        scene.add(plan.box(kerb, z), draw_traffic_light, kerb, z, phase, arm)


def _add_people(scene: Scene, plan: StreetPlan, rng: np.random.Generator, side: int) -> None:
    """Add people, parked bicycles and motorcycles on the pavement."""
    near, far = plan.street.half_road + 0.8, abs(plan.street.outer[side > 0]) - 0.5
    for _ in range(pick(rng, (0, 1, 2, 3, 4, 6, 10))):
        x, z = side * roll(rng, near, max(near, far)), roll(rng, 4, 22) * roll(rng, 0.8, 2.4)
        for _ in range(pick(rng, (1, 1, 1, 2, 3))):
            high = roll(rng, 1.55, 1.92) if chance(rng, 0.85) else roll(rng, 1.0, 1.4)
            scene.add(plan.box(x, z), draw_person, x, z, make_looks(rng), high)
            x, z = x + roll(rng, -0.3, 0.3), z + roll(rng, 0.5, 1.2)
    for _ in range(pick(rng, (0, 0, 1, 2, 4))):
        x, z = side * max(near + 0.4, far - 0.4), roll(rng, 5, 25)
        way = pick(rng, (-1, 1))
        if plan.blocked(side, z):
            continue
        if chance(rng, 0.75):
            scene.add(plan.box(x, z, 0.9), draw_bicycle, x, z, make_paint(rng), way)
        else:
            scene.add(plan.box(x, z, 0.9), draw_motorcycle, x, z, make_paint(rng), way)
