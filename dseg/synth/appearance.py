"""Draw random parameters of a scene: light, lens, colours, houses, trees and people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from dseg.labels import Color
from dseg.synth.camera import Daylight
from dseg.synth.houses import House
from dseg.synth.people import Looks
from dseg.synth.plants import TreeShape
from dseg.synth.postprocess import Sensor

T = TypeVar("T")
SKINS: tuple[Color, ...] = ((226, 184, 156), (214, 168, 138), (178, 128, 96), (122, 82, 58),
                            (82, 56, 42))  # fmt: skip
HAIRS: tuple[Color, ...] = ((66, 46, 34), (30, 26, 24), (136, 100, 60), (190, 160, 104),
                            (150, 148, 146), (112, 54, 30))  # fmt: skip
PAINTS: tuple[Color, ...] = ((168, 36, 40), (44, 84, 140), (222, 222, 218), (60, 62, 66),
                             (150, 152, 158), (196, 190, 176), (30, 32, 36), (24, 42, 76),
                             (236, 236, 234), (110, 114, 120), (38, 78, 56), (204, 168, 52),
                             (96, 40, 44), (120, 150, 176), (84, 74, 62))  # fmt: skip
FLEET: tuple[Color, ...] = ((206, 164, 44), (176, 40, 44), (224, 220, 210), (40, 96, 150),
                            (52, 120, 84), (206, 104, 40), (96, 60, 112),
                            (186, 196, 204))  # fmt: skip
FACADES: tuple[Color, ...] = ((196, 172, 140), (176, 108, 84), (206, 198, 182), (158, 146, 136),
                              (188, 146, 104), (146, 100, 86), (210, 186, 150), (224, 216, 196),
                              (126, 120, 116), (150, 86, 66), (172, 160, 118), (178, 186, 190),
                              (104, 84, 74), (212, 200, 140), (190, 150, 140))  # fmt: skip
LEAVES: tuple[tuple[Color, ...], ...] = (
    ((44, 72, 34), (62, 96, 44), (86, 122, 56), (112, 146, 72)),
    ((28, 50, 28), (40, 68, 36), (56, 86, 46), (74, 104, 58)),
    ((58, 78, 30), (84, 106, 40), (112, 134, 54), (140, 156, 72)),
    ((92, 62, 26), (128, 84, 32), (158, 108, 42), (184, 138, 58)),
    ((40, 58, 44), (58, 80, 60), (78, 102, 78), (102, 126, 98)),
)


def roll(rng: np.random.Generator, low: float, high: float) -> float:
    """Return a uniformly distributed number from ``low`` to ``high``."""
    return low + (high - low) * float(rng.random())


def chance(rng: np.random.Generator, probability: float) -> bool:
    """Return True with this probability."""
    return float(rng.random()) < probability


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Return one of the options, all with the same probability."""
    return options[int(rng.integers(len(options)))]


def vary(rng: np.random.Generator, color: Color, most: int) -> Color:
    """Return a colour changed by up to ``most`` in all channels plus a third of it per channel."""
    light = int(rng.integers(-most, most + 1))
    red, green, blue = (
        max(0, min(255, c + light + int(rng.integers(-(most // 3), most // 3 + 1)))) for c in color
    )
    return red, green, blue


def dimmed(color: Color, factor: float) -> Color:
    """Return a colour multiplied by a factor."""
    red, green, blue = (max(0, min(255, round(c * factor))) for c in color)
    return red, green, blue


class Weather(NamedTuple):
    """Colours of one kind of weather; see ``Daylight``."""

    sky: tuple[Color, Color]
    cloud: Color
    haze: Color
    ambient: tuple[float, float, float]


WEATHERS: dict[str, Weather] = {
    "clear": Weather(
        ((92, 146, 206), (204, 222, 236)), (246, 248, 250), (196, 212, 226), (1.05, 1.03, 0.98)
    ),
    "blue": Weather(
        ((58, 110, 186), (170, 200, 228)), (250, 250, 250), (170, 194, 218), (1.1, 1.06, 0.98)
    ),
    "white": Weather(
        ((236, 240, 244), (250, 250, 250)), (255, 255, 255), (226, 230, 234), (0.9, 0.9, 0.9)
    ),
    "overcast": Weather(
        ((150, 156, 164), (206, 208, 210)), (122, 128, 136), (176, 182, 188), (0.8, 0.82, 0.85)
    ),
    "rain": Weather(
        ((112, 120, 130), (160, 166, 172)), (92, 98, 108), (142, 150, 158), (0.62, 0.65, 0.7)
    ),
    "hazy": Weather(
        ((196, 206, 214), (228, 226, 218)), (236, 236, 232), (216, 216, 210), (0.96, 0.94, 0.88)
    ),
    "low sun": Weather(
        ((118, 150, 196), (250, 224, 178)), (255, 238, 210), (236, 214, 180), (1.12, 1.0, 0.84)
    ),
    "dusk": Weather(
        ((48, 54, 104), (246, 168, 112)), (196, 128, 128), (176, 130, 122), (0.56, 0.5, 0.56)
    ),
    "late": Weather(
        ((30, 36, 62), (104, 108, 130)), (58, 60, 80), (84, 86, 104), (0.42, 0.42, 0.5)
    ),
}


LIKELY = ("clear", "clear", "blue", "blue", "white", "white", "overcast", "overcast", "overcast",
          "rain", "hazy", "low sun", "dusk", "late")  # fmt: skip


SUNNY = ("clear", "blue", "low sun", "hazy")


def make_light(rng: np.random.Generator, half_road: float) -> tuple[Daylight, str]:
    """Return a random light and the name of its weather."""
    weather = pick(rng, LIKELY)
    sky, cloud, haze, ambient = WEATHERS[weather]
    strength = roll(rng, 0.85, 1.12)
    sunny = weather in SUNNY and chance(rng, 0.75)
    from_left = chance(rng, 0.5)
    bright, dim = (roll(rng, 1.0, 1.15), roll(rng, 0.6, 0.8)) if sunny else (1.0, 0.95)
    reach = -half_road + roll(rng, 0, 1.6 * half_road)
    light = Daylight(
        sky=(vary(rng, sky[0], 14), vary(rng, sky[1], 8)),
        cloud=cloud,
        haze=haze,
        ambient=(ambient[0] * strength, ambient[1] * strength, ambient[2] * strength),
        lamps=weather in ("dusk", "late"),
        reach=roll(rng, 60, 130) if weather in ("hazy", "rain") else roll(rng, 110, 320),
        sides=(dim, bright) if from_left else (bright, dim),
        shadow=(reach if from_left else -reach) if sunny and chance(rng, 0.7) else 0.0,
        wet=roll(rng, 0.15, 0.4) if weather == "rain" or chance(rng, 0.05) else 0.0,
    )
    return light, weather


def make_sensor(rng: np.random.Generator, weather: str) -> Sensor:
    """Return random sensor properties, with more noise in dark weather."""
    dark = weather in ("dusk", "late", "rain")
    gain, warm = roll(rng, 0.78, 1.2), roll(rng, -0.06, 0.06)
    return Sensor(
        gains=(gain * (1 + warm), gain, gain * (1 - warm)),
        contrast=roll(rng, 0.82, 1.18),
        gamma=roll(rng, 0.85, 1.25),
        color=roll(rng, 0.55, 1.15),
        blur=roll(rng, 0.0, 0.85),
        vignette=roll(rng, 0.0, 0.25),
        noise=roll(rng, 2.0, 6.0) if dark else roll(rng, 0.8, 4.0),
    )


def make_house(rng: np.random.Generator, district: str) -> House:
    """Return a random house of a district: ``centre``, ``suburb`` or ``works``."""
    brick = chance(rng, 0.4)
    color = vary(rng, pick(rng, FACADES), 18)
    floors = int(rng.integers(3, 7)) if district == "centre" else int(rng.integers(2, 4))
    modern = district != "suburb" and chance(rng, 0.25)
    if modern:
        color = vary(rng, pick(rng, ((150, 158, 164), (196, 198, 196), (120, 126, 130))), 16)
    pitched = not modern and chance(rng, 0.85 if district == "suburb" else 0.5)
    floor = roll(rng, 2.8, 3.6)
    return House(
        height=floor * floors + 1.2,
        color=color,
        floor=floor,
        bay=roll(rng, 1.6, 2.2) if modern else roll(rng, 2.2, 3.6),
        window=(0.8, 2.0) if modern else (roll(rng, 0.34, 0.55), roll(rng, 1.2, 1.8)),
        frame=pick(rng, ((222, 218, 210), (236, 236, 234), (92, 82, 74), dimmed(color, 0.8))),
        shops=district == "centre" and chance(rng, 0.6),
        roof=roll(rng, 2.0, 4.5) if pitched else 0.0,
        tiles=vary(rng, pick(rng, ((134, 74, 56), (84, 80, 82), (108, 88, 76))), 14),
        depth=roll(rng, 8, 14) if district != "suburb" else roll(rng, 7, 10),
        texture="panels" if modern else "bricks" if brick else "plaster",
        lit=roll(rng, 0.15, 0.6),
    )


def make_tree(rng: np.random.Generator, season: int, height: float) -> TreeShape:
    """Return a random tree; ``season`` is an index into ``LEAVES``, or -1 for bare trees."""
    bark = vary(rng, pick(rng, ((88, 68, 50), (70, 62, 56), (110, 98, 84), (54, 46, 42))), 10)
    kind = pick(rng, ("round", "round", "round", "tall", "conifer"))
    if kind == "conifer":
        return TreeShape(height=height, greens=LEAVES[1], kind=kind, bark=bark)
    bare = season < 0 or chance(rng, 0.08)
    greens = () if bare else tuple(vary(rng, green, 8) for green in LEAVES[season])
    return TreeShape(height=height, greens=greens, kind=kind, bark=bark)


def make_looks(rng: np.random.Generator) -> Looks:
    """Return a random appearance of a person."""
    bright = chance(rng, 0.35)
    coat = tuple(int(c) for c in rng.integers(30, 230 if bright else 110, 3))
    legs = tuple(int(c) for c in rng.integers(24, 120, 3))
    return Looks(
        coat=(coat[0], coat[1], coat[2]),
        trousers=(legs[0], (legs[0] + legs[1]) // 2, (legs[0] + legs[2]) // 2),
        skin=pick(rng, SKINS),
        hair=pick(rng, HAIRS),
        long=chance(rng, 0.25),
        bag=vary(rng, pick(rng, ((90, 60, 40), (40, 40, 46), (190, 180, 160))), 20)
        if chance(rng, 0.3)
        else None,
        away=chance(rng, 0.4),
        sideways=chance(rng, 0.4),
    )


def make_paint(rng: np.random.Generator) -> Color:
    """Return a random colour of a car."""
    return vary(rng, pick(rng, PAINTS), 14)
