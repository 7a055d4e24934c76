"""Draw pedestrians."""

from __future__ import annotations

from dataclasses import dataclass

from dseg.labels import Color
from dseg.synth.canvas import Scene

DARK: Color = (34, 36, 42)
SKIN: Color = (214, 168, 138)
BROWN: Color = (66, 46, 34)


@dataclass(frozen=True, kw_only=True)
class Looks:
    """Appearance of a person.

    Attributes:
        coat: Colour of the coat.
        trousers: Colour of the trousers, None for a random one.
        skin: Colour of the skin.
        hair: Colour of the hair.
        long: Whether the coat reaches to the knees.
        bag: Colour of a bag in the hand, None for no bag.
        away: Whether the person faces away, so that the hair hides the face.
        sideways: Whether the person is seen from the side: narrower, with longer steps.
    """

    coat: Color
    trousers: Color | None = None
    skin: Color = SKIN
    hair: Color = BROWN
    long: bool = False
    bag: Color | None = None
    away: bool = False
    sideways: bool = False


def darker(color: Color, factor: float) -> Color:
    """Return a colour multiplied by a factor below 1."""
    return int(color[0] * factor), int(color[1] * factor), int(color[2] * factor)


def draw_person(scene: Scene, x: float, z: float, looks: Looks, height: float = 1.75) -> None:
    """Draw a walking person."""
    ident, h = scene.new_id("person"), height
    step = float(scene.rng.uniform(0.06, 0.13)) * h
    trousers = (52, 56, 78) if scene.rng.random() < 0.6 else (84, 72, 60)
    trousers = looks.trousers or trousers
    if looks.sideways:
        step *= 1.7
    scene.disc((x, 0.01, z), (0.4, 0.05), scene.shadow((70, 68, 68)), None)
    for foot in (-step, step):
        leg = [(x, h * 0.5, z), (x + foot, 0.04, z)]
        scene.line(leg, 0.085 * h, trousers, ident, "cloth")
        scene.disc((x + foot * 1.15, 0.05, z), (0.12, 0.05), DARK, ident)
    _draw_trunk(scene, x, z, h, looks, ident)
    _draw_arms(scene, x, z, h, step, looks, ident)
    wide = 0.09 if looks.sideways else 0.13
    scene.disc((x, h * 0.83, z), (wide * h, 0.035 * h), looks.coat, ident, texture="cloth")
    face = looks.hair if looks.away else looks.skin
    scene.disc((x, h * 0.91, z), (0.056 * h, 0.075 * h), face, ident, texture="skin")
    scene.disc((x, h * 0.95, z), (0.062 * h, 0.05 * h), looks.hair, ident, texture="skin")


def _draw_trunk(scene: Scene, x: float, z: float, h: float, looks: Looks, ident: int) -> None:
    wide, hip = (0.085, 0.08) if looks.sideways else (0.13, 0.1)
    low = 0.27 if looks.long else 0.43
    shoulders = [(x - wide * h, h * 0.8, z), (x + wide * h, h * 0.8, z)]
    hem = [(x + hip * h, h * low, z), (x - hip * h, h * low, z)]
    scene.face([*shoulders, *hem], looks.coat, ident, texture="cloth")


def _draw_arms(
    scene: Scene, x: float, z: float, h: float, step: float, looks: Looks, ident: int
) -> None:
    near = 0.45 if looks.sideways else 1.0
    for side in (-1, 1):
        hand = (x + side * (0.15 * h * near + step * 0.3), h * 0.46, z)
        elbow = (x + side * 0.17 * h * near, h * 0.62, z)
        shoulder = (x + side * 0.12 * h * near, h * 0.79, z)
        sleeve = darker(looks.coat, 0.82)
        scene.line([shoulder, elbow, hand], 0.055 * h, sleeve, ident, "cloth")
        scene.disc(hand, (0.045, 0.05), looks.skin, ident)
        if looks.bag and side > 0:
            xs = (hand[0] - 0.13, hand[0] + 0.13)
            scene.upright(xs, (h * 0.24, h * 0.43), z, looks.bag, ident, texture="cloth")
