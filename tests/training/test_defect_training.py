"""Training on images whose defects are known: from boxes to annotated images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from magical_hub import MagicalPipeline, TrainingConfig, train
from magical_hub.data import open_store, package_dataset
from magical_hub.errors import DataError
from magical_hub.training.sampler import StepSampler


@pytest.fixture(scope="module")
def settings() -> dict:
    return {
        "data": package_dataset(48, image_size=64, seed=1, defect_rate=0.7),
        "label_column": "package",
        "objects_column": "objects",
        "image_size": 64,
        "rows": 4,
        "cols": 4,
        "base_width": 8,
        "max_width": 16,
        "latent_dim": 16,
        "batch_size": 8,
        "log_every": 5,
        "sample_every": 100,
    }


@pytest.mark.parametrize("generator", ["seamless", pytest.param("magical", marks=pytest.mark.slow)])
def test_a_run_with_defects_gives_a_pipeline_with_defects(settings, generator, tmp_path: Path):
    config = {**settings, "generator": generator, "balance_at": 0.0, "output_dir": str(tmp_path / "run")}
    train(TrainingConfig(**config, max_steps=6, checkpoint_every=3))
    pipe = MagicalPipeline.from_pretrained(tmp_path / "run")
    pipe.set_progress_bar_config(disable=True)
    store = open_store(tmp_path / "run" / "data")
    assert pipe.generator.config.defect_names == store.defect_names and pipe.verifier is not None
    lines = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert {
        "verifier/class",
        "verifier/defect",
        "critic/feature_adversarial",
        "critic/feature_defects",
        "generator/feature_defects",
    } <= set(lines[-1])

    # The frequencies are those of the training part, by class and location.
    split = json.loads((tmp_path / "run" / "split.json").read_text())
    frequencies = np.array(pipe.generator.config.defect_frequencies)
    own = [number for number in split["train"] if store.labels[number] == 1]
    fields = store.defects[own].reshape(len(own), -1)
    standing = [(fields == number + 1).mean(0) for number in range(frequencies.shape[2])]
    np.testing.assert_allclose(frequencies[1], np.transpose(standing), atol=1e-6)
    made = pipe(seeds=[1, 2], defects={(0, 0): store.defect_names[0]})
    assert all("objects" in item for item in made.annotations)

    # Cut off after three steps and resumed, all three networks come to the same weights.
    other = {**config, "output_dir": str(tmp_path / "other")}
    train(TrainingConfig(**other, max_steps=3, checkpoint_every=3))
    train(TrainingConfig(**other, max_steps=6, checkpoint_every=3, resume=True))
    again = MagicalPipeline.from_pretrained(tmp_path / "other")
    for name in ("generator", "critic", "verifier"):
        ours, theirs = (getattr(item, name).state_dict() for item in (pipe, again))
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_columns_without_a_defect_are_said_to_be_so(settings, tmp_path: Path):
    good = package_dataset(12, image_size=64, defect_rate=0.0)
    with pytest.raises(DataError, match="none of the images shows a defect in 'objects'"):
        train(TrainingConfig(**{**settings, "data": good}, output_dir=str(tmp_path), max_steps=1))


def test_the_verifier_learns_from_real_sub_regions(settings, tmp_path: Path):
    """Types of package differ in every sub-region; sixty steps of a small network tell most of them apart."""
    config = TrainingConfig(**settings, max_steps=60, output_dir=str(tmp_path), augment="off", lambda_f=0)
    train(config)
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert lines[-1]["verifier/class_accuracy"] > 0.65 > lines[0]["verifier/class_accuracy"]
    assert lines[-1]["verifier/defect"] < lines[0]["verifier/defect"]


def test_a_share_of_the_windows_holds_a_defect_and_every_class_as_often():
    shape: dict[str, Any] = {"rows": 6, "cols": 6, "image_size": 96, "latent_dim": 8}
    config = TrainingConfig(data="", batch_size=16, defect_balance=0.6, **shape)
    grid, labels = config.grid, np.zeros(50, np.int64)
    fields = np.zeros((50, 6, 6), dtype=np.int64)
    fields[:30, 2, 2], fields[3, 5, 0] = 1, 2  # common, and once
    sampler = StepSampler(config, labels, fields)
    counts = np.zeros(3)
    for number in range(100):
        sample = sampler.sample(number)
        members = grid.members(sample.locations, (2, 2))
        seen = fields.reshape(50, -1)[sample.indices[:, None], members].max(1)
        counts += np.bincount(seen, minlength=3)
        halves = [StepSampler(config, labels, fields, part, 2).sample(number) for part in range(2)]
        for name in ("indices", "locations"):
            joined = np.concatenate([np.asarray(getattr(half, name)) for half in halves])
            np.testing.assert_array_equal(joined, np.asarray(getattr(sample, name)))
    shares = counts / counts.sum()
    assert abs(shares[2] - 0.3) < 0.03 and abs(shares[1] - 0.3) < 0.08  # the common one by chance too
