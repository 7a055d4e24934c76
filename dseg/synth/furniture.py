"""Draw street furniture: lamps, poles, traffic lights and signs."""

from __future__ import annotations

from dseg.labels import Color
from dseg.synth.camera import LABEL_IDS
from dseg.synth.canvas import Scene

DARK: Color = (34, 36, 42)
METAL: Color = (104, 108, 112)
WHITE: Color = (240, 240, 238)
RED: Color = (200, 30, 38)
BLUE: Color = (34, 84, 170)
POLE, LIGHT, SIGN = LABEL_IDS["pole"], LABEL_IDS["light"], LABEL_IDS["sign"]
PHASES = {"red": 0, "amber": 1, "green": 2}


def draw_lantern(
    scene: Scene, x: float, z: float, height: float = 7.0, color: Color = METAL
) -> None:
    """Draw a street lamp with its arm over the road."""
    side = -1 if x > 0 else 1
    bar = [(x, 0, z), (x, height - 0.4, z), (x + side * 1.6, height, z)]
    scene.line(bar, 0.14, color, POLE, "metal")
    scene.upright((x - 0.16, x + 0.16), (0, 0.7), z, (84, 88, 92), POLE)
    tip = (x + side * 1.6, height - 0.04, z)
    scene.disc(tip, (0.42, 0.12), (236, 230, 210), POLE)
    scene.lamp(tip, 0.4, (255, 214, 140))


def draw_pole(scene: Scene, x: float, z: float, height: float, color: Color) -> None:
    """Draw a plain pole or bollard, or a mast with a cross arm if it is higher than 6 metres."""
    scene.line([(x, 0, z), (x, height, z)], 0.12 + 0.012 * height, color, POLE, "bark")
    if height > 6:
        scene.line([(x - 0.9, height - 0.5, z), (x + 0.9, height - 0.5, z)], 0.1, color, POLE)


def draw_traffic_light(
    scene: Scene, x: float, z: float, phase: str = "green", arm: bool = False
) -> None:
    """Draw a traffic light on its pole, and a second one over the road if ``arm`` is True."""
    if arm:
        side = -1 if x > 0 else 1
        end = (x + side * 3.2, 5.4, z)
        scene.line([(x, 0, z), (x, 5.2, z), end], 0.16, METAL, POLE, "metal")
        _draw_lights(scene, end[0], 5.5, z, phase)
    scene.line([(x, 0, z), (x, 2.9, z)], 0.13, METAL, POLE)
    _draw_lights(scene, x, 3.35, z, phase)


def _draw_lights(scene: Scene, x: float, top: float, z: float, phase: str) -> None:
    scene.upright((x - 0.2, x + 0.2), (top - 1.05, top), z, DARK, LIGHT)
    colors = ((232, 48, 40), (236, 176, 40), (60, 214, 110))
    for place, color in enumerate(colors):
        on = place == PHASES[phase]
        center = (x, top - 0.2 - place * 0.33, z)
        scene.disc(center, (0.12, 0.12), color if on else (66, 62, 58), LIGHT)
        if on:
            scene.lamp(center, 0.13, color)


def draw_sign(scene: Scene, x: float, z: float, kind: str, y: float = 2.5) -> None:
    """Draw a sign on a pole.

    Args:
        kind: ``stop``, ``yield``, ``speed``, ``park``, ``turn``, ``warning``, ``way`` or ``back``.
        y: Height of the sign's centre in metres.
    """
    scene.line([(x, 0, z), (x, y, z)], 0.08, (150, 152, 154), POLE)
    if kind == "park":
        scene.upright((x - 0.33, x + 0.33), (y - 0.33, y + 0.33), z, BLUE, SIGN, texture="board")
        scene.text((x, y, z), 0.62, "P", (240, 240, 240))
    elif kind in ("yield", "warning"):
        point = 1 if kind == "yield" else -1  # whether the triangle points down or up
        for size, color in ((0.46, RED), (0.28, WHITE)):
            high = size * 0.6 * point
            corners = [(x - size, y + high, z), (x + size, y + high, z)]
            scene.face([*corners, (x, y - size * point, z)], color, SIGN)
    elif kind == "way":
        scene.upright((x - 0.9, x + 0.9), (y - 0.3, y + 0.3), z, (238, 204, 60), SIGN)
        for low in (0.06, -0.16):
            scene.upright((x - 0.7, x + 0.4), (y + low, y + low + 0.1), z, DARK, None)
    else:
        _draw_round_sign(scene, x, y, z, kind)


def _draw_round_sign(scene: Scene, x: float, y: float, z: float, kind: str) -> None:
    rims = {"turn": BLUE, "back": (150, 152, 152)}
    scene.disc((x, y, z), (0.38, 0.38), rims.get(kind, RED), SIGN)
    if kind == "turn":
        scene.line([(x, y - 0.22, z), (x, y + 0.05, z), (x + 0.2, y + 0.05, z)], 0.08, WHITE, None)
    if kind not in ("speed", "stop"):
        return
    scene.disc((x, y, z), (0.28, 0.28) if kind == "speed" else (0.28, 0.07), WHITE, None)
    if kind == "speed":
        scene.text((x, y, z), 0.38, "30", DARK)
