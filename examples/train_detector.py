"""Does a detector of defects find more with synthetic boxes beside the real ones?

    pip install "magical-hub[coco]"
    python examples/train_detector.py --output-dir runs/detector

Few real packages with defects, a generator trained on these same few, and a small detector taught twice: with real
boxes alone, and with real and synthetic ones, as many steps each. Both are measured by mean average precision on the
same other packages (pycocotools). One run is one draw: look at several seeds before you believe a difference.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
import tyro
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor, nn
from torch.nn import functional as F

from magical_hub import MagicalPipeline, TrainingConfig, augment_dataset, train
from magical_hub.data import package_dataset
from magical_hub.export import write_dataset

STRIDE = 8
"""Pixels of a cell of the detector's map."""


@dataclass
class Config:
    """What is compared, and how long."""

    output_dir: Path
    num_real: int = 200
    """Packages that generator and detector learn from, half of them defective."""
    num_synthetic: int = 600
    num_test: int = 400
    image_size: int = 128
    generator_steps: int = 6000
    detector_steps: int = 1500
    batch_size: int = 16
    seed: int = 0
    checkpoint: str | None = None
    """A trained generator; None trains one on the same real packages."""


class Detector(nn.Module):
    """A CNN that says for each cell of 8 px whether a defect's centre lies in it, which, and how far its sides are."""

    def __init__(self, num_classes: int, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for number, stride in enumerate((1, 2, 2, 2, 1, 1)):
            wider = min(width * 2 ** (number // 2), 4 * width)
            layers += [nn.Conv2d(channels, wider, 3, stride, 1, bias=False), nn.BatchNorm2d(wider), nn.ReLU()]
            channels = wider
        self.body = nn.Sequential(*layers, nn.Conv2d(channels, num_classes + 4, 1))
        nn.init.constant_(self.body[-1].bias[:num_classes], -4.0)  # few cells have a defect

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits (N, classes, h, w), and distances to the four sides in cells (N, 4, h, w)."""
        maps = self.body(images)
        return maps[:, :-4], F.softplus(maps[:, -4:])


def arrays(dataset: datasets.Dataset) -> tuple[Tensor, list[list[dict[str, Any]]]]:
    """Images (N, 3, H, W) in [-1, 1], and the objects of each."""
    images = np.stack([np.asarray(image.convert("RGB")) for image in dataset["image"]])
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1, list(dataset["objects"])


def targets(objects: list[list[dict[str, Any]]], shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """What the detector should say: class maps (N, classes, h, w), and sides (N, 4, h, w), 0 where no centre lies."""
    classes, sides = torch.zeros(shape), torch.zeros(shape[0], 4, *shape[2:])
    for number, items in enumerate(objects):
        for item in items:
            x, y, width, height = (side / STRIDE for side in item["bbox"])
            across, down = x + width / 2, y + height / 2
            row, col = min(int(down), shape[2] - 1), min(int(across), shape[3] - 1)
            classes[number, item["category"], row, col] = 1
            middle = col + 0.5, row + 0.5
            sides[number, :, row, col] = torch.tensor(
                [middle[0] - x, middle[1] - y, x + width - middle[0], y + height - middle[1]]
            ).clamp(min=0.05)
    return classes, sides


def batches(parts: list[datasets.Dataset], config: Config) -> Iterator[tuple[Tensor, list[list[dict[str, Any]]]]]:
    """Batches of which each part gives its share."""
    rng = np.random.default_rng(config.seed)
    read = [arrays(part) for part in parts]
    for _ in range(config.detector_steps):
        images, objects = [], []
        for pixels, items in read:
            chosen = rng.integers(len(pixels), size=config.batch_size // len(parts))
            images.append(pixels[chosen])
            objects += [items[number] for number in chosen]
        yield torch.cat(images), objects


def teach(parts: list[datasets.Dataset], num_classes: int, config: Config) -> Detector:
    """A detector taught with one set of images, or with equal shares of two."""
    torch.manual_seed(config.seed)
    detector = Detector(num_classes)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=config.detector_steps)
    for images, objects in batches(parts, config):
        logits, sides = detector(images)
        wanted, wanted_sides = targets(objects, logits.shape)
        chances = logits.sigmoid()
        wrong = torch.where(wanted > 0, 1 - chances, chances)  # the focal loss: what is right already counts little
        loss = (wrong**2 * F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")).sum()
        there = wanted.amax(1, keepdim=True) > 0
        loss = loss + ((sides + 0.1).log() - (wanted_sides + 0.1).log()).abs().mul(there).sum()
        optimizer.zero_grad()
        (loss / there.sum().clamp(min=1)).backward()
        optimizer.step()
        schedule.step()
    return detector.eval()


@torch.inference_mode()
def found(detector: Detector, images: Tensor, keep: int = 20) -> list[dict[str, Tensor]]:
    """The boxes of each image: corners in pixels, scores, labels."""
    answers = []
    for some in images.split(32):
        logits, sides = detector(some)
        chances = logits.sigmoid()
        peaks = chances * (chances == F.max_pool2d(chances, 3, 1, 1))  # one box a hill
        for scores, its in zip(peaks, sides, strict=True):
            best, where = scores.flatten().topk(min(keep, scores.numel()))
            labels, cells = where // scores[0].numel(), where % scores[0].numel()
            rows, cols = cells // scores.shape[2], cells % scores.shape[2]
            left, top, right, bottom = its[:, rows, cols]
            x, y = cols + 0.5, rows + 0.5
            boxes = torch.stack([x - left, y - top, x + right, y + bottom], 1) * STRIDE
            answers.append({"boxes": boxes, "scores": best, "labels": labels})
    return answers


def measure(detector: Detector, test: datasets.Dataset) -> dict[str, float]:
    """COCO's mean average precision: over overlaps from 0.5 to 0.95, and at 0.5."""
    results = []
    for number, its in enumerate(found(detector, arrays(test)[0])):
        sizes = its["boxes"][:, 2:] - its["boxes"][:, :2]
        rows = torch.cat([its["boxes"][:, :2], sizes], 1).tolist(), its["scores"].tolist(), its["labels"].tolist()
        results += [
            {"image_id": number, "category_id": label + 1, "bbox": box, "score": score}
            for box, score, label in zip(*rows, strict=True)
        ]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        write_dataset(test, Path(folder) / "coco", "coco")
        truth = COCO(Path(folder) / "coco" / "annotations.json")
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {"mAP": float(evaluation.stats[0]), "mAP at 0.5": float(evaluation.stats[1])}


def generator_of(real: datasets.Dataset, config: Config) -> MagicalPipeline:
    """The checkpoint named, or one trained on the real packages."""
    if config.checkpoint is not None:
        return MagicalPipeline.from_pretrained(config.checkpoint)
    run = config.output_dir / "run"
    settings = TrainingConfig(
        data=real,
        output_dir=str(run),
        label_column="package",
        objects_column="objects",
        image_size=config.image_size,
        rows=4,
        cols=4,
        max_steps=config.generator_steps,
        seed=config.seed,
    )
    train(settings)
    return MagicalPipeline.from_pretrained(run)


def main(config: Config) -> None:
    """Print a table of both detectors."""
    real = package_dataset(config.num_real, config.image_size, seed=config.seed)
    test = package_dataset(config.num_test, config.image_size, seed=config.seed + 1)
    pipe = generator_of(real, config)
    whole = augment_dataset(real, pipe, config.num_synthetic, seed=config.seed, batch_size=16)
    made = whole.select(range(len(real), len(whole)))
    num_classes = len(real.features["label"].names)
    print("| taught with | mAP | mAP at 0.5 |\n| --- | --- | --- |")
    for name, parts in {"real": [real], "real and synthetic": [real, made]}.items():
        scores = measure(teach(parts, num_classes, config), test)
        print(f"| {name} | {scores['mAP']:.3f} | {scores['mAP at 0.5']:.3f} |", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Config))
