"""One finished picture: a scene, its defect if it has one, and the box of the pixels that the defect changed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from magical_hub.boxes import Box, box_of
from magical_hub.errors import DataError, check_number
from magical_hub.packages.defects import DAMAGES, damage
from magical_hub.packages.painter import paint_overlays, paint_scene
from magical_hub.packages.scene import LAYOUTS, draw_scene
from magical_hub.packages.surface import Surface

PACKAGES = tuple(LAYOUTS)
DEFECTS = tuple(DAMAGES)

_SMALLEST, _LARGEST = 64, 2048
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
    `defect_rate`: with a rate of 0 one gets the sound twin of a defective picture. The composition does not depend
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
    sound = surface.expose(canvas)
    if defect_rng.uniform() >= defect_rate:
        return PackageImage(sound, scene.package, None, ())
    faulty_scene, name = damage(scene, defect_rng)
    if not faulty_scene.overlays:  # the package itself is another: draw it anew
        canvas = paint_scene(faulty_scene, image_size)
    paint_overlays(canvas, faulty_scene)
    faulty = surface.expose(canvas)
    return PackageImage(faulty, scene.package, name, (_changed_box(sound, faulty),))


def check_request(image_size: int, seed: int, defect_rate: float) -> None:
    """Refuse an image size, a seed or a defect rate out of its range.

    Raises:
        DataError: the argument, its value and its range.
    """
    check_number("image_size", image_size, at_least=_SMALLEST, at_most=_LARGEST, whole=True, error=DataError)
    check_number("seed", seed, at_least=0, whole=True, error=DataError)
    check_number("defect_rate", defect_rate, at_least=0, at_most=1, error=DataError)


def _changed_box(sound: np.ndarray, faulty: np.ndarray) -> Box:
    """The smallest box x, y, w, h about the pixels that visibly changed; both images share their noise."""
    change = np.abs(sound.astype(np.int16) - faulty).max(axis=2)
    visible = change > min(_VISIBLE, change.max() / 2)
    return box_of(visible)
