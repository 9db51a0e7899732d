"""The defects: each takes a good scene and gives it back with one fault, from subtle to obvious."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageChops

from magical_hub.packages.canvas import RGB, Canvas, Mark, Paint
from magical_hub.packages.painter import body_outline, dimple, ground
from magical_hub.packages.scene import Scene

Damage = Callable[[Scene, float, np.random.Generator], Scene]

_DIRT = ((150, 116, 72), (205, 200, 190), (186, 158, 84), (120, 70, 50))
_FIBRES = ((216, 214, 208), (176, 60, 52), (92, 128, 196), (208, 190, 150))


@dataclass(frozen=True)
class Stroke:
    """A thin line through points (N, 2): a scratch, or a fibre that also casts a shadow when `raised`."""

    points: np.ndarray
    width: float
    pressures: np.ndarray  # (N - 1,), opacity of each piece in [0, 1]
    rgb: RGB
    raised: bool

    def paint(self, canvas: Canvas, scene: Scene) -> None:
        """Draw the line over a fainter dark one: the far wall of the groove, or the shadow of the fibre."""
        widths = np.full(len(self.pressures), self.width)

        def mask(points: np.ndarray, share: float) -> Image.Image:
            stroke = canvas.stroke_mask(points, widths, self.pressures * share)
            # A fibre may hang over the edge; a scratch ends where the body does.
            return stroke if self.raised else ImageChops.multiply(stroke, canvas.polygon_mask(body_outline(scene)))

        offset = scene.light.towards * self.width * (-1.2 if self.raised else 0.7)
        canvas.fill(mask(self.points + offset, 0.5), Paint((12, 12, 12)))
        canvas.fill(mask(self.points, 1.0), Paint(self.rgb, gloss=40), softness=self.width * 0.15)


@dataclass(frozen=True)
class Chip:
    """A piece broken out of the edge of the body: the fracture face, and next to the edge the ground below."""

    face: np.ndarray  # (N, 2)
    gap: np.ndarray  # (M, 2)
    rgb: RGB

    def paint(self, canvas: Canvas, scene: Scene) -> None:
        """Draw the fracture, clipped to the body."""
        body = canvas.polygon_mask(body_outline(scene))
        face = ImageChops.multiply(canvas.polygon_mask(self.face), body)
        # A thin crest catches the light (or lies in the dark) where the fracture meets the top face.
        crest = ImageChops.subtract(face, canvas.polygon_mask(self.face + scene.light.towards * 0.004))
        fracture = Paint(self.rgb, grain=32, gloss=40, mottle=16)
        canvas.fill(face, fracture)
        canvas.fill(crest, fracture.lit(0.45))
        canvas.fill(ImageChops.multiply(canvas.polygon_mask(self.gap), body), ground(scene).lit(0.5))


@dataclass(frozen=True)
class Blob:
    """A patch of dirt, paste or flux with a soft edge."""

    outline: np.ndarray  # (N, 2)
    core: np.ndarray  # (M, 2), the thicker middle
    rgb: RGB
    opacity: float

    def paint(self, canvas: Canvas, scene: Scene) -> None:
        """Draw the patch and its thicker middle."""
        paint = Paint(self.rgb, grain=26, gloss=50, mottle=24)
        for shape, share, tone in ((self.outline, 1.0, 1.0), (self.core, 0.6, 0.82)):
            mask = canvas.polygon_mask(shape).point(_scaling(self.opacity * share))
            canvas.fill(mask, paint.lit(tone), softness=0.004)


@dataclass(frozen=True)
class Pit:
    """A hole in the mould or in a ball, dark inside or, where it lies flat, bright."""

    outline: np.ndarray  # (N, 2)
    rgb: RGB

    def paint(self, canvas: Canvas, scene: Scene) -> None:
        """Draw the hole with its lit and its dark wall."""
        dimple(canvas, self.outline, Paint(self.rgb, grain=16, gloss=10), scene.light.towards)


def damage(scene: Scene, rng: np.random.Generator) -> tuple[Scene, str]:
    """Give a good scene one defect that its package type can have.

    Returns the faulty scene and the name of the defect, one of the keys of `DAMAGES`.
    """
    shares = SHARES[scene.package]
    name = str(rng.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values())))
    severity = float(rng.uniform() ** 1.3)
    return DAMAGES[name](scene, severity, rng), name


def _scratch(scene: Scene, severity: float, rng: np.random.Generator) -> Scene:
    reach = _reach(scene)
    length = 0.14 + 0.46 * severity
    heading = rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(heading), np.sin(heading)])
    middle = rng.uniform(-0.75, 0.75, 2) * reach
    bow = np.array([-along[1], along[0]]) * rng.normal(0, 0.12) * length
    t = np.linspace(-1, 1, 33)[:, None]
    points = middle + along * t * length / 2 + bow * (1 - t**2)
    # The pressure swells and fades along the way, as a hand or a pick-up tool slides over the part.
    waves = np.sin(np.linspace(0, rng.uniform(2, 9), 32) + rng.uniform(0, 6)) * 0.2
    pressures = ((0.6 + 0.35 * severity + waves) * np.sin(np.linspace(0.5, np.pi - 0.5, 32))).clip(0.15, 1)
    dark = scene.package == "BGA" and rng.uniform() < 0.4
    shade = 14 if dark else rng.uniform(150, 215)
    colour = (int(shade), int(shade), int(shade * 0.96))
    width = 0.0065 + 0.005 * severity * rng.uniform()
    return _overlaid(scene, Stroke(points, width, pressures, colour, raised=False))


def _chipped_edge(scene: Scene, severity: float, rng: np.random.Generator) -> Scene:
    reach = np.array([scene.layout.half_width, scene.layout.half_height])
    side = rng.integers(4)
    sign, axis = (1, -1)[side // 2], side % 2
    place = np.empty(2)
    place[axis], place[1 - axis] = sign * reach[axis], rng.uniform(-1, 1) * reach[1 - axis]
    size = np.empty(2)
    size[axis] = 0.03 + 0.046 * severity * rng.uniform(0.5, 1)
    size[1 - axis] = 0.034 + 0.08 * severity * rng.uniform(0.5, 1)
    face = _jagged(rng, 13, 0.3) * size + place
    gap = _jagged(rng, 9, 0.25) * size * rng.uniform(0.2, 0.6) + place
    # A laminate breaks pale, as its glass fibres show; moulding compound breaks darker or paler than its skin.
    base = (116, 116, 92) if scene.balls else scene.palette.body
    tone = rng.uniform(1.0, 1.4) if scene.balls else rng.choice([rng.uniform(0.4, 0.55), rng.uniform(1.6, 2.3)])
    red, green, blue = (int(level * tone) for level in base)
    return _overlaid(scene, Chip(face, gap, (red, green, blue)))


def _bent_lead(scene: Scene, severity: float, rng: np.random.Generator) -> Scene:
    sideways = (0.022 + 0.045 * severity) * rng.choice([-1, 1])
    lifted = 1 - rng.uniform(0, 0.22)  # a lead that stands up looks shorter from above
    return _with_lead(scene, rng, lambda lead: replace(lead, shift=lead.shift + sideways, reach=lifted))


def _missing_lead(scene: Scene, severity: float, rng: np.random.Generator) -> Scene:
    stub = 0.5 * (1 - severity) * (rng.uniform() < 0.6)
    return _with_lead(scene, rng, lambda lead: replace(lead, reach=stub))


def _missing_ball(scene: Scene, severity: float, rng: np.random.Generator) -> Scene:
    balls = list(scene.balls)
    lost = rng.integers(len(balls))
    remainder = 0.62 * (1 - severity) if rng.uniform() < 0.5 else 0.0
    balls[lost] = replace(balls[lost], size=remainder if remainder > 0.2 else 0.0)
    return replace(scene, balls=tuple(balls))


def _contamination(scene: Scene, severity: float, rng: np.random.Generator) -> Scene:
    middle = rng.uniform(-0.85, 0.85, 2) * _reach(scene)
    if rng.uniform() < 0.45:
        length = 0.09 + 0.2 * severity
        turns = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.25, 24)) + np.linspace(0, rng.normal(0, 2), 24)
        steps = np.stack([np.cos(turns), np.sin(turns)], axis=1) * length / 24
        points = middle + np.cumsum(steps, axis=0)
        pressures = np.full(23, 0.65 + 0.35 * severity)
        return _overlaid(scene, Stroke(points, rng.uniform(0.005, 0.009), pressures, _pick(_FIBRES, rng), raised=True))
    radius = 0.014 + 0.05 * severity
    stretch = np.array([rng.uniform(0.7, 1.3), 1.0])
    outline = middle + _lumpy(rng, 0.35) * radius * stretch
    core = middle + _lumpy(rng, 0.35) * radius * stretch * 0.55
    return _overlaid(scene, Blob(outline, core, _pick(_DIRT, rng), 0.5 + 0.45 * rng.uniform()))


def _void(scene: Scene, severity: float, rng: np.random.Generator) -> Scene:
    layout = scene.layout
    if scene.balls and rng.uniform() < 0.75:
        ball = scene.balls[rng.integers(len(scene.balls))]
        radius = layout.ball_radius * (0.45 + 0.35 * severity)
        centre = np.array([ball.x, ball.y]) + rng.uniform(-0.25, 0.25, 2) * layout.ball_radius
        return _overlaid(scene, Pit(centre + _lumpy(rng, 0.12) * radius, (52, 50, 52)))
    centre = rng.uniform(-0.9, 0.9, 2) * _reach(scene)
    shade = round(38 - 20 * severity) if rng.uniform() < 0.65 else round(115 + 50 * severity)
    radius = 0.013 + 0.022 * severity
    return _overlaid(scene, Pit(centre + _lumpy(rng, 0.2) * radius, (shade, shade, shade)))


def _wrong_marking(scene: Scene, severity: float, rng: np.random.Generator) -> Scene:
    kinds = [_missing_marks, _garbled_marks, _moved_marks, _turned_marks]
    return kinds[rng.integers(len(kinds))](scene, severity, rng)


def _missing_marks(scene: Scene, severity: float, rng: np.random.Generator) -> Scene:
    lost = range(len(scene.marks)) if severity > 0.7 else [rng.integers(len(scene.marks))]
    return replace(scene, marks=tuple(mark for row, mark in enumerate(scene.marks) if row not in lost))


def _garbled_marks(scene: Scene, severity: float, rng: np.random.Generator) -> Scene:
    """Signs that no code has, in one line or, when severe, in all of them."""
    spoilt = range(len(scene.marks)) if severity > 0.75 else [rng.integers(len(scene.marks))]

    def garble(mark: Mark) -> Mark:
        hits = rng.uniform(size=len(mark.text)) < 0.35 + 0.5 * severity
        hits[rng.integers(len(hits))] = True
        signs = rng.choice(list("#%/=*<>~&$"), len(hits))
        text = "".join(sign if hit else letter for letter, sign, hit in zip(mark.text, signs, hits, strict=True))
        return replace(mark, text=text)

    return replace(scene, marks=tuple(garble(mark) if row in spoilt else mark for row, mark in enumerate(scene.marks)))


def _moved_marks(scene: Scene, severity: float, rng: np.random.Generator) -> Scene:
    heading = rng.uniform(0, 2 * np.pi)
    # A low body leaves less room to go wrong in: the marking still lands on it.
    room = scene.layout.half_height / scene.layout.half_width
    shift = (0.03 + 0.05 * severity) * np.array([np.cos(heading), room * np.sin(heading)])
    turn = np.radians(rng.uniform(4, 6 + 11 * severity * room)) * rng.choice([-1, 1])
    return replace(scene, marks=_turned(scene.marks, turn, shift))


def _turned_marks(scene: Scene, severity: float, rng: np.random.Generator) -> Scene:
    return replace(scene, marks=_turned(scene.marks, np.pi, np.zeros(2)))


def _turned(marks: tuple[Mark, ...], turn: float, shift: np.ndarray) -> tuple[Mark, ...]:
    """The whole marking turned about its own middle, then shifted."""
    centres = np.array([(mark.x, mark.y) for mark in marks])
    middle = centres.mean(axis=0)
    cos, sin = np.cos(turn), np.sin(turn)
    moved = (centres - middle) @ np.array([[cos, sin], [-sin, cos]]) + middle + shift
    return tuple(
        replace(mark, x=float(x), y=float(y), angle=mark.angle + turn)
        for mark, (x, y) in zip(marks, moved, strict=True)
    )


def _reach(scene: Scene) -> np.ndarray:
    """Half width and half height (2,) of the top face, clear of the bevel."""
    return np.array([scene.layout.half_width, scene.layout.half_height]) - 0.03


def _overlaid(scene: Scene, overlay: Stroke | Chip | Blob | Pit) -> Scene:
    return replace(scene, overlays=(*scene.overlays, overlay))


def _with_lead(scene: Scene, rng: np.random.Generator, change: Callable) -> Scene:
    hit = rng.integers(len(scene.leads))
    return replace(scene, leads=tuple(change(lead) if row == hit else lead for row, lead in enumerate(scene.leads)))


def _pick(colours: tuple, rng: np.random.Generator) -> tuple[int, int, int]:
    return colours[rng.integers(len(colours))]


def _jagged(rng: np.random.Generator, count: int, roughness: float) -> np.ndarray:
    """A broken outline (count, 2) of radius about 1."""
    angles = (np.arange(count) + rng.uniform(-0.35, 0.35, count)) * 2 * np.pi / count
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * rng.uniform(1 - roughness, 1 + roughness, (count, 1))


def _lumpy(rng: np.random.Generator, roughness: float) -> np.ndarray:
    """A smooth closed outline (48, 2) of radius about 1."""
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    waves = [rng.normal(0, roughness / order) * np.cos(order * angles + rng.uniform(0, 6)) for order in (2, 3, 4, 5)]
    radius = (1 + np.sum(waves, axis=0)).clip(0.4, 1.7)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius[:, None]


DAMAGES: dict[str, Damage] = {
    "scratch": _scratch,
    "chipped_edge": _chipped_edge,
    "bent_lead": _bent_lead,
    "missing_lead": _missing_lead,
    "missing_ball": _missing_ball,
    "contamination": _contamination,
    "void": _void,
    "wrong_marking": _wrong_marking,
}

# Which defects a type can have, and in what proportion: over the three types together, all eight are equally common.
SHARES: dict[str, dict[str, int]] = {
    "QFN": {"scratch": 4, "chipped_edge": 4, "missing_lead": 8, "contamination": 4, "void": 4, "wrong_marking": 8},
    "BGA": {"scratch": 5, "chipped_edge": 5, "missing_ball": 12, "contamination": 5, "void": 5},
    "SOIC": {
        **{"scratch": 3, "chipped_edge": 3, "contamination": 3, "void": 3},
        **{"bent_lead": 12, "missing_lead": 4, "wrong_marking": 4},
    },
}


def _scaling(factor: float) -> list[int]:
    return [round(level * factor) for level in range(256)]
