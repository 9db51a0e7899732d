"""One finished picture: a scene under its light, its defect if any, and the box of the pixels that it changed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from magical_hub.boxes import Box, box_of
from magical_hub.errors import DataError, check_number
from magical_hub.packages.canvas import Canvas
from magical_hub.packages.defects import DAMAGES, damage
from magical_hub.packages.painter import paint_overlays, paint_scene
from magical_hub.packages.scene import LAYOUTS, Light, draw_scene

PACKAGES = tuple(LAYOUTS)
DEFECTS = tuple(DAMAGES)

_SMALLEST, _LARGEST = 64, 2048
_MOTTLE_CELLS = (5, 14)
_GRAIN_CELLS = (96, 256, 1024)  # coarse to fine; a finer one shows only where the image can hold it
_VISIBLE = 10  # grey levels of 255: a smaller change drowns in the sensor noise


@dataclass(frozen=True, eq=False)
class PackageImage:
    """A picture (H, W, 3) uint8 in RGB, its package type, its defect or None, and boxes x, y, w, h in pixels."""

    image: np.ndarray
    package: str
    defect: str | None
    boxes: tuple[Box, ...]


def render_package(index: int, image_size: int = 128, seed: int = 0, defect_rate: float = 0.5) -> PackageImage:
    """Draw picture `index` of the series `seed`.

    The picture depends on the arguments alone, to the bit. The scene, its light and its noise do not depend on
    `defect_rate`: with a rate of 0 one gets the defective picture without its defect. The composition does not depend
    on `image_size`.

    Args:
        index: number of the picture, 0 or more.
        image_size: side of the square picture in pixels, 64 to 2048.
        seed: number of the series, 0 or more.
        defect_rate: probability of a defect, 0 to 1.

    Raises:
        DataError: an argument is out of its range.
    """
    check_request(image_size, seed, defect_rate)
    check_number("index", index, at_least=0, whole=True, error=DataError)
    scene_rng, defect_rng, surface_rng = np.random.default_rng([seed, index]).spawn(3)
    scene = draw_scene(scene_rng)
    surface = Surface(image_size, scene.light, surface_rng)
    canvas = paint_scene(scene, image_size)
    good = surface.expose(canvas)
    if defect_rng.uniform() >= defect_rate:
        return PackageImage(good, scene.package, None, ())
    faulty_scene, name = damage(scene, defect_rng)
    if not faulty_scene.overlays:  # the package itself is another: draw it anew
        canvas = paint_scene(faulty_scene, image_size)
    paint_overlays(canvas, faulty_scene)
    faulty = surface.expose(canvas)
    return PackageImage(faulty, scene.package, name, (_changed_box(good, faulty),))


def check_request(image_size: int, seed: int, defect_rate: float) -> None:
    """Refuse an image size, a seed or a defect rate out of its range.

    Raises:
        DataError: the argument, its value and its range.
    """
    check_number("image_size", image_size, at_least=_SMALLEST, at_most=_LARGEST, whole=True, error=DataError)
    check_number("seed", seed, at_least=0, whole=True, error=DataError)
    check_number("defect_rate", defect_rate, at_least=0, at_most=1, error=DataError)


def _changed_box(good: np.ndarray, faulty: np.ndarray) -> Box:
    """The smallest box x, y, w, h about the pixels that visibly changed; both images share their noise."""
    change = np.abs(good.astype(np.int16) - faulty).max(axis=2)
    visible = change > min(_VISIBLE, change.max() / 2)
    return box_of(visible)


class Surface:
    """The texture, light and noise of one shot, drawn once and then laid on any number of canvases.

    Laying the same surface on a good and on a defective canvas gives images that differ by the defect alone.
    """

    def __init__(self, image_size: int, light: Light, rng: np.random.Generator) -> None:
        texture, sensor = rng.spawn(2)
        axis = (np.arange(image_size, dtype=np.float32) + 0.5) / image_size - 0.5
        across, down = axis[None, :], axis[:, None]
        self._light = light
        self._mottle = _octaves(_MOTTLE_CELLS, image_size, texture)
        self._grain = _octaves(_GRAIN_CELLS, image_size, texture)
        x, y = light.towards
        self._field = (1 + light.slope * (x * across + y * down)) * (1 - light.vignette * (across**2 + down**2))
        gx, gy = light.glare_centre
        self._glare = light.glare * np.exp(-((across - gx) ** 2 + (down - gy) ** 2) / 0.06)
        self._noise = sensor.standard_normal((image_size, image_size, 3), dtype=np.float32)
        self._gains = np.array([1 + light.warmth, 1, 1 - light.warmth], dtype=np.float32) * light.brightness

    def expose(self, canvas: Canvas) -> np.ndarray:
        """The image (H, W, 3), uint8, of a canvas under this light."""
        colour, material = canvas.reduced()
        blur = self._light.defocus * colour.width
        colour = colour.filter(ImageFilter.GaussianBlur(blur))
        radiance = np.asarray(colour, dtype=np.float32) / 255
        grain, gloss, mottle = np.moveaxis(np.asarray(material, dtype=np.float32) / 255, 2, 0)
        relief = 1 + grain * self._grain + mottle * self._mottle
        radiance = radiance * (self._field * relief)[..., None] + (gloss * self._glare)[..., None]
        radiance = (radiance * self._gains - 0.35) * self._light.contrast + 0.35
        # Shot noise: the brighter, the noisier, on top of a constant read noise.
        radiance += self._noise * (self._light.noise * np.sqrt(0.35 + 1.3 * radiance.clip(0, 1)))
        return (radiance * 255 + 0.5).clip(0, 255).astype(np.uint8)


def _octaves(cells: tuple[int, ...], image_size: int, rng: np.random.Generator) -> np.ndarray:
    """Sum (H, W) of smooth noise fields, unit variance each where the image resolves them."""
    total = np.zeros((image_size, image_size), dtype=np.float32)
    for count in cells:
        if count > 2 * image_size:
            break
        field = Image.fromarray(rng.standard_normal((count, count), dtype=np.float32))
        total += np.asarray(field.resize((image_size, image_size), Image.Resampling.BICUBIC))
    return total
