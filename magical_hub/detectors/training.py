"""The loop that trains a detector."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from magical_hub.detectors.batches import augmented, classical, rows_of_batches
from magical_hub.detectors.boxes import BoxDetector, as_input
from magical_hub.detectors.labelled import LabelledImages
from magical_hub.detectors.masks import MaskDetector
from magical_hub.detectors.options import DetectorOptions
from magical_hub.errors import DataError, TrainingError


def train_detector(
    real: LabelledImages,
    synthetic: LabelledImages | None = None,
    options: DetectorOptions | None = None,
    seed: int = 0,
    progress: Callable[[int], object] = lambda steps: None,
    device: str = "cpu",
) -> BoxDetector | MaskDetector:
    """Train a detector from nothing: of boxes where the images have boxes, of masks where they have masks.

    The same seed and the same data give the same detector on the same machine with the same number of threads; the
    random state of the process is left as it was.

    Args:
        real: labelled images, with and without defects.
        synthetic: further ones, that have a share of their own in every batch.
        options: how; None takes the defaults.
        seed: of weights, batches and augmentation.
        progress: called with 1 after every step.
        device: where.

    Raises:
        DataError: where real and synthetic images do not go together, or there are no real ones.
        TrainingError: where the loss is not finite.
    """
    options = options or DetectorOptions()
    if not len(real):
        raise DataError("a detector needs at least one real image")
    if synthetic is not None and (
        synthetic.images.shape[1:] != real.images.shape[1:]
        or synthetic.class_names != real.class_names
        or (synthetic.masks is None) != (real.masks is None)
    ):
        raise DataError(
            "synthetic images must have the size, the channels, the classes and the labels of the real ones"
        )
    batches, augmentation = (int(value) for value in np.random.SeedSequence([seed, 1]).generate_state(2))
    height, width = real.images.shape[1:3]
    crop = None if options.crop_size is None else (min(height, options.crop_size), min(width, options.crop_size))
    turns = options.quarter_turns and ((crop is not None and crop[0] == crop[1]) or height == width)
    how = classical(crop, options.augment, turns, real.masks is None, augmentation)
    rows = rows_of_batches(real, synthetic, options, np.random.default_rng(batches))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        kind = MaskDetector if real.boxes is None else BoxDetector
        detector = kind(real.images.shape[-1], len(real.class_names))
        detector.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(
        detector.parameters(), options.learning_rate, weight_decay=options.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, options.steps))
    detector.train()
    for step, chosen in enumerate(rows):
        batch = augmented(chosen, how)
        images = as_input(batch.pop("images"), torch.device(device))
        if "masks" in batch:
            batch["masks"] = torch.from_numpy(batch["masks"]).to(device)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=options.bf16):
            loss = detector.loss(images, **batch)
        if not torch.isfinite(loss):
            raise TrainingError(f"the detector's loss is not finite at step {step}: lower learning_rate")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(detector.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        progress(1)
    return detector.eval()


def _rate(step: int, steps: int) -> float:
    """Share of the highest learning rate: linear warm-up over a tenth of the steps, then a cosine to 0."""
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2
