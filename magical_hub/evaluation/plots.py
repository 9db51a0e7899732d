"""The pictures of the report, as PNG files in memory."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from magical_hub.evaluation.section import Outcome
from magical_hub.pictures import picture_grid

LARGEST, SMALLEST = 256, 96
"""Longer side in pixels of an image in a sheet, about: the report is one file."""

COLOURS: dict[Outcome, str] = {"helps": "tab:green", "harms": "tab:red", "no gain": "tab:red", "not shown": "tab:gray"}
"""The colour of a difference by what it shows."""


def sheet(images: np.ndarray, columns: int) -> bytes:
    """Images (N, C, H, W) uint8 side by side, large ones made smaller, and small ones larger by whole pixels."""
    times = max(1, SMALLEST // max(images.shape[2:]))
    images = images.repeat(times, axis=2).repeat(times, axis=3)
    step = -(-max(images.shape[2:]) // LARGEST)
    height, width = images.shape[2] // step, images.shape[3] // step
    whole = images[:, :, : height * step, : width * step].reshape(*images.shape[:2], height, step, width, step)
    file = io.BytesIO()
    Image.fromarray(picture_grid(whole.mean((3, 5)).round().astype(np.uint8), columns)).save(file, format="PNG")
    return file.getvalue()


def heat_maps(maps: Mapping[str, np.ndarray]) -> bytes:
    """Maps (h, w) by their titles, two in a row, each row on one scale."""
    titles = list(maps)
    figure = Figure(figsize=(9, 4 * -(-len(titles) // 2)), layout="constrained")
    axes = figure.subplots(-(-len(titles) // 2), 2, squeeze=False)
    for row, pair in enumerate(zip(titles[::2], titles[1::2], strict=True)):
        top = max(float(maps[title].max()) for title in pair)
        for axis, title in zip(axes[row], pair, strict=True):
            drawn = axis.imshow(maps[title], vmin=0, vmax=top, cmap="magma")
            axis.set_title(title)
            axis.set_axis_off()
        figure.colorbar(drawn, ax=list(axes[row]), label="grey levels", shrink=0.8)
    return as_png(figure)


def histograms(panels: Mapping[str, Mapping[str, np.ndarray]], unit: str) -> bytes:
    """Panels with the distributions of several sets of values; the names of the sets are those of all panels."""
    figure = Figure(figsize=(4.2 * len(panels), 3.3), layout="constrained")
    for axis, (title, sets) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        bins = np.histogram_bin_edges(np.concatenate(list(sets.values())), 40).tolist()
        for name, values in sets.items():
            axis.hist(values, bins, histtype="step", density=True, label=name)
        axis.set(title=title, xlabel=unit)
        axis.set_yticks([])
    figure.legend(*axis.get_legend_handles_labels(), fontsize="small", loc="outside lower center", ncols=len(sets))
    return as_png(figure)


def bars(names: Sequence[str], series: Mapping[str, Sequence[float]], unit: str) -> bytes:
    """Groups of bars: one group per name, in it one bar per series."""
    figure = Figure(figsize=(1.5 + 1.3 * len(names), 3.4), layout="constrained")
    axis = figure.subplots()
    width = 0.8 / len(series)
    for number, (name, values) in enumerate(series.items()):
        axis.bar(np.arange(len(names)) + number * width, values, width, label=name)
    axis.set_xticks(np.arange(len(names)) + 0.4 - width / 2, names)
    axis.set_ylabel(unit)
    figure.legend(fontsize="small", loc="outside lower center", ncols=2)
    return as_png(figure)


def draw_scores(axis: Any, arms: Mapping[str, Sequence[float]]) -> None:
    """Draw the scores of arms, one row per arm: one point per detector, and a line at their mean."""
    for place, values in enumerate(arms.values()):
        axis.plot(values, np.full(len(values), place), "o", alpha=0.5, color="tab:blue", markersize=5)
        axis.plot(np.mean(values), place, "|", markersize=16, markeredgewidth=2, color="black")
    _name_rows(axis, list(arms))


def draw_differences(axis: Any, rows: Mapping[str, tuple[float, float, float, Outcome]]) -> None:
    """Draw differences with their intervals, a row each: the difference, both ends, and what it shows."""
    for place, (difference, low, high, shown) in enumerate(rows.values()):
        axis.plot([low, high], [place, place], color=COLOURS[shown], linewidth=3)
        axis.plot(difference, place, "o", color=COLOURS[shown])
    axis.axvline(0, color="black", linewidth=0.8)
    _name_rows(axis, list(rows))


def _name_rows(axis: Any, names: Sequence[str]) -> None:
    axis.set_yticks(range(len(names)), names, fontsize="small")
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.grid(axis="x", alpha=0.3)


def as_png(figure: Figure) -> bytes:
    """A figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90)
    return file.getvalue()
