"""What a run is watched by: of a large canvas, windows and never the whole; of several processes, all."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from magical_hub import MagicalPipeline, TrainingConfig, train
from magical_hub.data import open_store
from magical_hub.training import Split
from magical_hub.training.run.history import read_history


@pytest.fixture(scope="module")
def large_run(tmp_path_factory):
    """One step on ten images of 2176 px: just over what is watched whole. Not to be changed."""
    folder = tmp_path_factory.mktemp("large")
    blocks = np.random.default_rng(0).integers(0, 256, (10, 34, 34), dtype=np.uint8)
    (folder / "data").mkdir()
    for number in range(10):
        pixels = blocks[number].repeat(64, 0).repeat(64, 1)
        Image.fromarray(pixels).save(folder / "data" / f"{number}.png")
    config = TrainingConfig(
        data=str(folder / "data"),
        output_dir=str(folder / "run"),
        image_size=2176,
        rows=17,
        cols=17,
        base_width=4,
        max_width=8,
        latent_dim=8,
        batch_size=1,
        max_steps=1,
        validation_fraction=0.0,
        augment="off",
        mixed_precision="no",
    )
    train(config)
    return folder / "run"


def test_of_a_large_canvas_windows_are_watched(large_run):
    """The sheet's first row shows real windows, the others those of the generator, at the same eight places."""
    sheet = np.asarray(Image.open(large_run / "samples" / "step-00000001.png"))
    assert sheet.shape == (5 * 512, 8 * 512)  # windows of 4 x 4 sub-regions, not images
    store = open_store(large_run / "data")
    pipe = MagicalPipeline.from_pretrained(large_run)
    grid, places = pipe.generator.grid, set()
    train_part = Split.load(large_run / "split.json").train
    for number in range(8):
        image = store.images(np.array([train_part[number]]))[0, 0]
        real = sheet[:512, number * 512 : (number + 1) * 512]
        made = sheet[512:1024, number * 512 : (number + 1) * 512]
        spans = {int(c): grid.span(int(c), (4, 4)) for c in grid.window_locations((4, 4))}
        (place,) = [c for c, span in spans.items() if np.array_equal(image[span], real)]
        places.add(place)
        regions = grid.members(np.array([place]), (4, 4))[0].tolist()
        cells = pipe(seeds=[number], regions=regions, output_type="pt").images
        again = (grid.window((4, 4)).stitch(cells)[0, 0].numpy() * 255).round()
        assert np.abs(again - made).max() <= 1
    assert len(places) == 8
    line = json.loads((large_run / "history.jsonl").read_text())
    assert np.isfinite(line["seams/rows"]) and np.isfinite(line["seams/cols"])


def test_the_curves_are_drawn_from_the_history(tiny_run, tiny_config, tmp_path):
    """A picture of seven panels, two a row, and another one once there are more lines."""
    picture = shutil.copytree(tiny_run.output_dir, tmp_path / "run") / "curves.png"
    first = picture.read_bytes()
    with Image.open(picture) as image:
        assert image.size == (1200, 4 * 320)
    train(tiny_config(tmp_path / "run", max_steps=5, resume=True))
    assert picture.read_bytes() != first


@pytest.mark.parametrize(("sample_every", "log_every"), [(1, 50), (50, 1), (50, 50)])
def test_the_last_figures_are_logged_when_time_is_over(tiny_config, tmp_path, sample_every, log_every):
    """Wherever that is between samples and lines."""
    settings = {"max_minutes": 1e-9, "max_steps": 10**6, "sample_every": sample_every, "log_every": log_every}
    assert train(tiny_config(tmp_path / "run", **settings)).steps == 1
    lines = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert {"critic/adversarial", "seams/rows"} <= {name for line in lines for name in line}
    assert (tmp_path / "run" / "curves.png").is_file()


def test_a_history_in_the_names_of_earlier_versions_is_read_by_those_of_today(tiny_run, tiny_config, tmp_path):
    run = shutil.copytree(tiny_run.output_dir, tmp_path / "run")
    line = json.loads((run / "history.jsonl").read_text().splitlines()[-1])
    old = {"critic/location": 1.5, "balance/penalty_share": 0.5, "generator/features": 0.7, "variety/nearest": 0.9}
    (run / "history.jsonl").write_text(json.dumps({"step": 4, "seconds": line["seconds"], **old}) + "\n")
    lines, damaged = read_history(run / "history.jsonl")
    new = {"critic/classification": 1.5, "penalty/factor": 0.5, "generator/feature_adversarial": 0.7}
    assert damaged == 0 and lines == [{"step": 4, "seconds": line["seconds"], **new, "variety/nearest": 0.9}]
    train(tiny_config(run, max_steps=5, resume=True))  # which goes on in the names of today
    names = [set(json.loads(line)) for line in (run / "history.jsonl").read_text().splitlines()]
    assert len(names) == 2 and {*new} <= names[0] and "critic/classification" in names[1]
