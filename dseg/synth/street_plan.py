"""Plan a random street: its lanes, kerbs, crossing and side street, in metres."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dseg.synth.appearance import LEAVES, chance, dimmed, pick, roll, vary
from dseg.synth.camera import Camera, Point
from dseg.synth.depth_order import GroundBox
from dseg.synth.ground import Street

RANGE = 120.0  # largest distance of objects in metres


@dataclass(frozen=True, kw_only=True)
class StreetPlan:
    """Layout of one street.

    Attributes:
        street: Dimensions and colours of the road.
        camera: Camera of the scene.
        lanes: Position of each lane's middle, and whether traffic drives away from the camera.
        own: Index of the camera's lane.
        rails: Position of a tramway's middle, which is also that of a lane; None for no tramway.
        parking: Whether cars are parked at the left and the right kerb.
        side_street: Side of the side street (-1 or 1), and the distances of its two edges.
        districts: Districts on the left and the right: ``centre``, ``suburb``, ``works``, ``open``.
        season: Index into ``LEAVES``, -1 for bare trees.
    """

    street: Street
    camera: Camera
    lanes: tuple[tuple[float, bool], ...]
    own: int
    rails: float | None
    parking: tuple[bool, bool]
    side_street: tuple[int, Point] | None
    districts: tuple[str, str]
    season: int

    def box(self, x: float, z: float, half: float = 0.3, long: float = 0.3) -> GroundBox:
        """Return the ground of an object with its middle at ``x`` and its near end at ``z``."""
        middle = x - self.camera.aside + self.camera.bend * z * z
        return GroundBox(middle - half, middle + half, z, z + long)

    def strip(self, x: float, outward: float, zs: Point) -> GroundBox:
        """Return the ground of an object from ``x`` to ``outward`` metres farther off the road."""
        z = (zs[0] + zs[1]) / 2
        front = x - self.camera.aside + self.camera.bend * z * z
        back = front + (outward if x > 0 else -outward)
        return GroundBox(min(front, back), max(front, back), zs[0], zs[1])

    def blocked(self, side: int, z: float, margin: float = 1.0) -> bool:
        """Return whether there is a side street at ``z`` or within ``margin`` metres of it."""
        if self.side_street is None or self.side_street[0] != side:
            return False
        near, far = self.side_street[1]
        return near - margin < z < far + margin


def make_plan(rng: np.random.Generator, size: tuple[int, int]) -> StreetPlan:
    """Return a random street for images of ``size`` (height, width)."""
    parking = (chance(rng, 0.45), chance(rng, 0.45))
    lane = roll(rng, 2.9, 3.6)
    oncoming, own = pick(rng, (1, 1, 1, 2)), pick(rng, (1, 1, 1, 2))
    tram = chance(rng, 0.42)
    widths = [2.1] * parking[0] + [lane] * (oncoming + own) + [2.1] * parking[1]
    half = sum(widths) / 2 + 0.2
    first = -half + 0.2 + 2.1 * parking[0]
    lanes = [(first + lane * (i + 0.5), i >= oncoming) for i in range(oncoming + own)]
    place = oncoming + (0 if chance(rng, 0.5) else own - 1)
    bend = roll(rng, -0.0016, 0.0016) if chance(rng, 0.5) else 0.0
    camera = _make_camera(rng, size, lanes[place][0] + roll(rng, -0.4, 0.4), bend)
    season = -1 if chance(rng, 0.25) else int(rng.integers(len(LEAVES)))
    side_street = None
    if chance(rng, 0.4):
        start = roll(rng, 14, 40)
        side_street = pick(rng, (-1, 1)), (start, start + roll(rng, 6, 10))
    return StreetPlan(
        street=_make_street(rng, half, [x + lane / 2 for x, _ in lanes[:-1]], oncoming, season),
        camera=camera,
        lanes=tuple(lanes),
        own=place,
        rails=lanes[oncoming - 1][0] if tram else None,
        parking=parking,
        side_street=side_street,
        districts=_make_districts(rng),
        season=season,
    )


def _make_districts(rng: np.random.Generator) -> tuple[str, str]:
    kinds = ("centre", "centre", "centre", "suburb", "suburb", "works", "open")
    left = pick(rng, kinds)
    return left, left if chance(rng, 0.5) else pick(rng, kinds)


def _make_camera(
    rng: np.random.Generator, size: tuple[int, int], aside: float, bend: float
) -> Camera:
    height, width = size
    scale = 2 if min(size) >= 200 else 4
    focal = math.sqrt(height * width / 2) * roll(rng, 0.92, 1.35)
    center = (width * roll(rng, 0.4, 0.6), height * roll(rng, 0.34, 0.5))
    return Camera(
        height=height,
        width=width,
        scale=scale,
        focal=focal,
        center=center,
        eye=roll(rng, 1.2, 1.9),
        aside=aside,
        bend=bend,
    )


def _make_street(
    rng: np.random.Generator, half: float, lines: list[float], oncoming: int, season: int
) -> Street:
    grey = roll(rng, 58, 132)
    warm = roll(rng, -0.03, 0.04)
    road = vary(rng, (round(grey * (1 + warm)), round(grey), round(grey * (1.03 - warm))), 3)
    stone = vary(rng, pick(rng, ((158, 152, 146), (142, 140, 138), (168, 148, 130))), 22)
    grass = dimmed(LEAVES[0 if season < 0 else season][2], roll(rng, 0.9, 1.25))
    land = grass if chance(rng, 0.8) else vary(rng, (140, 122, 96), 16)
    middle = lines[oncoming - 1]
    others = [line for line in lines if line != middle]
    return Street(
        half_road=half,
        pavements=(roll(rng, 1.8, 4.5), roll(rng, 1.8, 4.5)),
        crossing=roll(rng, 6, 15) if chance(rng, 0.5) else None,
        dashes=(middle, *others) if chance(rng, 0.88) else (),
        solid=chance(rng, 0.25),
        edges=chance(rng, 0.4),
        worn=roll(rng, 0, 0.65),
        road=road,
        pavement=stone,
        kerb=dimmed(stone, roll(rng, 0.95, 1.2)),
        land=land,
        kinds=(
            "cobbles" if chance(rng, 0.1) else "asphalt",
            pick(rng, ("slabs", "slabs", "asphalt", "cobbles")),
            "grass" if land == grass else "gravel",
        ),
    )
