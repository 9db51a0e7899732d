"""The page in a browser: what a click does is what the library does."""

from __future__ import annotations

import json
import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import RepoCard
from PIL import Image

from magical_hub import MagicalPipeline, cli
from magical_hub.errors import CheckpointError, ConfigError, MissingPackageError
from magical_hub.seeds import image_seed


def test_generate_click_and_download(visit, defect_folder, tmp_path):
    user = visit()
    page = user.page
    user.fill("Number of images", 2)
    user.fill("Seed", 5)
    user.press("Generate")
    pipe = MagicalPipeline.from_pretrained(defect_folder)
    seeds = [image_seed(5, number) for number in range(2)]
    made = pipe(seeds=seeds, defects={}, masks=True)
    canvas = page.get_by_alt_text("The chosen image under the lines of its grid")
    canvas.wait_for()
    for number in range(2):
        user.shows(number + 1, made.images[number])
    user.says(f"Seed {seeds[0]}, {made.annotations[0]['class_name']}")

    box = canvas.bounding_box()
    canvas.click(position={"x": 0.84 * box["width"], "y": 0.75 * box["height"]})  # row 1 and column 2, from 0
    wanted = pipe(seeds=seeds[:1], defects={(1, 2): "scratch"}, masks=True)
    (item,) = wanted.annotations[0]["objects"]
    left, top, width, height = item["bbox"]
    user.says(f"scratch: {width:g} x {height:g} px from column {left:g}, row {top:g} on")
    user.shows(1, wanted.images[0])
    assert not np.array_equal(wanted.images[0], made.images[0])

    page.get_by_role("button", name="Download").click()
    user.press("Pack the images as a ZIP file")
    with page.expect_download() as download:
        page.locator("a[download]").click()
    download.value.save_as(tmp_path / "coco.zip")
    with zipfile.ZipFile(tmp_path / "coco.zip") as packed:
        coco = json.loads(packed.read("annotations.json"))
        (annotation,) = coco["annotations"]
        assert annotation["bbox"] == pytest.approx(item["bbox"]) and annotation["image_id"] == 0
        assert [image["seed"] for image in coco["images"]] == seeds
        assert np.array_equal(Image.open(packed.open("images/00000.png")), wanted.images[0])
        assert json.loads(packed.read("provenance.json"))["image"]["seeds"] == seeds
    assert user.strays == [] and user.complaints == []


def test_a_wrong_checkpoint_is_the_librarys_own_line(visit, tmp_path):
    user = visit()
    user.fill("Checkpoint", tmp_path / "nothing")
    user.press("Load")
    with pytest.raises(CheckpointError) as line:
        MagicalPipeline.from_pretrained(tmp_path / "nothing")
    user.says(str(line.value))
    user.fill("Checkpoint", Path(__file__).parent)
    user.press("Generate")
    user.says("is not a checkpoint (it has no model_index.json)")


def test_empty_boxes_and_seeds_that_a_browser_rounds(visit):
    user = visit()
    user.fill("Number of images", 1)
    user.fill("Seed", 2**53 + 1)  # which JavaScript takes for 2**53
    user.press("Generate")
    user.says(f"Value {2**53} is greater than maximum value {2**53 - 1}")
    user.fill("Seed", "")
    user.press("Generate")
    user.says("a seed is None, which is not a whole number")
    user.fill("Seed", 0)
    user.press("Generate")
    user.says("Seed ")
    user.fill("Row", "")
    user.press("Put it there")
    user.says("Row is None: it must be a whole number, at least 1")


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_that_no_machine_has(port):
    with pytest.raises(ConfigError, match=f"port is {port}: it must be at least 1 and at most 65535"):
        cli.page(port=port, browser=False)


def test_the_folder_of_the_space_is_what_the_hub_wants(repo):
    space = repo / "examples" / "space"
    about = RepoCard.load(space / "README.md", ignore_metadata_errors=False).data.to_dict()
    assert about["sdk"] == "gradio" and (space / about["app_file"]).is_file()
    assert f"gradio=={about['sdk_version']}" in (repo / "constraints.txt").read_text().split()
    assert len(about["short_description"]) <= 60
    extras = re.search(r"^magical-hub\[(.+?)\]", (space / "requirements.txt").read_text(), re.M)[1].split(",")
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 cannot read TOML: run it with a later one")
    project = tomllib.loads((repo / "pyproject.toml").read_text())["project"]
    assert {*extras} <= project["optional-dependencies"].keys()


def test_without_gradio_the_line_says_how_to_get_it(monkeypatch):
    for name in [*sys.modules]:
        if name.startswith("magical_hub.app"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(MissingPackageError, match=r"^gradio is not installed: pip install 'magical-hub\[app\]'"):
        cli.page()
