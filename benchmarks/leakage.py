"""False alarms of all leakage tests together, and what they find of planted copies, over many splits of real images.

    pip install "magical-hub[bench]"
    OMP_NUM_THREADS=1 python benchmarks/leakage.py --splits 300

In every split ELPV solar cells are shared out by chance into training, held-out and other images, and others stand in
place of generated ones: as they are, or as a poor generator would draw them. None of them was copied from training, so
every alarm is a false one. The interval is the exact one of a binomial share (Clopper-Pearson).
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import tyro
from elpv_dataset.utils import load_dataset
from PIL import Image
from scipy.stats import binomtest
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from magical_hub import Grid
from magical_hub.data import CanvasStore, to_canvas
from magical_hub.data.canvas import digest
from magical_hub.evaluation.evidence import Evidence
from magical_hub.evaluation.images import FeatureCache, ImageSet
from magical_hub.evaluation.search import control, search
from magical_hub.metrics import efficientnet_lite0

NOISE = 6
"""Grey levels, the deviation between two drawings of one picture."""


def main(
    splits: int = 300,
    control_splits: int = 10,
    kinds: tuple[str, ...] = ("real", "blurred", "narrow", "twenty-pictures", "three-pictures"),
    image_size: int = 32,
    num_train: int = 240,
    num_images: int = 80,
    efficientnet: bool = False,
    seed: int = 0,
) -> None:
    """Print a row for each kind of generator that copies nothing, and one for each kind of planted copy.

    Args:
        splits: how often the images are shared out anew.
        control_splits: in so many of them copies are planted, among other real images.
        kinds: what stands in place of generated images: other real images ("real"), the same blurred, those nearest to
            the mean ("narrow"), or few of them drawn again and again with noise.
        image_size: side in pixels, a multiple of 2.
        num_train: training images.
        num_images: held-out images, and as many generated ones.
        efficientnet: features of EfficientNet-Lite0, which takes far longer, in place of means and steps of places.
        seed: of everything.
    """
    images, _, _ = load_dataset()
    cells = np.stack([to_canvas(Image.fromarray(image), image_size, image_size, 1) for image in images])
    cells = cells[np.sort(np.unique(cells.reshape(len(cells), -1), axis=0, return_index=True)[1])]
    network = efficientnet_lite0() if efficientnet else Means()
    with tempfile.TemporaryDirectory() as scratch:
        computed = FeatureCache(Path(scratch), Path(scratch), network)
        print("| in place of generated images | splits | with an alarm | share, 95 % interval | by |")
        print("| --- | --- | --- | --- | --- |")
        for kind in kinds:
            by: Counter[str] = Counter()
            alarmed = 0
            for number in tqdm(range(splits), desc=kind, leave=False):
                alarms = search(shared_out(cells, kind, num_train, num_images, computed, [seed, number])).alarms
                alarmed += any(alarms.values())
                by.update(name for name, alarm in alarms.items() if alarm)
            causes = "; ".join(f"{name} {count}" for name, count in by.most_common()) or "none"
            print(f"| {kind} | {splits} | {alarmed} | {interval(alarmed, splits)} | {causes} |", flush=True)
        if control_splits:
            print("\n| planted copies | splits | planted | found | share, 95 % interval |")
            print("| --- | --- | --- | --- | --- |")
        planted: Counter[str] = Counter()
        found: Counter[str] = Counter()
        for number in tqdm(range(control_splits), desc="planted", leave=False):
            evidence = shared_out(cells, "real", num_train, num_images, computed, [seed, number])
            for kind, result in control(evidence, search(evidence)).items():
                planted[kind] += result["planted"]
                found[kind] += result["found"]
        for kind, count in planted.items():
            print(
                f"| {kind} | {control_splits} | {count} | {found[kind]} | {interval(found[kind], count)} |", flush=True
            )


class Means(nn.Module):
    """Means over 8 x 8 places of an image and of its steps from line to line."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.scale * images, images.diff(dim=2).abs()
        return torch.cat([F.adaptive_avg_pool2d(some, 8).flatten(1) for some in maps], dim=1)


class InMemory(CanvasStore):
    """Grey images (N, 1, H, W) uint8 that are there already."""

    def __init__(self, images: np.ndarray) -> None:
        count = len(images)
        about = {"channels": 1, "image_size": images.shape[2:], "source_fingerprint": "memory"}
        about |= {"class_names": None, "defect_names": None}
        names = [str(number) for number in range(count)]
        super().__init__(about, names, [0] * count, names, [digest([image]) for image in images], [])
        self._images = images

    def _read(self, index: int, rows: slice, cols: slice) -> np.ndarray:
        return self._images[index, :, rows, cols]


def shared_out(
    cells: np.ndarray, kind: str, num_train: int, num_images: int, computed: FeatureCache, seed: list[int]
) -> Evidence:
    """One split: training and held-out images, and others in place of generated ones."""
    draw = np.random.default_rng(seed)
    train, held_out, others = np.split(draw.permutation(cells), [num_train, num_train + num_images])
    made = GENERATORS[kind](others, num_images, draw)
    store = InMemory(np.concatenate([train, held_out, made]))
    parts = np.split(np.arange(len(store)), [num_train, num_train + num_images])
    training, unseen, generated = map(ImageSet, ("training", "held-out", "generated"), (store,) * 3, parts)
    return Evidence(
        generated=generated,
        compared=generated,
        reference=unseen,
        other=training.take(num_images),
        train=training,
        holdout=unseen,
        grid=Grid(2, 2, store.height, store.width),
        has_grid=True,
        computed=computed,
        seed=seed[-1],
        pipe=None,
        normal_class=None,
    )


def real(others: np.ndarray, count: int, draw: np.random.Generator) -> np.ndarray:
    return others[:count]


def blurred(others: np.ndarray, count: int, draw: np.random.Generator) -> np.ndarray:
    smooth = F.avg_pool2d(torch.from_numpy(others[:count]).float(), 3, 1, 1, count_include_pad=False)
    return smooth.round().to(torch.uint8).numpy()


def narrow(others: np.ndarray, count: int, draw: np.random.Generator) -> np.ndarray:
    apart = np.square(others - others.mean(0)).mean((1, 2, 3))
    return others[np.argsort(apart)[:count]]


def again(pictures: int) -> Callable[[np.ndarray, int, np.random.Generator], np.ndarray]:
    def few(others: np.ndarray, count: int, draw: np.random.Generator) -> np.ndarray:
        chosen = others[draw.integers(pictures, size=count)]
        return np.clip(chosen + draw.normal(scale=NOISE, size=chosen.shape), 0, 255).astype(np.uint8)

    return few


GENERATORS = {
    "real": real, "blurred": blurred, "narrow": narrow, "twenty-pictures": again(20), "three-pictures": again(3)
}  # fmt: skip


def interval(count: int, of: int) -> str:
    low, high = binomtest(count, of).proportion_ci(0.95, method="exact")
    return f"{count / of:.1%} ({low:.1%} to {high:.1%})"


if __name__ == "__main__":
    tyro.cli(main)
