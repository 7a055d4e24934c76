"""Compose random street scenes, each determined by a seed, an index and a size."""

from __future__ import annotations

import numpy as np

from dseg.errors import DsegError
from dseg.images import Ids, Pixels
from dseg.synth.appearance import chance, make_light, make_paint, make_sensor, roll, vary
from dseg.synth.canvas import Scene
from dseg.synth.ground import (
    draw_arrow,
    draw_ground,
    draw_rails,
    draw_side_street,
    draw_sky,
    draw_skyline,
    draw_verge,
)
from dseg.synth.postprocess import add_reflections, develop, draw_hood, mark_border
from dseg.synth.roadsides import add_side
from dseg.synth.street_plan import StreetPlan, make_plan
from dseg.synth.traffic import add_traffic

SIDES = (64, 2048)  # pixels, the smallest and the largest side
COVER = {"clear": 0.35, "blue": 0.15, "white": 0.2, "overcast": 0.9, "rain": 0.95, "hazy": 0.3,
         "low sun": 0.4, "dusk": 0.5, "late": 0.6}  # fmt: skip


def draw_scene(seed: int, index: int, size: tuple[int, int]) -> tuple[Pixels, Pixels, Ids]:
    """Draw the scene of a seed and an index, which is the same on every call.

    Args:
        seed: Seed of the data set, at least 0.
        index: Number of the scene, at least 0.
        size: Height and width in pixels, 64 to 2048 each.

    Returns:
        RGB image, (H, W, 3) uint8; Cityscapes label ids, (H, W) uint8; and instance ids, (H, W)
        uint16: 1000 times the label id plus a number for classes with instances, otherwise the
        label id.

    Raises:
        DsegError: A number is negative, or the size is out of range.
    """
    check_numbers(seed, index, size)
    rng, grain = np.random.default_rng([seed, index]), np.random.default_rng([seed, index, 1])
    plan = make_plan(rng, size)
    light, weather = make_light(rng, plan.street.half_road)
    scene = Scene(light, rng, plan.camera, grain)
    red, green, blue = plan.street.road
    scene.ground = scene.tone((red, green, blue), 0)
    sensor, cover = make_sensor(rng, weather), COVER[weather] * roll(rng, 0.6, 1.2)
    hood = (vary(rng, make_paint(rng), 10), roll(rng, 0.05, 0.14)) if chance(rng, 0.4) else None
    border = max(1, size[1] // 340) if chance(rng, 0.4) else 0
    _draw_street(scene, plan, cover)
    if hood is not None:
        draw_hood(scene, *hood)
    if border:
        mark_border(scene, border)
    pixels, ids = scene.finished()
    pixels = np.array(pixels)
    if light.wet:
        add_reflections(pixels, ids, plan.camera.center[1], light.wet)
    labels = np.where(ids >= 1000, ids // 1000, ids).astype(np.uint8)
    return develop(pixels, sensor, grain), labels, ids.astype(np.uint16)


def check_numbers(seed: int, index: int, size: tuple[int, int]) -> None:
    """Raise a DsegError if the arguments of ``draw_scene`` are out of range."""
    if seed < 0 or index < 0:
        raise DsegError(
            f"Seed {seed} and number {index} cannot be drawn.",
            hint="use 0 or more for both.",
        )
    low, high = SIDES
    if not all(low <= side <= high for side in size):
        raise DsegError(
            f"A scene of {size[0]}x{size[1]} (height x width) cannot be drawn.",
            hint=f"use {low} to {high} pixels per side, for example 512x1024.",
        )


def _draw_street(scene: Scene, plan: StreetPlan, cover: float) -> None:
    """Draw the whole street, from the sky to the nearest object."""
    assert scene.grain is not None
    draw_sky(scene, cover, scene.grain)
    draw_skyline(scene)
    draw_ground(scene, plan.street)
    if plan.rails is not None:
        bed = vary(scene.rng, (112, 106, 102), 14)
        draw_rails(scene, plan.rails, bed if chance(scene.rng, 0.4) else None)
    if chance(scene.rng, 0.25):
        draw_arrow(scene, plan.street, plan.lanes[plan.own][0], roll(scene.rng, 5, 20))
    for side in (-1, 1):
        if chance(scene.rng, 0.3):
            wide = min(roll(scene.rng, 0.8, 2), plan.street.pavements[side > 0] - 1)
            draw_verge(scene, plan.street, side, max(0.5, wide))
        add_side(scene, plan, scene.rng, side)
    if plan.side_street is not None:
        draw_side_street(scene, plan.street, *plan.side_street)
    add_traffic(scene, plan, scene.rng)
    scene.draw_things()
