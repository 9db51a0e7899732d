"""A filter that drops synthetic images which are unlike all real ones, or too much like a single one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from magical_hub.data.columns import check_dataset, find_columns
from magical_hub.data.images import Intensity, as_array, fit, grey_or_rgb, pixels_of
from magical_hub.errors import ConfigError, DataError
from magical_hub.evaluation.images import reduced, whole_size
from magical_hub.metrics import (
    FeatureNetwork,
    Neighbours,
    efficientnet_lite0,
    extract,
    memorisation,
    nearest,
    nearest_aligned,
    single_tests,
)
from magical_hub.pipeline import MagicalPipeline

if TYPE_CHECKING:
    import datasets

LEAST = 30
"""The least number of real images for which the distances between them can be estimated."""
K = 8
QUANTILE = 0.99
_AT_ONCE = 64


class QualityFilter:
    """Says of synthetic images why to drop them: for `augment_dataset(keep=...)`, or to be called by itself.

    - "unlike real images": its features are farther from the nearest real image than 99 % of the real images are from
      theirs, times `outside`. A weak generator has few images inside.
    - "near copy": it is nearer to one real image than to the next ones (`metrics.memorisation`) as no real image is
      among the others, by features or by aligned pixels; the test of single images of the evaluation, which a real
      image fails with probability `level`.

    Args:
        dataset: the real images, 30 and more.
        pipe: of the images to filter: channels, size and the intensity range that it was trained with.
        image_column: column of the images.
        network: for the features; EfficientNet-Lite0 unless given.
        outside: above 0; more lets more through.
        level: above 0 and below 1.

    Raises:
        ConfigError: where a number is out of range.
        DataError: where there are fewer than 30 images.
    """

    def __init__(
        self,
        dataset: datasets.Dataset,
        pipe: MagicalPipeline,
        image_column: str = "image",
        network: FeatureNetwork | None = None,
        outside: float = 1.0,
        level: float = 0.001,
    ) -> None:
        if outside <= 0 or not 0 < level < 1:
            raise ConfigError(f"outside is {outside} and level {level}: give more than 0, and level below 1")
        check_dataset(dataset)
        if len(dataset) < LEAST:
            raise DataError(f"{len(dataset)} real images are too few for a filter: there must be at least {LEAST}")
        find_columns(dataset.features, image_column, None, None, None)
        self._network = network or efficientnet_lite0()
        self._level = level
        self._intensity = Intensity.of(pipe.generator.config.get("intensity_range"))
        grid = pipe.generator.grid
        self._shape: tuple[int, int, int] = (pipe.generator.config.channels, grid.height, grid.width)
        views = [self._features_and_pixels(batch) for batch in self._batches(dataset.with_format(None), image_column)]
        self._features, self._pixels = (np.concatenate(parts) for parts in zip(*views, strict=True))
        among_features = _others(nearest(self._features, self._features, K + 1))
        among_pixels = _others(nearest_aligned(self._pixels, self._pixels, K + 1))
        self._null_scores = memorisation(among_features), memorisation(among_pixels)
        self._bound = outside * float(np.quantile(among_features.distances[:, 0], QUANTILE))

    def __call__(self, images: np.ndarray, annotations: Sequence[dict[str, Any]] = ()) -> list[str]:
        """Why each of the images (N, H, W) or (N, H, W, C) uint8 is dropped; "" where it is kept."""
        pixels = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
        if pixels.shape[1:] != self._shape:
            raise DataError(
                f"images of {pixels.shape[1:]} for a filter of images of {self._shape}: give the same pipeline"
            )
        features, small = self._features_and_pixels(pixels)
        near = nearest(features, self._features, K)
        views = near, nearest_aligned(small, self._pixels, K)
        p_values = [
            single_tests(memorisation(view), null) for view, null in zip(views, self._null_scores, strict=True)
        ]
        copied = len(views) * np.min(p_values, axis=0) <= self._level
        outside = near.distances[:, 0] > self._bound
        return ["near copy" if a else "unlike real images" if b else "" for a, b in zip(copied, outside, strict=True)]

    def _features_and_pixels(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features, and small grey pixels, of images (N, C, H, W) uint8."""
        _, height, width = self._shape
        features = extract(pixels.astype(np.float32) / 127.5 - 1, self._network)
        return features, reduced(np.ascontiguousarray(pixels), whole_size(height, width))

    def _batches(self, dataset: datasets.Dataset, column: str) -> Iterator[np.ndarray]:
        channels, height, width = self._shape
        for batch in dataset.select_columns([column]).iter(_AT_ONCE):
            name = "an image of the dataset"
            pixels = [pixels_of(image, name) for image in batch[column] if image is not None]
            images = [grey_or_rgb(one, name, self._intensity) for one in pixels]
            yield np.stack([as_array(fit(image, height, width, channels)) for image in images])


def _others(neighbours: Neighbours) -> Neighbours:
    """Without the image itself."""
    return Neighbours(neighbours.distances[:, 1:], neighbours.indices[:, 1:])
