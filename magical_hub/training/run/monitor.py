"""How a run is monitored: samples, seams, KID on the validation part, and the lines of history.jsonl."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from magical_hub.data import CanvasStore
from magical_hub.grid import Grid
from magical_hub.metrics import FeatureNetwork, efficientnet_lite0, extract, kid, relative_seam_ratio, relative_variety
from magical_hub.models import Generator
from magical_hub.pictures import save_picture_grid
from magical_hub.pipeline import MagicalPipeline
from magical_hub.training.config import TrainingConfig
from magical_hub.training.run.history import Figures, History, Summary, draw_curves
from magical_hub.training.run.split import Split

MOST_IMAGES, MOST_PIXELS = 64, 2**24
"""Images, real and generated, that a sample's figures are computed from: so many, or as many as have so many pixels,
but at least 8."""
LARGE = 2**22
"""Pixels of a canvas beyond which no whole image is held in memory: windows of it are used instead."""
WINDOW_SIDE, WINDOW_LOCATIONS = 512, 8
"""Side in pixels of such a window (about: it holds whole sub-regions, at least two, so that it has a seam), and the
number of locations of the canvas that they are taken from."""


class Views:
    """What is compared of image number i: all of it or, of a large canvas, a window at location i modulo their number.

    Args:
        store: the real images.
        grid: the grid of the canvas.
        indices: the store's numbers of the real images to compare with.
    """

    def __init__(self, store: CanvasStore, grid: Grid, indices: np.ndarray) -> None:
        self.store, self.canvas_grid, self.indices = store, grid, indices
        self.window = (grid.rows, grid.cols)
        if grid.height * grid.width > LARGE:
            self.window = (
                min(grid.rows, max(2, WINDOW_SIDE // grid.cell_height)),
                min(grid.cols, max(2, WINDOW_SIDE // grid.cell_width)),
            )
        self.grid = grid.window(self.window)
        locations = grid.window_locations(self.window)
        self.locations = locations[np.unique(np.linspace(0, len(locations) - 1, WINDOW_LOCATIONS).round().astype(int))]
        self.count = min(MOST_IMAGES, max(8, MOST_PIXELS // (self.grid.height * self.grid.width)))

    def real(self, numbers: np.ndarray) -> np.ndarray:
        """The views of the real images with these numbers, from 0: (n, C, H, W) uint8."""
        return self.store.crop(
            self.canvas_grid, self.indices[numbers], self.locations[numbers % len(self.locations)], self.window
        )

    def generated(self, generator: Generator, numbers: np.ndarray) -> np.ndarray:
        """The views of the images that a generator makes of these numbers as seeds: (n, C, H, W) uint8."""
        pipe = MagicalPipeline(generator)
        pipe.set_progress_bar_config(disable=True)
        if self.window == (self.canvas_grid.rows, self.canvas_grid.cols):
            images: Any = pipe(seeds=numbers.tolist(), output_type="pt").images
        else:
            images = torch.stack([self._window(pipe, int(number)) for number in numbers])
        pixels: np.ndarray = (images * 255).round().to(torch.uint8).numpy()
        return pixels

    def _window(self, pipe: MagicalPipeline, number: int) -> torch.Tensor:
        rows, cols = self.canvas_grid.span(int(self.locations[number % len(self.locations)]), self.window)
        size = rows.stop - rows.start, cols.stop - cols.start
        window: torch.Tensor = pipe.region(rows.start, cols.start, *size, seed=number, output_type="pt")
        return window


class Monitor:
    """Samples and figures of a run. Every process has one, for the means; only the main process writes.

    Args:
        config: its output_dir is where the files go.
        accelerator: the processes and the trackers.
        store: the real images.
        split: generated images are compared with the validation part, or with the training part where there is none.
        step: steps done before this session.
    """

    def __init__(
        self, config: TrainingConfig, accelerator: Accelerator, store: CanvasStore, split: Split, step: int
    ) -> None:
        self.config, self.accelerator, self.first_step = config, accelerator, step
        self.run_folder = Path(config.output_dir)
        self.views = Views(store, config.grid, np.asarray(split.validation or split.train))
        self.since_last_line = Figures(accelerator)
        self.history = History(self.run_folder / "history.jsonl", step) if accelerator.is_main_process else None
        self.measured: dict[str, float] = {}
        """The figures of generated images since the last line."""
        self.figures: dict[str, float] = {}
        """The last value of every figure."""
        self.feature_network: FeatureNetwork | None = None
        if config.validate and accelerator.is_main_process:
            self.feature_network = efficientnet_lite0()  # now, so that a missing package is not found out later

    def sample(self, step: int, generator: Generator) -> None:
        """Write a picture grid of real images and of those of fixed seeds; compute relative seam ratio and variety."""
        numbers = np.arange(self.views.count)
        real = self.views.real(numbers[: len(self.views.indices)])
        fake = self.views.generated(generator, numbers)
        save_picture_grid(
            np.concatenate([real[:8], fake[:32]]) if len(real) >= 8 else fake[:32],
            self.run_folder / "samples" / f"step-{step:08d}.png",
            columns=8,
        )
        ratios = {f"seams/{name}": x for name, x in relative_seam_ratio(fake, real, self.views.grid)._asdict().items()}
        ratios["variety/nearest"] = relative_variety(fake, real)
        # A direction without seams has no ratio.
        self.measured |= {name: ratio for name, ratio in ratios.items() if np.isfinite(ratio)}

    def validate(self, generator: Generator) -> float:
        """KID between images of fixed seeds and the validation part, on the bundled feature network."""
        network = self.feature_network
        assert network is not None, "config.validate is off"
        numbers = np.arange(len(self.views.indices))
        parts = np.split(numbers, range(self.views.count, len(numbers), self.views.count))  # not all pixels at once

        def features(images: np.ndarray) -> np.ndarray:
            return extract(images.astype(np.float32) / 127.5 - 1, network)

        real = np.concatenate([features(self.views.real(part)) for part in parts])
        fake = np.concatenate([features(self.views.generated(generator, part)) for part in parts])
        self.measured["validation/kid"] = score = float(kid(real, fake).mean)
        return score

    def log(self, summary: Summary, step: int, seconds: float, bar: Any) -> None:
        """Write a line of the figures since the last one to history.jsonl, to the tracker and to the progress bar.

        All processes must call it together. `seconds` are those of this session.
        """
        line, sampled = summary.means | self.measured, bool(self.measured)
        self.since_last_line.clear()
        self.measured = {}
        self.figures |= line
        if self.history is None:
            return
        self.history.write(step, seconds, line)
        self.accelerator.log(line, step=step)
        if sampled:  # at every line it would cost more than the steps
            draw_curves(self.history.path, self.run_folder / "curves.png")
        minutes, steps = self.config.max_minutes, self.config.max_steps
        assert steps is not None, "chosen before the first step"
        if minutes is not None:  # the bar's time left is that of whichever ends first
            expected = self.first_step + round((step - self.first_step) * minutes * 60 / seconds)
            bar.total = max(step, min(steps, expected))
        # "critic/adversarial" is "D adver" here: the bar has one line.
        networks = {"critic": "D", "generator": "G"}
        terms = [name.split("/") for name in self.figures if name.split("/")[0] in networks and "_" not in name]
        bar.set_postfix({f"{networks[n]} {term[:5]}": f"{self.figures[f'{n}/{term}']:.2g}" for n, term in terms})
