"""Draw the two street scenes in dseg/samples: images, label ids and instance ids.

Usage: python scripts/draw_samples.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from dseg.synth.camera import LABEL_IDS, Daylight
from dseg.synth.canvas import Scene, rgb
from dseg.synth.cars import draw_car
from dseg.synth.furniture import draw_lantern, draw_sign, draw_traffic_light
from dseg.synth.ground import Street, draw_ground, draw_rails, draw_skyline
from dseg.synth.houses import House, draw_house
from dseg.synth.people import Looks, draw_person
from dseg.synth.plants import TreeShape, draw_fence, draw_hedge, draw_tree, draw_wall
from dseg.synth.postprocess import draw_hood, mark_border
from dseg.synth.two_wheelers import draw_bicycle, draw_cyclist, draw_motorcycle
from dseg.synth.vehicles import draw_bus, draw_truck

SAMPLES = Path(__file__).resolve().parent.parent / "dseg" / "samples"
CITY = "dsegville"
BORDER = 3  # width in pixels of the border outside the region of interest

DAY = Daylight(
    sky=((92, 146, 206), (204, 222, 236)),
    cloud=(246, 248, 250),
    haze=(196, 212, 226),
    ambient=(1.0, 0.99, 0.96),
    lamps=False,
)
DUSK = Daylight(
    sky=((48, 54, 104), (246, 168, 112)),
    cloud=(196, 128, 128),
    haze=(176, 130, 122),
    ambient=(0.56, 0.5, 0.56),
    lamps=True,
)
FACADES = ((196, 172, 140), (176, 108, 84), (206, 198, 182), (158, 146, 136), (188, 146, 104),
           (146, 100, 86), (210, 186, 150))  # fmt: skip


def draw_row(scene: Scene, x: float, start: float, end: float) -> None:
    """Draw a row of houses, the farthest first."""
    houses = []
    z = start
    while z < end:
        wide = float(scene.rng.uniform(8, 15))
        height = 3.2 * int(scene.rng.integers(3, 6)) + 1.2
        color = FACADES[int(scene.rng.integers(len(FACADES)))]
        houses.append(((z, min(z + wide, end)), height, color))
        z += wide
    for zs, height, color in reversed(houses):
        draw_house(scene, x, zs, House(height=height, color=color))


def draw_sky(scene: Scene) -> None:
    """Draw a gradient and soft clouds over the upper part of the canvas."""
    width, height = scene.size
    top, low = scene.light.sky
    bottom = int((scene.camera.center[1] + 4) * scene.camera.scale)
    for row in range(bottom):
        t = (row / bottom) ** 1.3
        color = rgb(a + (b - a) * t for a, b in zip(top, low, strict=True))
        scene.draw.line((0, row, width, row), color)
    mask = Image.new("L", scene.size)
    puff = ImageDraw.Draw(mask)
    for _ in range(9):
        u, v = scene.rng.uniform(0, width), scene.rng.uniform(0, bottom * 0.62)
        for _ in range(9):
            du, dv = scene.rng.normal(0, 90), scene.rng.normal(0, 9)
            r = scene.rng.uniform(14, 40)
            puff.ellipse((u + du - 2 * r, v + dv - r, u + du + 2 * r, v + dv + r * 0.7), 150)
    mask = mask.filter(ImageFilter.GaussianBlur(16))
    scene.image.paste(Image.new("RGB", scene.size, scene.light.cloud), mask=mask)
    scene.mark.rectangle((0, 0, width, height), LABEL_IDS["sky"])


def add_tree(scene: Scene, x: float, z: float, height: float) -> None:
    """Add a tree in leaf."""
    scene.add(z, draw_tree, x, z, TreeShape(height=height))


def draw_day() -> Scene:
    """Draw a town street at noon: traffic both ways, a bus, a cyclist who crosses."""
    scene = Scene(DAY, np.random.default_rng(19))
    draw_sky(scene)
    draw_skyline(scene)
    draw_ground(scene, Street(half_road=5.2, pavements=(3.4, 3.4), crossing=8.2))
    draw_row(scene, -8.8, 20, 120)
    draw_row(scene, 9.6, 3, 44)
    draw_row(scene, 11.5, 62, 130)
    for z in (3.5, 6, 9, 12.5, 16):
        add_tree(scene, -13.5 - 0.2 * z, z + 6, 7.5)
    scene.add(19, draw_hedge, -10.6, (3, 19.5), 1.5)
    scene.add(18.5, draw_fence, -8.7, (3.2, 19))
    for z in (24, 38, 56):
        add_tree(scene, -7.6, z, 6.5)
    for z in (30, 47, 53, 60):
        add_tree(scene, 8.2 + 0.05 * z, z, 7.0)
    for x, z in ((-5.7, 15), (5.8, 22), (-5.7, 42), (5.8, 58)):
        scene.add(z, draw_lantern, x, z)
    _fill_day(scene)
    scene.draw_things()
    draw_hood(scene)
    mark_border(scene, BORDER)
    return scene


def _fill_day(scene: Scene) -> None:
    """Add signs, vehicles and people to the street by day."""
    scene.add(17, draw_traffic_light, 5.6, 17)
    scene.add(26, draw_traffic_light, -5.6, 26)
    scene.add(11, draw_sign, 6.0, 11, "speed")
    scene.add(20, draw_sign, -6.2, 20, "park")
    scene.add(34, draw_sign, 5.9, 34, "yield")
    cars = ((2.7, 12, (168, 36, 40), True), (2.5, 29, (44, 84, 140), True),
            (-2.6, 21, (222, 222, 218), False), (-2.5, 45, (60, 62, 66), False),
            (4.4, 48, (196, 190, 176), True), (2.4, 70, (120, 40, 44), True))  # fmt: skip
    for x, z, color, away in cars:
        scene.add(z, draw_car, x, z, color, away)
    scene.add(31, draw_bus, -3.0, 31, (206, 164, 44), False)
    scene.add(9.5, draw_cyclist, -1.9, 9.5, (40, 128, 116))
    people = ((7.3, 9.5, (44, 66, 120)), (-6.6, 14, (196, 180, 150)), (7.0, 19, (70, 84, 66)),
              (-6.8, 23, (150, 60, 40)), (6.6, 33, (40, 42, 50)))  # fmt: skip
    for place, far, coat in people:
        scene.add(
            far, draw_person, place, far, Looks(coat=coat), float(scene.rng.uniform(1.62, 1.86))
        )
    scene.add(10.4, draw_bicycle, -8.0, 10.4, (50, 92, 150))


def draw_dusk() -> Scene:
    """Draw an avenue after sunset: a tram, a truck, lit windows, lanterns and headlights."""
    scene = Scene(DUSK, np.random.default_rng(7))
    draw_sky(scene)
    draw_skyline(scene)
    draw_ground(scene, Street(half_road=6.4, pavements=(3.0, 3.0), crossing=11.5))
    draw_rails(scene, -4.4)
    draw_row(scene, -9.6, 3, 110)
    draw_row(scene, 9.9, 34, 120)
    for z in (8, 13, 19, 26):
        add_tree(scene, 14 + 0.25 * z, z, 8.0)
    scene.add(33, draw_wall, 9.9, (3, 33), 1.7)
    for z in (22, 36, 52):
        add_tree(scene, 8.6, z, 6.5)
    for x, z in ((6.9, 12), (-6.9, 19), (6.9, 30), (-6.9, 42), (6.9, 54), (-6.9, 70)):
        scene.add(z, draw_lantern, x, z)
    _fill_dusk(scene)
    scene.draw_things()
    draw_hood(scene)
    mark_border(scene, BORDER)
    return scene


def _fill_dusk(scene: Scene) -> None:
    """Add signs, vehicles and people to the avenue at dusk."""
    scene.add(15, draw_traffic_light, 7.0, 15, "red")
    scene.add(24, draw_traffic_light, -6.9, 24, "red")
    scene.add(14, draw_sign, -7.2, 14, "stop")
    scene.add(18, draw_sign, 7.4, 18, "park")
    scene.add(20, draw_bus, -4.4, 20, (176, 40, 44), False, "train")
    scene.add(15, draw_truck, 2.6, 15, (40, 88, 150))
    cars = ((5.2, 9.5, (150, 152, 158), True), (2.2, 33, (170, 60, 40), True),
            (-1.2, 19, (66, 84, 122), False), (-1.5, 38, (180, 180, 176), False),
            (5.3, 24, (50, 52, 60), True))  # fmt: skip
    for x, z, color, away in cars:
        scene.add(z, draw_car, x, z, color, away)
    people = ((-7.6, 10.4, (182, 150, 70)), (-8.3, 11, (90, 96, 150)), (-7.8, 16, (160, 60, 70)),
              (8.6, 14, (110, 140, 120)), (-8.4, 27, (60, 60, 70)))  # fmt: skip
    for place, far, coat in people:
        scene.add(
            far, draw_person, place, far, Looks(coat=coat), float(scene.rng.uniform(1.62, 1.86))
        )
    scene.add(11, draw_motorcycle, 8.6, 11, (150, 40, 46))
    scene.add(13, draw_cyclist, -2.9, 13, (196, 200, 70))


def write_scene(scene: Scene, folder: Path, number: int) -> None:
    """Write the image and its two masks under file names of Cityscapes."""
    image, instance_ids = scene.finished()
    spots = (*instance_ids.shape, 1)
    grain = scene.rng.random(spots) < 0.06
    pixels = image.astype(np.int16) + grain * scene.rng.integers(-3, 4, spots)
    label_ids = np.where(instance_ids >= 1000, instance_ids // 1000, instance_ids)
    name = f"{CITY}_{number:06d}_000019"
    images, masks = (folder / kind / "demo" / CITY for kind in ("leftImg8bit", "gtFine"))
    images.mkdir(parents=True, exist_ok=True)
    masks.mkdir(parents=True, exist_ok=True)
    for path, array in (
        (images / f"{name}_leftImg8bit.png", pixels.clip(0, 255).astype(np.uint8)),
        (masks / f"{name}_gtFine_labelIds.png", label_ids.astype(np.uint8)),
        (masks / f"{name}_gtFine_instanceIds.png", instance_ids.astype(np.uint16)),
    ):
        Image.fromarray(array).save(path, optimize=True)
        print(f"{path.stat().st_size / 1000:7.1f} kB  {path}")


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES
    for index, draw_scene in enumerate((draw_day, draw_dusk)):
        write_scene(draw_scene(), target, index)
