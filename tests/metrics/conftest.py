"""Real images: solar cells of ELPV, and what the feature network sees in them."""

import numpy as np
import pytest
from elpv_dataset.utils import load_dataset
from PIL import Image

from magical_hub.metrics import efficientnet_lite0, extract


@pytest.fixture(scope="session")
def cells() -> np.ndarray:
    """90 cells in [-1, 1]: (90, 1, 128, 128)."""
    images, _, _ = load_dataset()
    chosen = images[np.random.default_rng(0).permutation(len(images))[:90]]
    small = [np.asarray(Image.fromarray(image).resize((128, 128), Image.Resampling.BILINEAR)) for image in chosen]
    return np.stack(small)[:, None].astype(np.float32) / 127.5 - 1


@pytest.fixture(scope="session")
def network():
    return efficientnet_lite0()


@pytest.fixture(scope="session")
def cell_features(cells, network) -> np.ndarray:
    return extract(cells, network)
