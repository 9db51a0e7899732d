"""A batch is what its random numbers say, as the store gives it, and reading ahead changes nothing but the waiting."""

from __future__ import annotations

import threading
import time
from dataclasses import fields

import numpy as np
import pytest
import torch

from magical_hub import TrainingConfig, train
from magical_hub.data import open_store
from magical_hub.training import Split
from magical_hub.training.batch import READERS, Batch, BatchDataset, read_ahead

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset(tiny_config, tmp_path_factory) -> BatchDataset:
    """Batches of six windows of 1 x 2 sub-regions of the ELPV images. Not to be changed."""
    run = tmp_path_factory.mktemp("batches") / "run"
    train(tiny_config(run, max_steps=1))
    config = TrainingConfig(data="", image_size=32, rows=2, cols=2, window_rows=1, latent_dim=8, batch_size=6)
    return BatchDataset(config, open_store(run / "data"), Split.load(run / "split.json").train)


def tensors(batch: Batch) -> dict[str, torch.Tensor]:
    return {f.name: v for f in fields(batch) if isinstance(v := getattr(batch, f.name), torch.Tensor)}


def equal(one: Batch, other: Batch) -> bool:
    ours, theirs = tensors(one), tensors(other)
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_the_windows_are_crops_of_the_images_at_their_locations(dataset):
    batch, sample = dataset[3], dataset.sampler.sample(3)
    images = dataset.store.images(dataset.indices[sample.indices])
    assert batch.pixels.shape == (6, 1, 16, 32) and batch.pixels.dtype == torch.uint8
    for image, location, window in zip(images, sample.locations, batch.pixels.numpy(), strict=True):
        top, left = 16 * (location // 2), 16 * (location % 2)
        assert left == 0 and np.array_equal(image[:, top : top + 16, left : left + 32], window)
    assert batch.members.tolist() == [[location, location + 1] for location in sample.locations]
    assert batch.real.min() >= -1 and batch.real.max() <= 1
    assert torch.equal(((batch.real + 1) * 127.5).round().byte(), batch.pixels)
    assert batch.number == 3 and batch.class_labels is None and batch.defect_maps is None
    assert equal(batch, dataset[3]) and not equal(batch, dataset[4])


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_the_parts_of_a_batch_are_the_batch(dataset, count):
    batch = dataset[5]
    parts = batch.parts(count)
    assert [part.number for part in parts] == [5] * count and {len(part.pixels) for part in parts} == {6 // count}
    for name, value in tensors(batch).items():
        assert torch.equal(torch.cat([tensors(part)[name] for part in parts]), value), name


def test_reading_ahead_gives_the_same_batches_in_their_order(dataset):
    ahead = read_ahead(dataset, range(2, 2 + 3 * READERS), CPU)
    assert all(equal(batch, dataset[2 + n]) for n, batch in enumerate(ahead))


class SlowDataset:
    """Batches whose reading has to wait, as on slow storage: each for as long as `released` says."""

    def __init__(self, dataset: BatchDataset) -> None:
        self.dataset, self.released, self.begun = dataset, threading.Event(), []

    def __getitem__(self, number: int) -> Batch:
        self.begun.append(number)
        assert number == 0 or self.released.wait(60)
        return self.dataset[number]


def test_a_batch_is_given_while_others_are_read(dataset):
    """The first is there although no other can be read yet, and as many others as there are readers have begun."""
    slow = SlowDataset(dataset)
    batches = read_ahead(slow, range(100), CPU, ahead=3)
    assert equal(next(batches), dataset[0])
    while len(slow.begun) < 4:
        time.sleep(0.01)
    assert sorted(slow.begun) == [0, 1, 2, 3]
    slow.released.set()
    assert equal(next(batches), dataset[1])
    batches.close()  # what was not begun is not read any more
    assert max(slow.begun) <= 5


def test_an_error_comes_when_it_is_the_turn_of_its_batch(dataset):
    class Damaged:
        def __getitem__(self, number: int) -> Batch:
            if number == 2:
                raise OSError("it was cut off")
            return dataset[number]

    batches = read_ahead(Damaged(), range(9), CPU)
    assert equal(next(batches), dataset[0]) and equal(next(batches), dataset[1])
    with pytest.raises(OSError, match="it was cut off"):
        next(batches)
