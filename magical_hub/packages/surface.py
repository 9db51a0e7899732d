"""Light, texture and camera: turns colours and materials into the pixels that the sensor reports."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from magical_hub.packages.canvas import Canvas
from magical_hub.packages.scene import Light

_MOTTLE_CELLS = (5, 14)
_GRAIN_CELLS = (96, 256, 1024)  # coarse to fine; a finer one shows only where the image can hold it


class Surface:
    """The texture, light and noise of one shot, drawn once and then laid on any number of canvases.

    Laying the same surface on a sound and on a defective canvas gives images that differ by the defect alone.
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
