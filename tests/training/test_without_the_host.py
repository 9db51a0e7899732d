"""A whole step on torch.device("meta"), whose tensors have no values: whatever looks at one fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from magical_hub import TrainingConfig
from magical_hub.data import Source, open_source, package_dataset, prepare_store
from magical_hub.training.adaptive import AdaptiveAugmentation, AdaptivePenalty
from magical_hub.training.batch import BatchDataset
from magical_hub.training.method import Method
from magical_hub.training.networks import build_optimizers
from magical_hub.training.state import TrainingState
from magical_hub.training.step import TrainingStep

META = torch.device("meta")
SHAPE = {"image_size": 48, "rows": 3, "cols": 3, "channels": 3, "base_width": 8, "max_width": 16, "latent_dim": 16}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Packages with classes and defects. Not to be changed."""
    source: Source = open_source(
        package_dataset(12, image_size=64, seed=1, defect_rate=1.0), label_column="package", objects_column="objects"
    )
    config = TrainingConfig(data="x", output_dir="y", **SHAPE)
    return prepare_store(source, tmp_path_factory.mktemp("store"), config.grid, 3, progress=False)


@pytest.mark.parametrize(
    ("settings", "balanced"),
    [
        ({}, False),
        pytest.param({"max_grad_norm": 1.0, "n_critic": 2, "gradient_accumulation": 2}, True, marks=pytest.mark.slow),
        ({"generator": "magical", "critic_input": "sub_regions", "classify_fakes": True}, True),
        ({"adversarial": "wasserstein", "window_rows": 3, "augment": "off"}, False),
    ],
)
def test_no_value_is_looked_at_in_a_step(store, tmp_path: Path, settings, balanced):
    """With and without the penalty, before and after the feature critic is enabled; the adaptation too."""
    config = TrainingConfig(data="x", output_dir=str(tmp_path), batch_size=4, max_steps=9, **SHAPE, **settings)
    accelerator = Accelerator(cpu=True)
    state = TrainingState(config, accelerator, store, np.arange(len(store)))
    networks = {name: network.to(META) for name, network in state.networks.items()}
    optimizers = build_optimizers(config, networks)  # of the parameters that are there now
    state.ema.to(META)
    features = None if state.features is None else state.features.to(META)
    augmentation, penalty = AdaptiveAugmentation(0.5, 100, 4, META), AdaptivePenalty(0.65, META)
    penalty.balanced = balanced
    method = Method(config, networks, features, augmentation, penalty)
    step = TrainingStep(config, accelerator, method, networks, optimizers)
    dataset = BatchDataset(config, store, np.arange(len(store)))
    for number in range(2):
        batches = [dataset[number * config.n_critic + n].to(META) for n in range(config.n_critic)]
        figures = step(batches)
        state.advance()
        assert {value.device for value in figures.values()} == {META}
        assert ("critic/feature_defects" in figures) == (balanced and config.adversarial == "relativistic")
    held_out = method.mean_score(dataset[0].to(META))
    adapted = augmentation.adapt(figures["critic/score_real"], figures["critic/score_fake"], held_out)
    assert adapted["augmentation/strength"].device == META
    penalty.balanced = True  # until it is, the adjustment itself looks at one value
    assert penalty.adapt(figures["critic/adversarial"]).device == META
