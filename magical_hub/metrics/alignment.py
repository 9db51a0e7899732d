"""Whether images are aligned, as the method requires: a location must show the same part in each."""

from __future__ import annotations

import numpy as np
from scipy import fft, ndimage

SIDE = 64
"""Images are compared at this many pixels a side: what is finer is texture, which need not agree."""
BLUR = 6.0
"""Standard deviation, in those pixels, of the brightness that is taken away: light differs where layouts agree."""
TOLERANCE = 1
"""An image is in place where it fits best within so many of those pixels of its place."""


def alignment(images: np.ndarray) -> float:
    """Share of the images that fit the mean of the others best where they are.

    Each image is slid over the mean of the others, around the edges, and the place of the highest correlation is
    searched for. Images of one layout have it at no shift (within 1/64 of the side); images in arbitrary places, or
    with no layout in common, have it anywhere (1 of 455 by chance). Turned images are found where the layout isn't the
    same when turned.

    Args:
        images: (N, 64, 64) grey, of any range; at least 3. Others are to be resized first (`SIDE`).

    Returns:
        From 0 to 1, where all are in place.
    """
    sharp = images.astype(np.float64)
    sharp = sharp - ndimage.gaussian_filter(sharp, (0, BLUR, BLUR), mode="nearest")
    sharp /= np.maximum(sharp.std((1, 2), keepdims=True), 1e-9)
    others = (sharp.sum(0) - sharp) / (len(sharp) - 1)
    spectrum = fft.rfft2(sharp) * fft.rfft2(others).conj()
    fits = fft.irfft2(spectrum, s=sharp.shape[1:])
    best = fits.reshape(len(fits), -1).argmax(1)
    shifts = np.stack(np.unravel_index(best, sharp.shape[1:]))
    sides = np.asarray(sharp.shape[1:])[:, None]
    distance = np.minimum(shifts, sides - shifts).max(0)
    return float((distance <= TOLERANCE).mean())
