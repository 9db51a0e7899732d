"""samples.png says which colour is which class."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
from PIL import Image

from magical_hub.augmentation import Settings, write_augmented
from magical_hub.pictures import colour_of

SIDE = 64


def saved(folder, named: bool) -> str:
    """Six good boards, and two with two kinds of spots each: the values of their masks, or their labels, name them."""
    rng = np.random.default_rng(0)
    images, masks, labels = [], [], []
    for number in range(8):
        pixels, mask = rng.integers(150, 170, (SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE), np.uint8)
        if number > 5:
            mask[8:20, 8:20] = 1 if named else 255
            mask[30:44, 34:50] = 2 if named else 255
        pixels[mask > 0] = 40
        images.append(Image.fromarray(pixels))
        masks.append(Image.fromarray(mask))
        labels.append("good" if number < 6 else f"spoilt {number}")
    table = {"image": images, "mask": masks} | ({} if named else {"label": labels})
    features = {"image": datasets.Image(), "mask": datasets.Image()}
    features |= {} if named else {"label": datasets.Value("string")}
    datasets.Dataset.from_dict(table, features=datasets.Features(features)).save_to_disk(folder / "data")
    return str(folder / "data")


@pytest.mark.parametrize("named", [True, False])
def test_colours_of_masks_are_those_of_the_legend(tmp_path, named):
    values = {1: "dark area", 2: "crack"} if named else None
    made = write_augmented(
        saved(tmp_path, named), None, tmp_path / "out", Settings(num_images=4, mask_values=values, keep="all")
    )
    sheet = np.asarray(Image.open(made.pictures)).astype(int)
    rows = datasets.load_from_disk(tmp_path / "out").select(range(8, 12))
    side = sheet.shape[1] // 4
    legend = sheet[side:]
    colours, counts = np.unique(legend.reshape(-1, 3), axis=0, return_counts=True)
    solid = {tuple(map(int, colour)) for colour in colours[counts > 150]} - {(0, 0, 0), (255, 255, 255)}
    shown = set()
    for number, row in enumerate(rows):
        mask, image = np.asarray(row["mask"]), np.asarray(row["image"]).astype(int)
        cell = sheet[:side, number * side : (number + 1) * side]
        for value in {*np.unique(mask).tolist()} - {0}:
            y, x = (place[len(place) // 2] for place in np.nonzero(mask == value))
            seen = cell[(2 * y + 1) * side // (2 * SIDE), (2 * x + 1) * side // (2 * SIDE)]
            veil = tuple(np.rint(image[y, x] + (seen - image[y, x]) * 255 / 90).astype(int).tolist())
            nearest = min(solid, key=lambda colour: np.abs(np.subtract(colour, veil)).max())
            assert np.abs(np.subtract(nearest, veil)).max() <= 6, (value, veil, solid)  # 8 bits of a third of a colour
            shown.add((value if named else row["label"], nearest))
    assert len(shown) == len(solid) >= 1 and {colour for _, colour in shown} == solid
    if named:
        assert shown == {(1, colour_of(0)), (2, colour_of(1))}


def test_colours_differ():
    assert len({colour_of(number) for number in range(100)}) == 100
