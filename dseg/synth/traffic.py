"""Add random traffic: moving and parked vehicles, pedestrians and riders on the road."""

from __future__ import annotations

import numpy as np

from dseg.labels import Color
from dseg.synth.appearance import FLEET, SKINS, chance, make_looks, make_paint, pick, roll, vary
from dseg.synth.canvas import Scene
from dseg.synth.cars import BODIES, draw_car, draw_car_across
from dseg.synth.people import draw_person
from dseg.synth.street_plan import RANGE, StreetPlan
from dseg.synth.two_wheelers import (
    draw_cyclist,
    draw_motorcycle,
    draw_motorcyclist,
    draw_rider_ahead,
)
from dseg.synth.vehicles import WHITE, draw_bus, draw_truck

VEHICLE_KINDS = tuple(BODIES)
LENGTHS = {"car": 4.9, "bus": 11.2, "truck": 9.2, "train": 26.2, "rider": 1.8}
FRACTIONS = (("bus", 0.05), ("truck", 0.06), ("rider", 0.08))  # of all vehicles; the rest are cars
WANTED = (("bus", 0.32), ("truck", 0.36), ("rider", 0.35))  # fractions of scenes with one nearby


def add_traffic(scene: Scene, plan: StreetPlan, rng: np.random.Generator) -> None:
    """Add vehicles in all lanes, parked vehicles, and pedestrians and vehicles that cross."""
    wanted = [kind for kind, fraction in WANTED if chance(rng, fraction)]
    density = roll(rng, 0.25, 1.0)
    some = wanted[:: len(plan.lanes)]
    for number, (x, away) in enumerate(plan.lanes):
        own = number == plan.own
        first = roll(rng, 9, 32) if own else roll(rng, 3.5, 20)
        queue = wanted if number == 0 else [] if own else some
        _fill_lane(scene, plan, rng, x, away, first, density, queue)
    if wanted:
        rng.random()  # unused, but without this call all scenes would change
    for side in (-1, 1):
        if plan.parking[side > 0]:
            _add_parked(scene, plan, rng, side)
    _add_crossing(scene, plan, rng)


def _clear_of_crossing(plan: StreetPlan, z: float, long: float) -> float:
    """Return ``z``, or the far edge of the crossing if a vehicle would stand on it."""
    crossing = plan.street.crossing
    if crossing is not None and z < crossing + 4 and z + long > crossing - 0.5:
        return crossing + 4.2
    return z


def _fill_lane(
    scene: Scene,
    plan: StreetPlan,
    rng: np.random.Generator,
    x: float,
    away: bool,
    first: float,
    density: float,
    wanted: list[str],
) -> None:
    """Add vehicles to a lane from near to far, beginning with the kinds in ``wanted``."""
    z, queue = first, list(wanted)
    if plan.rails == x and chance(rng, 0.8):
        queue.insert(0, "train")
    while z < RANGE * 0.8:
        kind = queue.pop(0) if queue else _pick_kind(rng)
        if kind in ("bus", "truck", "train"):
            z = max(z, roll(rng, 7, 22))
        z = _clear_of_crossing(plan, z, LENGTHS[kind])
        _add_vehicle(scene, plan, rng, kind, x + roll(rng, -0.25, 0.25), z, away)
        z += LENGTHS[kind] + roll(rng, 1.5, 10) + roll(rng, 0, 40) * (1 - density)


def _pick_kind(rng: np.random.Generator) -> str:
    left = float(rng.random())
    for kind, fraction in FRACTIONS:
        left -= fraction
        if left < 0:
            return kind
    return "car"


def _add_vehicle(
    scene: Scene,
    plan: StreetPlan,
    rng: np.random.Generator,
    kind: str,
    x: float,
    z: float,
    away: bool,
) -> None:
    box = plan.box(x, z, 1.25 if kind != "rider" else 0.35, LENGTHS[kind])
    if kind == "car":
        scene.add(box, draw_car, x, z, make_paint(rng), away, pick(rng, VEHICLE_KINDS))
    elif kind == "rider":
        motor = make_paint(rng) if chance(rng, 0.5) else None
        coat, hat = make_looks(rng).coat, make_paint(rng)
        skin = pick(rng, SKINS)
        scene.add(box, draw_rider_ahead, x + roll(rng, -0.5, 0.9), z, coat, away, motor, hat, skin)
    elif kind == "truck":
        load = vary(rng, pick(rng, (WHITE, WHITE, *FLEET)), 12)
        scene.add(box, draw_truck, x, z, vary(rng, pick(rng, FLEET), 14), load, away)
    else:
        stripe: Color | None = vary(rng, pick(rng, FLEET), 10) if chance(rng, 0.6) else None
        paint = vary(rng, pick(rng, FLEET), 14)
        scene.add(box, draw_bus, x, z, paint, away, kind, stripe)


def _add_parked(scene: Scene, plan: StreetPlan, rng: np.random.Generator, side: int) -> None:
    """Add parked cars and motorcycles along a kerb."""
    x = side * (plan.street.half_road - 1.1)
    z, fraction = roll(rng, 3.8, 9), roll(rng, 0.35, 0.95)
    while z < RANGE * 0.7:
        z = _clear_of_crossing(plan, z, 5)
        if not plan.blocked(side, z, 6):
            if chance(rng, fraction):
                away = (side > 0) != chance(rng, 0.1)
                where = x + roll(rng, -0.1, 0.15)
                paint, kind = make_paint(rng), pick(rng, VEHICLE_KINDS)
                scene.add(plan.box(where, z, 0.9, 4.6), draw_car, where, z, paint, away, kind)
            elif chance(rng, 0.2):
                scene.add(plan.box(x, z, 1.0), draw_motorcycle, x, z, make_paint(rng))
        z += roll(rng, 5.3, 6.6)


def _add_crossing(scene: Scene, plan: StreetPlan, rng: np.random.Generator) -> None:
    """Add people and a rider who cross the road, and a car in the side street."""
    crossing, half = plan.street.crossing, plan.street.half_road
    if crossing is not None:
        for _ in range(pick(rng, (0, 1, 1, 2, 3, 5))):
            x, z = roll(rng, -half, half), crossing + roll(rng, 0.3, 2.7)
            scene.add(plan.box(x, z), draw_person, x, z, make_looks(rng), roll(rng, 1.5, 1.9))
    if chance(rng, 0.45):
        x = roll(rng, -half * 0.8, half * 0.8)
        z = crossing + roll(rng, 0.5, 2.5) if crossing is not None else roll(rng, 7, 16)
        coat, way, paint = make_looks(rng).coat, pick(rng, (-1, 1)), make_paint(rng)
        z = _free_for_crosser(scene, plan, x, z)
        box = plan.box(x, z, 0.9)
        if chance(rng, 0.65):
            scene.add(box, draw_cyclist, x, z, coat, way, paint, make_paint(rng), pick(rng, SKINS))
        else:
            scene.add(box, draw_motorcyclist, x, z, coat, paint, way)
    if plan.side_street is not None and chance(rng, 0.7):
        side, (near, far) = plan.side_street
        x, z = side * (half + roll(rng, 4, 12)), (near + far) / 2 + roll(rng, -1, 1)
        paint, kind = make_paint(rng), pick(rng, VEHICLE_KINDS)
        scene.add(plan.box(x, z, 2.3, 1.8), draw_car_across, x, z, paint, -side, kind)


def _free_for_crosser(scene: Scene, plan: StreetPlan, x: float, z: float) -> float:
    """Return a distance, at most ``z``, at which no vehicle is in the way."""
    for _ in range(8):
        mine = plan.box(x, z, 1.3, 0.8)
        hit = any(
            box.left < mine.right and box.right > mine.left and box.near < mine.far + 0.5
            and box.far > mine.near
            for box, _ in scene.things
        )  # fmt: skip
        if not hit:
            return z
        z = max(4.0, z - 1.5)
    return z
