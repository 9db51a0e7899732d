"""What people watch a run by: pictures, seams, KID on the validation part, and the lines of history.jsonl."""

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
from magical_hub.training.curves import draw_curves
from magical_hub.training.history import Figures, History
from magical_hub.training.split import Split

WATCHED, WATCHED_PIXELS = 64, 2**24
"""Images, real and generated, behind a sample's figures: so many, or as many as make so many pixels, 8 at least."""
LARGE = 2**22
"""Pixels of a canvas beyond which no whole image is held: windows of it are watched instead."""
WINDOW_SIDE, WINDOW_PLACES = 512, 8
"""Side in pixels of such a window (about: it holds whole sub-regions, two at least, whose seam is then seen), and at
how many places of the canvas they lie."""


class View:
    """What is watched of image number i: all of it or, of a large canvas, a window at place i modulo their number.

    Args:
        store: the real images.
        grid: the grid of the canvas.
        indices: the store's numbers of the real images to watch.
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
        places = grid.window_locations(self.window)
        self.locations = places[np.unique(np.linspace(0, len(places) - 1, WINDOW_PLACES).round().astype(int))]
        self.count = min(WATCHED, max(8, WATCHED_PIXELS // (self.grid.height * self.grid.width)))

    def real(self, numbers: np.ndarray) -> np.ndarray:
        """Of the real images of these numbers, from 0: (n, C, H, W) uint8."""
        return self.store.crop(
            self.canvas_grid, self.indices[numbers], self.locations[numbers % len(self.locations)], self.window
        )

    def made(self, generator: Generator, numbers: np.ndarray) -> np.ndarray:
        """Of the images that a generator makes of the seeds of these numbers: (n, C, H, W) uint8."""
        pipe = MagicalPipeline(generator)
        pipe.set_progress_bar_config(disable=True)
        if self.window == (self.canvas_grid.rows, self.canvas_grid.cols):
            images: Any = pipe(seeds=numbers.tolist(), output_type="pt").images
        else:
            images = torch.stack([self._window(pipe, int(number)) for number in numbers])
        made: np.ndarray = (images * 255).round().to(torch.uint8).numpy()
        return made

    def _window(self, pipe: MagicalPipeline, number: int) -> torch.Tensor:
        rows, cols = self.canvas_grid.span(int(self.locations[number % len(self.locations)]), self.window)
        size = rows.stop - rows.start, cols.stop - cols.start
        window: torch.Tensor = pipe.region(rows.start, cols.start, *size, seed=number, output_type="pt")
        return window


class Watcher:
    """Every process keeps one, since all share in the means; the main process alone looks and writes.

    Args:
        config: its output_dir is where the files go.
        accelerator: the processes and the trackers.
        store: the real images.
        split: the validation part is what generated images stand beside; the training part where there is none.
        grid: the grid of the canvas.
        step: steps done before.
    """

    def __init__(
        self, config: TrainingConfig, accelerator: Accelerator, store: CanvasStore, split: Split, grid: Grid, step: int
    ) -> None:
        self.config, self.accelerator, self.first_step = config, accelerator, step
        self.run_folder = Path(config.output_dir)
        self.view = View(store, grid, np.asarray(split.validation or split.train))
        self.steps = Figures(accelerator)
        self.history = History(self.run_folder / "history.jsonl", step) if accelerator.is_main_process else None
        self.measured: dict[str, float] = {}
        """What was measured on generated images since the last line."""
        self.figures: dict[str, float] = {}
        """The last value of every figure."""
        self.feature_network: FeatureNetwork | None = None
        if config.validate and accelerator.is_main_process:
            self.feature_network = efficientnet_lite0()  # now, and not when the first checkpoint is due
        self.curves_are_due = False

    def sample(self, step: int, generator: Generator) -> None:
        """Pictures of fixed latents under the real ones, the relative seam ratio and the relative variety."""
        numbers = np.arange(self.view.count)
        real = self.view.real(numbers[: len(self.view.indices)])
        made = self.view.made(generator, numbers)
        save_picture_grid(
            np.concatenate([real[:8], made[:32]]) if len(real) >= 8 else made[:32],
            self.run_folder / "samples" / f"step-{step:08d}.png",
            columns=8,
        )
        ratios = {f"seams/{name}": x for name, x in relative_seam_ratio(made, real, self.view.grid)._asdict().items()}
        ratios["variety/nearest"] = relative_variety(made, real)
        self.curves_are_due = True
        # A direction without seams has no ratio.
        self.measured |= {name: ratio for name, ratio in ratios.items() if np.isfinite(ratio)}

    def validate(self, generator: Generator) -> float:
        """KID between images of fixed seeds and the validation part, on the bundled feature network."""
        network = self.feature_network
        assert network is not None, "config.validate is off"
        numbers = np.arange(len(self.view.indices))
        parts = np.split(numbers, range(self.view.count, len(numbers), self.view.count))  # never all pixels at once

        def features(images: np.ndarray) -> np.ndarray:
            return extract(images.astype(np.float32) / 127.5 - 1, network)

        real = np.concatenate([features(self.view.real(part)) for part in parts])
        made = np.concatenate([features(self.view.made(generator, part)) for part in parts])
        self.measured["validation/kid"] = score = float(kid(real, made).mean)
        return score

    def draw_curves(self) -> None:
        """Draw curves.png anew where there was a sample since: a picture a line would cost more than the steps."""
        if self.curves_are_due:
            draw_curves(self.run_folder / "history.jsonl", self.run_folder / "curves.png")
        self.curves_are_due = False

    def log(self, step: int, seconds: float, bar: Any) -> None:
        """A line of history.jsonl, the tracker's and the bar's; all processes must call it together."""
        line = self.steps.summary().means | self.measured
        self.steps.clear()
        self.measured = {}
        self.figures |= line
        if self.history is None:
            return
        self.history.write(step, seconds, line)
        self.accelerator.log(line, step=step)
        self.draw_curves()
        minutes, steps = self.config.max_minutes, self.config.max_steps
        assert steps is not None, "the run has settled it"
        if minutes is not None:  # so that the bar's time left is that of whichever comes first
            bar.total = min(steps, self.first_step + round((step - self.first_step) * minutes * 60 / seconds))
        # "critic/adversarial" is "D adver" here: the bar has one line.
        players = {"critic": "D", "generator": "G"}
        terms = [name.split("/") for name in self.figures if name.split("/")[0] in players and "_" not in name]
        bar.set_postfix({f"{players[p]} {term[:5]}": f"{self.figures[f'{p}/{term}']:.2g}" for p, term in terms})
