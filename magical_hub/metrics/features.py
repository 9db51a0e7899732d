"""Feature networks: frozen, the yardstick that images are compared through."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from magical_hub.errors import DataError

_STRIDE_8, _STRIDE_16 = 4, 10
"""EfficientNet-Lite0's last blocks at a stride of 8 and of 16."""


class FeatureNetwork(nn.Module):
    """A frozen network that turns images into rows of features. Figures of two networks can't be compared.

    Its forward maps images (N, C, H, W) in [-1, 1], grey or RGB, of any size, to features (N, num_features).

    Attributes:
        name: what a report calls it.
        num_features: features an image.
        image_size: height and width in pixels to which it resizes every image.
    """

    name: str
    num_features: int
    image_size: int

    def maps(self, images: Tensor) -> Tensor:
        """Features in the middle of the network, which keep their place: (N, C, H, W) -> (N, F, h, w).

        Raises:
            DataError: where the network gives none.
        """
        raise DataError(f"{self.name} has no feature maps: give its class a method maps(images), or use another")


class EfficientNetLite0(FeatureNetwork):
    """Features of EfficientNet-Lite0 (Tan & Le, "EfficientNet", ICML 2019) before its classifier, averaged over space.

    Images are resized to 224 x 224 (bilinear with antialiasing, whatever their aspect), grey is repeated to RGB, and
    the mean and deviation of ImageNet are taken out.
    """

    name = "efficientnet-lite0"
    num_features = 1280
    image_size = 224

    def __init__(self) -> None:
        super().__init__()
        from magical_hub.models.imagenet import Normalise, load_efficientnet  # here: the measures need no diffusers

        self.body = load_efficientnet("efficientnet-lite0")
        self.normalise = Normalise()

    def forward(self, images: Tensor) -> Tensor:
        return self.body.extract_features(self._normalised(images)).mean(dim=(2, 3))

    def maps(self, images: Tensor) -> Tensor:
        """The ends of the stages of stride 8 and 16, side by side at 28 x 28: 40 + 112 channels."""
        body, made = self.body, []
        hidden = body._swish(body._bn0(body._conv_stem(self._normalised(images))))
        for number, block in enumerate(body._blocks[: _STRIDE_16 + 1]):
            hidden = block(hidden)
            if number in (_STRIDE_8, _STRIDE_16):
                made.append(hidden)
        fine, coarse = made
        coarse = F.interpolate(coarse, size=fine.shape[2:], mode="bilinear", align_corners=False)
        return torch.cat([fine, coarse], dim=1)

    def _normalised(self, images: Tensor) -> Tensor:
        size = (self.image_size, self.image_size)
        images = F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)
        normalised: Tensor = self.normalise(images)
        return normalised


def efficientnet_lite0() -> FeatureNetwork:
    """The network that figures of this project are measured with: ImageNet features, weights from a package."""
    network = EfficientNetLite0().eval().requires_grad_(False)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a quarter faster on a CPU
    return network


@torch.inference_mode()
def extract(
    images: np.ndarray | Tensor, network: FeatureNetwork, batch_size: int = 16, progress: bool = False
) -> np.ndarray:
    """Features of images, by batches, on the device that the network is on.

    Args:
        images: float, (N, C, H, W) in [-1, 1], with C of 1 (grey) or 3 (RGB).
        network: the feature network, as from `efficientnet_lite0`.
        batch_size: images at once; on a CPU small batches are faster, for they stay in its cache.
        progress: whether to show a bar on stderr.

    Returns:
        float32, (N, network.num_features).

    Raises:
        DataError: where the images are not of that kind.
    """
    images = torch.as_tensor(images)
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images) or not images.is_floating_point():
        raise DataError(
            f"images of shape {tuple(images.shape)} and type {images.dtype} have no features: "
            "give floats (N, C, H, W) in [-1, 1] with 1 or 3 channels"
        )
    weight = next(network.parameters(), None)  # a user's own network may have none
    device = torch.device("cpu") if weight is None else weight.device
    name = getattr(network, "name", type(network).__name__)
    batches = tqdm(images.split(batch_size), desc=name, unit="batch", disable=not progress)
    return torch.cat([network(batch.to(device, torch.float32)).cpu() for batch in batches]).numpy()


def checked_features(real: np.ndarray, fake: np.ndarray, at_least: int) -> tuple[Tensor, Tensor]:
    """Both sets as float64 tensors: small distances are differences of large sums, which float32 rounds away.

    Raises:
        DataError: unless both are finite, (N, F) with the same F, and have `at_least` rows.
    """
    for name, features in (("real", real), ("fake", fake)):
        if features.ndim != 2 or len(features) < at_least or features.shape[1] != real.shape[1]:
            raise DataError(
                f"{name} features of shape {features.shape} can't be measured: give (N, F) with N of {at_least} or "
                "more, and the same F for real and fake"
            )
        if not np.isfinite(features).all():
            raise DataError(f"{name} features hold NaN or infinity: look at the images that they come from")
    return torch.from_numpy(real).double(), torch.from_numpy(fake).double()
