"""The tab Paint in a browser: a click paints where it is, and the label of the download is what changed."""

from __future__ import annotations

import io
import json
import re
import zipfile
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image
from plates import NASTY, SIDE, plate
from playwright.sync_api import expect
from pycocotools import mask as rle

from magical_hub.app.banks import PACKAGES, Banks, data_of
from magical_hub.defects import DefectBank
from magical_hub.errors import DataError

BEFORE, AFTER = "img[alt^='The good image']", "img[alt='The image with its defects']"


def small(shown: np.ndarray) -> np.ndarray:
    """The pixels of an image that the page enlarged."""
    factor = shown.shape[0] // SIDE
    return shown[::factor, ::factor, 0]


def unpacked(user: Any, layout: str) -> dict[str, bytes]:
    """The files of the ZIP file that the page packs."""
    page = user.page
    page.get_by_role("radio", name=layout).locator("visible=true").check()
    links = page.locator("a[download$='.zip']").locator("visible=true")
    old = links.get_attribute("href") if links.count() else None
    user.press("Pack image and label as a ZIP file")
    expect(links).not_to_have_attribute("href", old or "")
    with page.expect_download() as download:
        links.click()
    with zipfile.ZipFile(download.value.path()) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def opened(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_a_click_paints_and_the_label_is_what_changed(visit, plates, tmp_path):
    user = visit(tab="Paint")
    page = user.page
    user.says("4 defects of spot")
    user.says(re.compile("^[1-9]\\d* of 9216 pixels changed"))  # it opens with one that is painted
    good, _, _ = plate(4, None)
    assert np.array_equal(small(user.pixels(BEFORE)), good)
    assert not np.array_equal(small(user.pixels(AFTER)), good)
    user.press("Take all away")
    user.says("0 of 9216 pixels changed")

    # Another good image, and a click: the library's own result.
    page.locator("#good button[aria-label^='Thumbnail 2 of']").click()
    good, _, _ = plate(5, None)
    enlarged = np.asarray(Image.fromarray(good).resize((480, 480), Image.Resampling.NEAREST).convert("RGB"))
    user.pixels(BEFORE, enlarged)
    place = page.locator(BEFORE).bounding_box()
    page.locator(BEFORE).click(position={"x": place["width"] * 0.25, "y": place["height"] * 0.75})
    user.says(re.compile("^spot: "))
    bank = DefectBank.from_dataset(datasets.load_from_disk(plates))
    size = bank.report[0]["size"]
    assert size == bank.report[2]["size"] == (11, 11)
    x, y = (float(side) for side in re.findall(r"from column ([\d.]+), row ([\d.]+)", page.inner_text("#painted"))[0])
    assert abs(x + 5.5 - 24) <= 2 and abs(y + 5.5 - 72) <= 2  # where the click was
    painted = small(user.pixels(AFTER))
    changed = painted != good
    rows, cols = np.nonzero(changed)
    assert changed.sum() > 0 and abs(rows.mean() - 72) < 3 and abs(cols.mean() - 24) < 3

    # A second defect from the keyboard, then both anew; places where none is visible say why.
    user.fill("x", 60)
    user.fill("y", 30)
    page.get_by_role("button", name="Paint it there").press("Enter")
    expect(page.locator("#painted li")).to_have_count(2)
    user.press("Paint again")
    expect(page.get_by_label("Seed of the painting")).to_have_value("1")
    user.press("Paint it there")
    user.says(re.compile("^the defect 'spot' would not be visible in the box"))
    user.fill("x", 96)
    user.press("Paint it there")
    user.says("(96, 30) is outside of the image: x must be below 96 and y below 96")

    # The download.
    painted = small(user.pixels(AFTER))
    changed = painted != good
    page.get_by_role("button", name="Download").locator("visible=true").click()
    files = unpacked(user, "COCO")
    coco = json.loads(files["annotations.json"])
    (name,) = [name for name in files if name.startswith("images/") and name.endswith(".png")]
    assert np.array_equal(opened(files[name]), painted)
    marked = np.zeros_like(changed)
    for annotation in coco["annotations"]:
        part = rle.decode(annotation["segmentation"]).astype(bool)
        left, top, width, height = (round(side) for side in annotation["bbox"])
        box = np.zeros_like(part)
        box[top : top + height, left : left + width] = True
        assert (changed & box).any() and not (part & ~box).any()
        marked |= part
    assert len(coco["annotations"]) == 2 and not (changed & ~marked).any()
    names = {category["id"]: category["name"] for category in coco["categories"]}
    assert {names[annotation["category_id"]] for annotation in coco["annotations"]} == {"spot"}
    assert json.loads(files["provenance.json"])["real_pixels"] is True
    files = unpacked(user, "PNG and metadata.jsonl")
    (name,) = [name for name in files if name.startswith("masks/") and name.endswith(".png")]
    mask = opened(files[name])
    assert {*np.unique(mask)} == {0, 1} and not (changed & (mask == 0)).any()
    assert user.strays == [] and user.complaints == []


@pytest.mark.slow
def test_an_image_of_ones_own_and_a_name_of_a_stranger(visit, tmp_path):
    user = visit(tab="Paint")
    page = user.page
    user.says("pixels changed")
    own = (plate(99, None)[0].astype(np.uint16) * 257)[:80]  # of 16 bits, and smaller than those of the bank
    Image.fromarray(own).save(tmp_path / "own.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    page.locator("#drop input[type=file]").set_input_files(tmp_path / "broken.png")
    user.says(re.compile("broken.png cannot be read"))
    page.locator("#drop").get_by_label(re.compile("[Rr]emove|[Cc]lear")).first.click()
    page.locator("#drop input[type=file]").set_input_files(tmp_path / "own.png")
    user.says("0 of 7680 pixels changed")
    page.get_by_label("Defect to paint where you click").click()
    page.get_by_role("option", name=NASTY).click()
    user.fill("x", 40)
    user.fill("y", 40)
    user.press("Paint it there")
    user.says(re.compile("^<img src=http://evil.example/b.png> !"))
    page.get_by_label("Draw boxes and masks of the label").check()
    page.get_by_role("button", name="Download").locator("visible=true").click()
    files = unpacked(user, "PNG and metadata.jsonl")
    (name,) = [name for name in files if name.endswith("own.png") and not name.startswith("masks/")]
    packed = opened(files[name])
    assert packed.dtype == np.uint16 and packed.shape == own.shape and (packed != own).any()
    (name,) = [name for name in files if name.startswith("masks/") and name.endswith(".png")]
    mask = opened(files[name])
    assert {*np.unique(mask)} == {0, 2} and not ((packed != own) & (mask == 0)).any()
    assert page.locator("[src*='evil.example'], [href*='evil.example']").count() == 0
    assert user.strays == [] and user.complaints == []


def test_banks(plates, tmp_path, repo):
    banks = Banks()
    stock = banks.get(PACKAGES)
    _, image = stock.good[0]
    clicks, seed = stock.suggestion(image)
    assert clicks and stock.bank.paint(image, stock.defects(clicks, image.shape[:2], seed), seed=seed).objects
    (corner,) = stock.defects((("void", 0.0, 127.0),), (128, 128), 0)
    x, y, _, height = corner["bbox"]  # type: ignore[misc]
    assert (x, y + height) == (0, 128)
    stock.bank.save(tmp_path / "bank")
    saved = banks.get(str(tmp_path / "bank"))
    assert saved.good == () and saved.bank.report == stock.bank.report
    assert banks.get(str(tmp_path / "bank")) is saved
    with pytest.raises(DataError, match=r"^there is no folder"):
        banks.get(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"^no data are given"):
        banks.get("")
    assert data_of("solar-cells-128") is None
    (tmp_path / "run").mkdir()
    settings = {"data": str(plates), "objects_column": "objects", "mask_column": None}
    (tmp_path / "run" / "training_config.json").write_text(json.dumps(settings))
    assert data_of(str(tmp_path / "run")) == str(plates)
