"""What is under the camera: plain, frozen descriptions of one package, with no pixels in them.

Lengths are shares of the image side, the origin is the image centre, x points right and y down, so that one scene
has the same composition at every image size. Angles are in radians, clockwise on the screen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from magical_hub.packages.canvas import RGB, Canvas, Mark, Pose


@dataclass(frozen=True)
class Layout:
    """The fixed geometry of one package type; every image of the type shares it."""

    half_width: float
    half_height: float
    lead_sides: tuple[int, ...] = ()  # quarter turns clockwise from the right-hand side
    leads_per_side: int = 0
    lead_pitch: float = 0.0
    lead_width: float = 0.0
    lead_length: float = 0.0
    balls_per_side: int = 0
    balls_left_out: int = 0  # the empty square at the centre, in balls a side
    ball_pitch: float = 0.0
    ball_radius: float = 0.0
    mark_height: float = 0.0  # 0: the type carries no marking


LAYOUTS = {
    "QFN": Layout(0.335, 0.335, (0, 1, 2, 3), 8, 0.073, 0.038, 0.078, mark_height=0.09),
    "BGA": Layout(0.43, 0.43, balls_per_side=10, balls_left_out=4, ball_pitch=0.0815, ball_radius=0.0295),
    "SOIC": Layout(0.41, 0.2, (1, 3), 8, 0.098, 0.044, 0.165, mark_height=0.084),
}


@dataclass(frozen=True)
class Light:
    """Lighting and camera of one shot; every factor is about 1 and every strength is 0 for none."""

    direction: float  # where the light comes from
    slope: float
    brightness: float
    contrast: float
    warmth: float
    vignette: float
    glare: float
    glare_centre: tuple[float, float]
    defocus: float  # standard deviation, a share of the image side
    noise: float  # standard deviation at mid grey, full scale is 1

    @property
    def towards(self) -> np.ndarray:
        """Unit vector (2,) pointing at the light."""
        return np.array([np.cos(self.direction), np.sin(self.direction)])


@dataclass(frozen=True)
class Palette:
    """Base colours, 0 to 255: what the package lies on, its body and its metal."""

    ground: RGB
    body: RGB
    metal: RGB


@dataclass(frozen=True)
class Lead:
    """One lead or pad: `shift` moves its tip sideways, `reach` is the share of its length that is there."""

    side: int
    along: float
    tone: float
    shift: float
    reach: float = 1.0


@dataclass(frozen=True)
class Ball:
    """One solder ball; `size` scales the radius and 0 leaves the bare land."""

    x: float
    y: float
    tone: float
    size: float


class Overlay(Protocol):
    """Something that lies on top of the package or is broken out of it."""

    def paint(self, canvas: Canvas, scene: Scene) -> None:
        """Draw it on `canvas`, whose pose is the package's."""


@dataclass(frozen=True)
class Scene:
    """One package as the camera shows it."""

    package: str
    pose: Pose
    light: Light
    palette: Palette
    leads: tuple[Lead, ...] = ()
    balls: tuple[Ball, ...] = ()
    marks: tuple[Mark, ...] = ()
    specks: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))  # harmless dust: x, y, radius, opacity
    overlays: tuple[Overlay, ...] = ()

    @property
    def layout(self) -> Layout:
        """The geometry of this package type."""
        return LAYOUTS[self.package]


_GROUNDS = {
    "QFN": ((36, 82, 60), (34, 58, 92)),
    "BGA": ((58, 60, 64), (84, 82, 78)),
    "SOIC": ((92, 95, 100), (60, 68, 78)),
}
_BODIES = {
    "QFN": ((62, 62, 66), (70, 67, 65)),
    "BGA": ((44, 94, 68), (44, 66, 74)),
    "SOIC": ((60, 60, 63), (70, 68, 66)),
}
_METALS = {
    "QFN": ((196, 192, 182), (188, 190, 194)),
    "BGA": ((196, 196, 198), (188, 186, 182)),
    "SOIC": ((200, 200, 198), (206, 196, 172)),
}
_LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"
_DIGITS = "0123456789"


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw a good package: type, design, pose, light, and the small differences that every good part has."""
    package = list(LAYOUTS)[rng.integers(len(LAYOUTS))]
    design = rng.integers(2)  # the finish of the product, never its geometry
    layout = LAYOUTS[package]
    return Scene(
        package=package,
        pose=_draw_pose(rng),
        light=_draw_light(rng),
        palette=Palette(
            _vary(_GROUNDS[package][design], rng), _vary(_BODIES[package][design], rng), _METALS[package][design]
        ),
        leads=_draw_leads(layout, rng),
        balls=_draw_balls(layout, rng),
        marks=_draw_marks(layout, rng) if layout.mark_height else (),
        specks=_draw_specks(layout, rng),
    )


def _draw_light(rng: np.random.Generator) -> Light:
    return Light(
        direction=rng.uniform(0, 2 * np.pi),
        slope=rng.uniform(0.05, 0.4),
        brightness=rng.uniform(0.82, 1.2),
        contrast=rng.uniform(0.88, 1.15),
        warmth=rng.uniform(-0.06, 0.06),
        vignette=rng.uniform(0.05, 0.4),
        glare=rng.uniform(0.0, 0.22),
        glare_centre=tuple(rng.uniform(-0.3, 0.3, 2)),
        defocus=rng.uniform(0.0006, 0.003),
        noise=rng.uniform(0.008, 0.018),
    )


def _draw_pose(rng: np.random.Generator) -> Pose:
    dx, dy = rng.uniform(-0.01, 0.01, 2)
    return Pose(dx, dy, np.radians(rng.uniform(-0.7, 0.7)))


def _vary(colour: RGB, rng: np.random.Generator) -> RGB:
    shade = np.array(colour) * rng.uniform(0.88, 1.12) + rng.uniform(-1.5, 1.5, 3)
    red, green, blue = (int(value) for value in shade.round())
    return red, green, blue


def _draw_leads(layout: Layout, rng: np.random.Generator) -> tuple[Lead, ...]:
    count = layout.leads_per_side
    places = (np.arange(count) - (count - 1) / 2) * layout.lead_pitch
    tones = rng.normal(1, 0.05, (len(layout.lead_sides), count)).clip(0.85, 1.15)
    shifts = rng.normal(0, 0.0018, tones.shape).clip(-0.004, 0.004)
    return tuple(
        Lead(side, float(place), float(tones[row, column]), float(shifts[row, column]))
        for row, side in enumerate(layout.lead_sides)
        for column, place in enumerate(places)
    )


def _draw_balls(layout: Layout, rng: np.random.Generator) -> tuple[Ball, ...]:
    count = layout.balls_per_side
    steps = np.arange(count) - (count - 1) / 2
    lattice = [(x, y) for y in steps for x in steps if max(abs(x), abs(y)) > layout.balls_left_out / 2]
    drift = rng.normal(0, 0.0008, (len(lattice), 2))
    # Few distinct grades, so that the painter shades few distinct spheres.
    tones = rng.choice([0.9, 0.97, 1.03, 1.08], len(lattice))
    sizes = rng.choice([0.96, 1.0, 1.04], len(lattice))
    centres = np.array(lattice).reshape(-1, 2) * layout.ball_pitch + drift
    return tuple(
        Ball(float(x), float(y), float(tone), float(size))
        for (x, y), tone, size in zip(centres, tones, sizes, strict=True)
    )


def _draw_marks(layout: Layout, rng: np.random.Generator) -> tuple[Mark, ...]:
    def code(pattern: str) -> str:
        pools = {"A": _LETTERS, "0": _DIGITS}
        return "".join(pools[sign][rng.integers(len(pools[sign]))] if sign in pools else sign for sign in pattern)

    lines = ["MH " + code("00A00"), "LOT " + code("0A00"), code("0000 A")]
    strength = rng.uniform(0.4, 0.85)
    x, y = rng.uniform(-0.006, 0.006, 2)
    angle = np.radians(rng.uniform(-0.8, 0.8))
    offsets = (np.arange(len(lines)) - (len(lines) - 1) / 2) * layout.mark_height * 1.15
    return tuple(
        Mark(text, x - offset * np.sin(angle), y + offset * np.cos(angle), angle, layout.mark_height, strength)
        for text, offset in zip(lines, offsets, strict=True)
    )


def _draw_specks(layout: Layout, rng: np.random.Generator) -> np.ndarray:
    count = rng.integers(0, 9)
    reach = np.array([layout.half_width, layout.half_height])
    return np.hstack(
        [
            rng.uniform(-1, 1, (count, 2)) * reach,
            rng.uniform(0.0012, 0.0036, (count, 1)),
            rng.uniform(0.2, 0.6, (count, 1)),
        ]
    )
