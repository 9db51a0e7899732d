"""Cases of known answer: what helps is seen to help, what harms to harm, and nothing is made out of nothing."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from magical_hub.errors import ConfigError, DataError
from magical_hub.evaluation.usefulness import UsefulnessResult, draw_usefulness, measure_usefulness
from magical_hub.metrics import FeatureNetwork, efficientnet_lite0

NORMAL, SPOT = 0, 1


class Filters(FeatureNetwork):
    """A network of a user's own: random filters, quick."""

    name, num_features, image_size = "filters", 24, 32

    def __init__(self) -> None:
        super().__init__()
        weights = torch.randn(24, 1, 5, 5, generator=torch.Generator().manual_seed(0)) / 5
        self.weights = torch.nn.Parameter(weights, requires_grad=False)

    def maps(self, images: Tensor) -> Tensor:
        return F.avg_pool2d(F.conv2d(images, self.weights.to(images.dtype), stride=2).abs(), 2)


def pictures(count: int, seed: int, strength: float = 40) -> tuple[np.ndarray, np.ndarray]:
    """Noise of 32 px; every second one has a faint spot somewhere: images and classes."""
    rng = np.random.default_rng(seed)
    images = rng.normal(128, 30, (count, 1, 32, 32))
    labels, masks = np.arange(count) % 2, np.zeros((count, 32, 32), bool)
    for number in np.flatnonzero(labels == SPOT):
        y, x = rng.integers(2, 24, 2)
        masks[number, y : y + 6, x : x + 6] = True
    images[:, 0] += strength * masks
    return images.clip(0, 255).astype(np.uint8), labels


@pytest.fixture(scope="module")
def ask():
    """Asks with few real images, 200 test images and a quick network."""
    real, labels = pictures(12, seed=0)
    test, test_labels = pictures(200, seed=1)

    def measure(images: np.ndarray, classes: np.ndarray | None, **changes) -> UsefulnessResult:
        settings = {"normal_class": NORMAL, "network": Filters(), "steps": 100, "num_extra": 60}
        settings |= {"resamples": 300, "progress": False, **changes}
        generated = images if classes is None else (images, classes)
        return measure_usefulness(generated, real, settings.pop("labels", labels), test, test_labels, **settings)

    return measure


def test_informative_images_help(ask):
    images, classes = pictures(600, seed=2)
    result = ask(images, classes)
    task = result.tasks["classification"]
    assert task.verdict == "helps" and result.verdicts["classification"] == "helps"
    assert list(task.scores) == [
        "real only",
        "real + classical",
        "real + procedural",
        "real + synthetic",
        "synthetic only",
    ]
    assert all(len(seeds) == 8 for measures in task.scores.values() for seeds in measures.values())
    assert list(result.tasks["anomaly_detection"].scores["real only"]) == ["image AUROC"]
    assert not result.left_out

    kept = json.loads(json.dumps(result.to_json()))
    assert kept["verdicts"] == result.verdicts and kept["settings"]["seeds"] == 8
    text = result.to_markdown()
    assert "**Classification: helps.**" in text and "| real + synthetic, against real + procedural | AUROC |" in text
    with Image.open(io.BytesIO(draw_usefulness(result))) as picture:
        assert picture.width > 800


def test_mislabelled_images_harm(ask):
    images, classes = pictures(600, seed=2, strength=60)
    result = ask(images, 1 - classes)
    assert result.verdicts == {"classification": "harms", "anomaly_detection": "harms"}


def test_copies_of_the_real_images_are_not_shown_to_help(ask):
    real, labels = pictures(12, seed=0)
    result = ask(real, labels)
    assert result.verdicts == {"classification": "not shown", "anomaly_detection": "not shown"}


def test_normal_images_of_an_unseen_lot_help_to_find_anomalies():
    """Real normals are all of a dark lot; half of all others are of a bright one, which is not an anomaly."""
    (real, labels), (images, classes), (test, test_labels) = (
        pictures(count, seed, strength=70) for seed, count in enumerate((32, 400, 200))
    )
    for some in (images, test):
        some[len(some) // 2 :] = (some[len(some) // 2 :] * 0.7 + 77).astype(np.uint8)
    result = measure_usefulness(
        images[classes == NORMAL],
        real[labels == NORMAL],
        None,
        test,
        test_labels,
        network=Filters(),
        num_extra=60,
        resamples=500,
        progress=False,
    )
    assert result.verdicts == {"anomaly_detection": "helps"}
    assert "no labels" in result.left_out["classification"]


def test_the_same_seed_gives_the_same_figures(ask):
    images, classes = pictures(100, seed=2)
    few = {"seeds": 2, "steps": 5, "num_extra": 8}
    first, again, other = (ask(images, classes, seed=seed, **few).to_json() for seed in (0, 0, 1))
    assert first == again and first["tasks"] != other["tasks"]


def test_what_cannot_be_asked_is_left_out_with_its_reason(ask):
    images, classes = pictures(40, seed=2)
    few = {"seeds": 2, "steps": 2, "num_extra": 4}
    without_classes = ask(images, None, **few)
    assert not without_classes.tasks and "train the generator with label_column" in without_classes.to_markdown()
    without_normal = ask(images, classes, normal_class=None, **few)
    assert list(without_normal.left_out) == ["anomaly_detection", "real + procedural"]
    assert "real + procedural" not in without_normal.tasks["classification"].scores
    one_class = ask(images[classes == NORMAL], classes[classes == NORMAL], **few)
    assert one_class.left_out["classification"] == "there are no synthetic images of the classes 1"
    assert list(one_class.tasks) == ["anomaly_detection"]


def test_a_pipeline_is_asked_for_its_classes_and_stays_as_it_was(class_pipe):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 3, 32, 48), np.uint8)
    labels = np.arange(40) % 3
    result = measure_usefulness(
        class_pipe,
        images[:20],
        labels[:20],
        images[20:],
        labels[20:],
        normal_class=1,
        network=efficientnet_lite0(),
        seeds=2,
        steps=2,
        num_extra=6,
        resamples=100,
        progress=False,
    )
    assert set(result.verdicts) == {"classification", "anomaly_detection"}
    assert result.settings["network"] == "efficientnet-lite0"
    assert class_pipe.critic is not None


def test_unfit_images_and_settings_are_refused(ask):
    images, classes = pictures(40, seed=2)
    with pytest.raises(DataError, match="of one shape"):
        ask(images[:, :, :16], classes)
    with pytest.raises(DataError, match="have 39 labels"):
        ask(images, classes[1:])
    with pytest.raises(ConfigError, match="seeds is 1: it must be at least 2"):
        ask(images, classes, seeds=1)
    with pytest.raises(DataError, match="20 test images are among the real ones"):
        measure_usefulness((images, classes), images[:20], classes[:20], images, classes, progress=False)
