"""The marks of defects on a package: scratches, chips, dirt and pits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops

from magical_hub.packages.canvas import RGB, Canvas, Paint
from magical_hub.packages.painter import body_outline, dimple, ground
from magical_hub.packages.scene import Scene


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


def _scaling(factor: float) -> list[int]:
    return [round(level * factor) for level in range(256)]
