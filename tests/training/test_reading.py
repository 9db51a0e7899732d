"""The way of somebody with good images and a few with masks, in 8 and 12 bits, up to what training reads."""

from __future__ import annotations

import json

import datasets
import numpy as np
import pytest
from PIL import Image

from magical_hub import MagicalPipeline, train
from magical_hub.data import open_store
from magical_hub.errors import DataError
from magical_hub.training import plan

GOOD, DEFECTIVE = 30, 6


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """A dataset that `save_to_disk` wrote: good images, then some with two kinds of defects. Not to be changed."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(GOOD + DEFECTIVE):
        pixels = np.clip(120 + 60 * np.eye(32).repeat(2, 0)[:32] + rng.normal(0, 9, (32, 32)), 0, 255).astype(np.uint8)
        mask = np.zeros((32, 32), np.uint8)
        if number >= GOOD:
            kind = 1 + number % 2
            mask[4:12, 4:12] = kind
            pixels[4:12, 4:12] = 20 * kind
        colour = np.repeat(pixels[..., None], 3, 2)  # grey, stored as RGB
        rows.append({"image": Image.fromarray(colour), "mask": Image.fromarray(mask), "label": int(mask.any())})
    features = datasets.Features(
        image=datasets.Image(), mask=datasets.Image(), label=datasets.ClassLabel(names=["good", "defective"])
    )
    folder = tmp_path_factory.mktemp("cells") / "saved"
    datasets.Dataset.from_list(rows, features=features).save_to_disk(folder)
    return folder


def test_a_saved_dataset_whose_first_images_are_good(cells, tiny_config, tmp_path):
    """The plan measures, counts every class and every defect, and says what is few."""
    config = tiny_config(
        tmp_path / "run", data=str(cells), label_column="label", mask_column="mask", mask_values="1=dark,2=crack",
        max_steps=100,
    )  # fmt: skip
    planned = plan(config)
    assert planned.step_seconds is not None and planned.config.channels == 1
    half = DEFECTIVE // 2
    assert planned.counts == {
        "class good": GOOD, "class defective": DEFECTIVE, "defect dark": half, "defect crack": half, "no defect": GOOD
    }  # fmt: skip
    assert "defect crack: 3 images, about 2 to learn from, 0 for validation, 0 held out" in planned.text()
    assert any(warning.startswith("defect crack has 3 images") for warning in planned.warnings)


def test_masks_of_several_classes_become_the_defects_of_the_checkpoint(cells, tiny_config, tmp_path):
    """They are numbered where nobody names them."""
    for name, values, expected in (("a", None, ["1", "2"]), ("b", "1=dark,2=crack", ["dark", "crack"])):
        config = tiny_config(tmp_path / name, data=str(cells), mask_column="mask", mask_values=values, max_steps=1)
        train(config)
        store = open_store(tmp_path / name / "data")
        assert store.defect_names == expected
        rows = datasets.load_from_disk(cells)
        for row, field in zip(rows, store.defects, strict=True):
            assert {*np.unique(field)} == {0, *np.unique(row["mask"])}
        assert list(MagicalPipeline.from_pretrained(tmp_path / name).generator.config.defect_names) == expected


@pytest.fixture(scope="module")
def twelve_bits(tmp_path_factory):
    """Images of 12 bits in files of 16, in a folder. Not to be changed."""
    folder = tmp_path_factory.mktemp("twelve")
    for number in range(12):
        pixels = np.random.default_rng(number).integers(200, 4000, (32, 32)).astype(np.uint16)
        pixels[0, :2] = 160, 4095
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return folder


def test_a_range_that_leaves_few_grey_levels_is_told_with_its_figures(twelve_bits, tiny_config, tmp_path, run_here):
    planned = plan(tiny_config(tmp_path / "run", data=str(twelve_bits)))
    assert "depth     16 bits a channel, values 160 to 4095" in planned.text()
    assert any("that leaves 15 of 256 grey levels; give --intensity-range 160 4095" in one for one in planned.warnings)
    right = plan(tiny_config(tmp_path / "run", data=str(twelve_bits), intensity_range=(0, 4095)))
    assert not any("grey levels" in warning for warning in right.warnings)
    ran = run_here(
        "train", "--data", twelve_bits, "--output-dir", tmp_path / "run", "--dry-run", "--json",
        "--intensity-range", "auto", "--max-steps", 1, "--image-size", 32, "--rows", 2, "--cols", 2,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert not any("grey levels" in warning for warning in json.loads(ran.stdout)["warnings"])


def test_the_range_is_one_for_all_and_stays_with_the_checkpoint(twelve_bits, tiny_config, tmp_path):
    config = tiny_config(tmp_path / "run", data=str(twelve_bits), intensity_range="auto", max_steps=1)
    train(config)
    store = open_store(tmp_path / "run" / "data")
    for name, image in zip(store.names, store.images(np.arange(len(store))), strict=True):
        values = np.asarray(Image.open(twelve_bits / name), float)
        assert np.array_equal(image[0], np.round((values - 160) * 255 / (4095 - 160)))
    assert json.loads((tmp_path / "run" / "training_config.json").read_text())["intensity_range"] == [160, 4095]
    assert MagicalPipeline.from_pretrained(tmp_path / "run").generator.config.intensity_range == [160, 4095]
    train(tiny_config(tmp_path / "run", data=str(twelve_bits), intensity_range="auto", max_steps=2, resume=True))
    with pytest.raises(DataError, match="is not what"):  # another range makes other images of the same files
        (tmp_path / "run" / "training_config.json").write_text(
            (tmp_path / "run" / "training_config.json").read_text().replace("4095", "5000")
        )
        train(tiny_config(tmp_path / "run", data=str(twelve_bits), max_steps=3, resume=True))
