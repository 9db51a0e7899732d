"""Generated images beside real ones, and the training image that each is nearest to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from magical_hub.data import open_store
from magical_hub.errors import ConfigError
from magical_hub.evaluation import compare
from magical_hub.training import Split


def test_the_closest_training_image_is_found_shifted_and_brightened(cells, folders, write_folder, tmp_path):
    """Of images that are each a training image moved by a pixel, and brighter."""
    copies = np.clip(1.1 * np.roll(cells[:5], 1, axis=3) + 5, 0, 255).astype(np.uint8)
    found = compare(write_folder(copies, tmp_path / "copies"), folders["train"], num_images=5)
    assert len(found.generated) == len(found.real) == len(found.closest) == len(found.closest_names) == 5
    assert (found.distances < 0.2).all()
    names = {f"{number:04d}.png" for number in range(5)}
    assert {*found.closest_names} == names
    for made, closest, name in zip(found.generated, found.closest, found.closest_names, strict=True):
        assert np.array_equal(closest, cells[int(name[:4])])
        assert np.array_equal(made, copies[int(name[:4])])
    real = {image.tobytes() for image in cells}
    assert all(image.tobytes() in real for image in found.real)


def test_a_run_shows_what_it_held_out(tiny_run):
    run = Path(tiny_run.output_dir)
    found = compare(run, num_images=12, seed=3)
    split, store = Split.load(run / "split.json"), open_store(run / "data")
    parts = {
        name: {image.tobytes() for image in store.images(np.asarray(getattr(split, name)))}
        for name in ("train", "holdout")
    }
    assert {image.tobytes() for image in found.real} == parts["holdout"]  # no more than there are
    assert {image.tobytes() for image in found.closest} <= parts["train"]
    assert len(found.generated) == len(found.real) == len(split.holdout)
    assert np.array_equal(compare(run, num_images=12, seed=3).generated, found.generated)


def test_without_real_images_there_is_nothing_to_compare_with():
    with pytest.raises(ConfigError, match="there is nothing to compare with"):
        compare("solar-cells-128")
