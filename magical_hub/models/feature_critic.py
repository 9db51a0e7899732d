"""A critic on the features of a frozen ImageNet network, which describe textures and shapes from the first step on.

On a few thousand images a critic of pixels needs hours to learn fine texture; heads on frozen features separate it
at once (Sauer et al. 2021, "Projected GANs converge faster"). With such a critic alone rare modes are dropped;
together with a critic of pixels they are not (docs/quality.md has the figures).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import skip_init
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized

from magical_hub.grid import Grid, Window
from magical_hub.models.imagenet import EfficientNetLite, Normalise, load_efficientnet
from magical_hub.models.layers import SLOPE, full_precision, with_pair_difference

FINEST = 4
"""Pixels a cell of the finest features. Features of two pixels a cell cost as much as all others, and add little."""

WIDTHS = (24, 40, 112, 320)
"""Channels of an EfficientNet-Lite, 0 or 1, before each of its halvings from FINEST on, and at its end."""


def feature_widths(height: int, width: int) -> list[int]:
    """Channels of each scale of the features of images of this size: see FrozenFeatures."""
    return [many for scale, many in enumerate(WIDTHS) if min(height, width) >= 2 * FINEST * 2**scale]


@lru_cache(maxsize=8)
def shared_features(network: EfficientNetLite, height: int, width: int, device: torch.device) -> FrozenFeatures:
    """Features for images of one size on one device, made once in a process."""
    # Independent of the default device and the mode of the first caller.
    with torch.device("cpu"), torch.inference_mode(False):
        features = FrozenFeatures(height, width, network)
    return features.to(device)


class FrozenFeatures(nn.Module):
    """Features of an EfficientNet-Lite (Tan and Le 2019) before each of its halvings: of cells of 4, 8, 16 ... px.

    Only as many scales are worked out as leave two cells or more along the shorter side of an image. The weights come
    with a package and are never saved. It runs in float32, also within an autocast: the gradient of a depthwise
    convolution in 16 bits is slower on a CPU.

    Args:
        height, width: of the images, in pixels.
        network: which one; the heads of the critic read Lite1.
    """

    def __init__(self, height: int, width: int, network: EfficientNetLite = "efficientnet-lite1") -> None:
        super().__init__()
        self.normalise = Normalise()
        whole = load_efficientnet(network).eval()
        self.stem = nn.Sequential(_fused_convolution(whole._conv_stem, whole._bn0), ReLU6())
        stages: list[list[nn.Module]] = [[]]
        for block in whole._blocks:
            if block._depthwise_conv.stride[0] == 2:
                stages.append([])
            stages[-1].append(_fused(block))
        self.widths = feature_widths(height, width)
        self.stages = nn.ModuleList(nn.Sequential(*stage) for stage in stages[: len(self.widths) + 1])
        self.eval().requires_grad_(False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """(B, C, H, W) in [-1, 1], grey or RGB -> (B, width, H / stride, W / stride) a scale, the finest first."""
        with full_precision(images.device):
            x = self.normalise(images.float())
            x = self.stages[0](self.stem(x.contiguous(memory_format=torch.channels_last)))
            features = []
            for stage in self.stages[1:]:
                x = stage(x)
                features.append(x)
        return features


class FeatureHead(nn.Module):
    """Scores every cell of one scale; spectral norms (Miyato et al. 2018) regularise it in place of a penalty."""

    def __init__(self, inputs: int, width: int, rows: int, cols: int, num_classes: int, num_defects: int) -> None:
        super().__init__()
        self.conv1 = _normed(nn.Conv2d(2 * inputs, width, 3, padding=1))
        self.conv2 = _normed(nn.Conv2d(width, width, 3, padding=1))
        self.score = _normed(nn.Conv2d(width, 1, 1, bias=False))
        self.row_projection = nn.Embedding(rows, width)
        self.col_projection = nn.Embedding(cols, width)
        self.class_projection = nn.Embedding(num_classes, width) if num_classes else None
        self.defect_projection = nn.Embedding(1 + num_defects, width) if num_defects else None
        for projection in (self.row_projection, self.col_projection, self.class_projection, self.defect_projection):
            if projection is not None:
                nn.init.zeros_(projection.weight)

    def forward(
        self,
        features: torch.Tensor,
        rows: torch.Tensor,
        cols: torch.Tensor,
        class_labels: torch.Tensor | None,
        defects: torch.Tensor | None,
        in_pairs: bool,
    ) -> torch.Tensor:
        x = F.leaky_relu(self.conv1(with_pair_difference(features, in_pairs)), SLOPE)
        x = F.leaky_relu(self.conv2(x), SLOPE)
        direction = self.row_projection(rows) + self.col_projection(cols)
        if self.class_projection is not None and class_labels is not None:
            direction = direction + self.class_projection(class_labels)
        by_place = torch.einsum("bchw,bc->bhw", x.float(), direction) / x.shape[1] ** 0.5
        if self.defect_projection is not None and defects is not None:
            here = self.defect_projection(defects).permute(0, 3, 1, 2)  # a sub-region
            here = F.interpolate(here, size=x.shape[2:], mode="nearest-exact")
            by_place = by_place + (x.float() * here).sum(1) / x.shape[1] ** 0.5
        return self.score(x)[:, 0].float() + by_place


class FeatureOutput(NamedTuple):
    """Output of a feature critic for B images of n sub-regions."""

    scores: list[torch.Tensor]
    """(B, h, w) a scale, higher for more realistic cells."""
    defect_logits: torch.Tensor | None
    """(B * n, 1 + num_defects) of all sub-regions, image by image, the first for none; None without defects."""


class FeatureCritic(nn.Module):
    """Heads on frozen features, one a scale, that score the cells of an image given its location (and class).

    Further heads classify the defect of a sub-region from the cell with the greatest logit. On these features that
    takes a few hundred windows with a defect, where a critic of pixels under R1 has not learned it after thousands of
    steps (docs/quality.md); a generator learns the defects that a critic classifies.

    Its inputs are the outputs of `FrozenFeatures` and not images, so that the updates of critic and generator can
    share one pass through that network.

    Args:
        grid: of the whole canvas.
        inputs: channels of each scale.
        num_classes: image classes; 0 for none.
        num_defects: defect classes, "none" not counted; 0 for no defects.
        width: channels of the heads.
    """

    def __init__(
        self, grid: Grid, inputs: list[int], num_classes: int = 0, num_defects: int = 0, width: int = 64
    ) -> None:
        super().__init__()
        self.grid = grid
        self.heads = nn.ModuleList(
            FeatureHead(i, width, grid.rows, grid.cols, num_classes, num_defects) for i in inputs
        )
        self.defect_heads = nn.ModuleList(cell_classifier(i, width, 1 + num_defects) for i in inputs if num_defects)
        self.eval()  # the norms change in `update_norms`, and not with every pass

    @torch.no_grad()
    def update_norms(self) -> None:
        """One power iteration of each spectral norm: once an update, however many passes its batch is cut into."""
        for module in self.modules():
            if is_parametrized(module):
                module.train()
                _ = module.weight
                module.eval()

    def forward(
        self,
        features: list[torch.Tensor],
        locations: torch.Tensor,
        class_labels: torch.Tensor | None = None,
        window: Window = (1, 1),
        defect_labels: torch.Tensor | None = None,
        in_pairs: bool = False,
    ) -> FeatureOutput:
        """Score every cell, and classify the defects of the sub-regions.

        Args:
            features: (B, channels, h, w) a scale.
            locations: (B,) int64 of the images' top-left sub-regions.
            class_labels: (B,) int64, or None without classes.
            window: rows and columns of sub-regions in the images.
            defect_labels: (B, R, K) int64 of the whole canvases, or None without defects.
            in_pairs: whether images 2i and 2i + 1 are a same-location pair; otherwise each is paired with itself.
        """
        rows, cols = locations // self.grid.cols, locations % self.grid.cols
        defects = None
        if defect_labels is not None:
            members = self.grid.members(locations, window)
            defects = defect_labels.flatten(1).gather(1, members).unflatten(1, window)
        pairs = zip(self.heads, features, strict=True)
        scores = [head(x, rows, cols, class_labels, defects, in_pairs) for head, x in pairs]
        return FeatureOutput(scores, self._find_defects(features, window) if self.defect_heads else None)

    def _find_defects(self, features: list[torch.Tensor], window: Window) -> torch.Tensor:
        """The sum over the scales of the greatest logits in each sub-region."""
        pairs = zip(self.defect_heads, features, strict=True)
        found = torch.stack([F.adaptive_max_pool2d(head(x), window) for head, x in pairs]).sum(0)
        return found.flatten(2).mT.flatten(0, 1)


def cell_classifier(inputs: int, width: int, *outputs: int) -> nn.Sequential:
    """A plain classifier of the cells of one scale, with a receptive field of 3 x 3 cells; or, without `outputs`, its
    features."""
    hidden = [nn.Conv2d(inputs, width, 1), nn.LeakyReLU(SLOPE), nn.Conv2d(width, width, 3, padding=1)]
    return nn.Sequential(*hidden, nn.LeakyReLU(SLOPE), *(nn.Conv2d(width, count, 1) for count in outputs))


def _normed(convolution: nn.Conv2d) -> nn.Module:
    """With a spectral norm. Its weights' length doesn't count, but N(0, 1) makes one rate of Adam suit all layers."""
    nn.init.normal_(convolution.weight)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    normed: nn.Module = spectral_norm(convolution)
    return normed


class ReLU6(nn.Module):
    """In place where no gradient is taken; where one is, torch would copy what is overwritten."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu6(x, inplace=not torch.is_grad_enabled())


def _fused(block: Any) -> Any:
    """A block of EfficientNet with its batch norms folded into its convolutions: half of the work on small images."""
    if hasattr(block, "_expand_conv"):
        block._expand_conv, block._bn0 = _fused_convolution(block._expand_conv, block._bn0), nn.Identity()
    block._depthwise_conv, block._bn1 = _fused_convolution(block._depthwise_conv, block._bn1), nn.Identity()
    block._project_conv, block._bn2 = _fused_convolution(block._project_conv, block._bn2), nn.Identity()
    block._swish = ReLU6()
    return block


def _fused_convolution(convolution: Any, norm: Any) -> nn.Conv2d:
    """A convolution of EfficientNet with its batch norm folded into it, and without the copy that pads its input.

    Its zeros, of which there may be one row and column more below and right ("same" padding of TensorFlow), become
    the padding of torch's convolution, which is the same on all sides, and zeros in the kernel, above and left.
    """
    fused = fuse_conv_bn_eval(convolution, norm)
    left, right, top, bottom = getattr(convolution.static_padding, "padding", (0, 0, 0, 0))
    weight = F.pad(fused.weight.detach(), (right - left, 0, bottom - top, 0))
    plain: nn.Conv2d = skip_init(  # draws no initial weights: those of other networks would change
        nn.Conv2d,
        fused.in_channels,
        fused.out_channels,
        tuple(weight.shape[2:]),
        tuple(fused.stride),
        (bottom, right),
        groups=fused.groups,
    )
    plain.load_state_dict({"weight": weight, "bias": fused.bias.detach()})
    return plain
