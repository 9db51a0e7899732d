"""What training would be, said before it starts: the proposal, its cost, and where the data does not suit."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from magical_hub import TrainingConfig, train
from magical_hub.data import package_dataset
from magical_hub.errors import ConfigError
from magical_hub.training import plan

SMALL = {"base_width": 8, "max_width": 16, "latent_dim": 16, "batch_size": 4, "mixed_precision": "no", "lambda_f": 0}


@pytest.fixture(scope="module")
def packages():
    return list(package_dataset(40, image_size=64, seed=3)["image"])


@pytest.fixture
def make_folder(tmp_path):
    def make(images) -> str:
        for number, image in enumerate(images):
            (tmp_path / "pictures").mkdir(exist_ok=True)
            image.save(tmp_path / "pictures" / f"{number:03}.png")
        return str(tmp_path / "pictures")

    return make


def test_aligned_images_of_one_size_need_no_word(make_folder, packages, tmp_path):
    planned = plan(TrainingConfig(data=make_folder(packages * 3), output_dir=str(tmp_path / "run"), **SMALL))
    config = planned.config
    assert (config.image_size, config.rows, config.cols, config.channels) == ((64, 64), 2, 2, 3)
    assert planned.num_images == 120 and planned.sizes == 1 and planned.alignment > 0.7
    assert planned.warnings == ()
    assert planned.seconds > 0.9 * config.max_steps * planned.step_seconds > 0  # beside reading the images
    text = planned.text()
    for words in ("120 images", "2 x 2 sub-regions of 32 x 32 px", "10000 steps", "a step)", "iB of memory"):
        assert words in text
    assert not (tmp_path / "run").exists()


def test_what_does_not_suit_is_said_with_its_figure(make_folder, packages, tmp_path):
    rng = np.random.default_rng(0)
    askew = []
    for number, image in enumerate(packages):
        top, left = rng.integers(0, 24, 2)
        askew.append(image.crop((left, top, left + 40, top + 40)).resize((64 + 32 * (number % 2), 64)))
    folder = make_folder(askew)
    (tmp_path / "pictures" / "000.png").write_bytes(b"no image")
    planned = plan(TrainingConfig(data=folder, output_dir=str(tmp_path / "run"), **SMALL))
    few, lying, unreadable, shapes = planned.warnings
    assert "40 images are few" in few and planned.text().count("warning: ") == 4
    assert f"only {planned.alignment:.0%} of the images" in lying and planned.alignment < 0.3
    assert "1 of the first 32 images" in unreadable
    assert "31 images looked at have another shape" in shapes


def test_all_that_is_proposed_is_what_training_does(make_folder, packages, tmp_path):
    config = TrainingConfig(data=make_folder(packages), output_dir=str(tmp_path / "run"), max_minutes=0.05, **SMALL)
    planned = plan(config)
    assert 3 <= planned.seconds < plan(TrainingConfig(**{**vars(config), "max_minutes": None})).seconds
    assert train(config).steps >= 1
    saved = (tmp_path / "run" / "training_config.json").read_text()
    assert saved == planned.config.to_json()
    with pytest.raises(ConfigError, match="holds a run already: give --resume"):
        plan(config)


def test_steps_grow_with_the_canvas_and_are_kept_where_they_are_given(make_folder, tmp_path):
    images = [Image.fromarray(np.full((8, 8), 20 * i, np.uint8)) for i in range(3)]
    settings = {"data": make_folder(images), "output_dir": str(tmp_path / "run"), **SMALL, "penalty_every": 1}
    steps = {
        side: plan(TrainingConfig(image_size=side, rows=side // 16, cols=side // 16, **settings)).config.max_steps
        for side in (32, 64, 128)
    }
    assert steps == {32: 10_000, 64: 20_000, 128: 40_000}
    given = TrainingConfig(image_size=32, rows=2, cols=2, max_steps=77, **settings)
    assert plan(given).config.max_steps == 77


def test_the_folder_is_named_after_the_data():
    assert TrainingConfig(data="boards/lot-7/").output_dir == "runs/lot-7"
    assert TrainingConfig(data="acme/boards").output_dir == "runs/boards"
    with pytest.raises(ConfigError, match="output_dir is not given"):
        TrainingConfig(data=package_dataset(3))


@pytest.mark.slow
def test_memory_that_is_not_there(make_folder, packages, tmp_path, run_python):
    """The address space of the process is bounded, so that torch finds none, as on a machine that is too small."""
    source = """
import resource, sys
from magical_hub import TrainingConfig
from magical_hub.errors import TrainingError
from magical_hub.training import plan
config = TrainingConfig(data=sys.argv[1], output_dir=sys.argv[2], image_size=512, rows=2, cols=2, batch_size=64,
                        base_width=64, mixed_precision="no", lambda_f=0)
import magical_hub.training.trainer
limit = 6 * 2**30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    plan(config)
except TrainingError as error:
    print(error)
"""
    ran = run_python(source, make_folder(packages), tmp_path / "run")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("out of memory with 64 windows") and "raise gradient_accumulation" in ran.stdout
    assert not (tmp_path / "run").exists()
