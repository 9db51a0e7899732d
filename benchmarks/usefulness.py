"""Whether synthetic images make a detector better, over the number of real ones: a table and a picture.

    pip install "magical-hub[bench]"
    OMP_NUM_THREADS=1 python benchmarks/usefulness.py --output-dir runs/usefulness --max-minutes 10

For each number of real images a generator is trained on just those (some of which it only watches itself by), and the
detectors get the same ones. Two kinds of image: the ELPV solar cells (CC BY-NC-SA 4.0), defective where the labels say
so with more than one half; and procedural packages, normal or defective. Each answer is kept as JSON and not sought
again, so that a run that was cut off goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import tyro
from elpv_dataset.utils import load_dataset
from PIL import Image

from magical_hub import MagicalPipeline, TrainingConfig, train
from magical_hub.data import render_package, to_canvas
from magical_hub.data.canvas import digest
from magical_hub.evaluation.usefulness import draw_usefulness, measure_usefulness
from magical_hub.files import write_text, written_whole

HEADER = """\
| data | real | detector | real only | + classical | + procedural | + synthetic | synthetic | difference | verdict |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""
ARMS = ("real only", "real + classical", "real + procedural", "real + synthetic", "synthetic only")


class Labelled(NamedTuple):
    """Images (N, C, H, W) uint8, 0 (normal) or 1 (defective) for each, and defective pixels where they are known."""

    images: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None


def main(
    output_dir: Path,
    data: tuple[str, ...] = ("elpv", "packages"),
    counts: tuple[int, ...] = (50, 100, 200, 500),
    image_size: int = 128,
    max_minutes: float = 10,
    max_steps: int = 1_000_000,
    num_test: int = 600,
    seeds: int = 8,
    steps: int = 300,
    num_extra: int = 200,
    seed: int = 0,
) -> None:
    """Print a row for each number of real images and each detector; write JSON and pictures.

    Args:
        output_dir: where to; the runs of the generators too.
        data: "elpv", "packages" or both.
        counts: numbers of real images; the smaller sets are parts of the larger.
        image_size: side in pixels, a multiple of 16.
        max_minutes: minutes of training for each generator.
        max_steps: steps of training at the most.
        num_test: test images, never trained on.
        seeds: how often each detector is taught.
        steps: of each classifier.
        num_extra: further images of each kind for each seed.
        seed: of the choice of images, the training and the detectors.
    """
    print(HEADER)
    for name in data:
        everything: Labelled | None = None
        results = {}
        for count in counts:
            folder = output_dir / f"{name}-{count}"
            if not (folder / "usefulness.json").exists():
                if everything is None:
                    everything = SOURCES[name](max(counts) + num_test, image_size, seed)
                real, test = part(everything, num_test, num_test + count), part(everything, 0, num_test)
                pipe = generator(real, folder, image_size, max_minutes, max_steps, seed)
                result = measure_usefulness(
                    pipe,
                    real.images,
                    real.labels,
                    test.images,
                    test.labels,
                    normal_class=0,
                    test_masks=test.masks,
                    seeds=seeds,
                    steps=steps,
                    num_extra=num_extra,
                    seed=seed,
                )
                if result.tasks:
                    with written_whole(folder / "usefulness.png") as beside:
                        beside.write_bytes(draw_usefulness(result))
                write_text(folder / "usefulness.json", json.dumps(result.to_json()))
            results[count] = json.loads((folder / "usefulness.json").read_text())
            print_rows(name, count, results[count])
        draw_curves(results, output_dir / f"{name}.png")


def solar_cells(count: int, image_size: int, seed: int) -> Labelled:
    images, probabilities, _ = load_dataset()
    cells = [to_canvas(Image.fromarray(image), image_size, image_size, 1) for image in images]
    firsts = sorted({digest([cell]): number for number, cell in reversed(list(enumerate(cells)))}.values())
    chosen = np.random.default_rng(seed).permutation(firsts)[:count]
    return Labelled(np.stack([cells[i] for i in chosen]), (probabilities[chosen] > 0.5).astype(np.int64), None)


def packages(count: int, image_size: int, seed: int) -> Labelled:
    made, sound = (
        [render_package(number, image_size, seed, defect_rate=rate) for number in range(count)] for rate in (0.5, 0.0)
    )
    images = np.stack([picture.image for picture in made])
    twins = np.stack([picture.image for picture in sound])  # the same light and noise, without the defect
    masks = np.abs(images.astype(np.int16) - twins).max(-1) > 10
    labels = np.array([picture.defect is not None for picture in made], dtype=np.int64)
    return Labelled(images.transpose(0, 3, 1, 2), labels, masks)


SOURCES: dict[str, Callable[[int, int, int], Labelled]] = {"elpv": solar_cells, "packages": packages}


def part(all_of_them: Labelled, start: int, stop: int) -> Labelled:
    return Labelled(*(None if values is None else values[start:stop] for values in all_of_them))


def generator(
    real: Labelled, folder: Path, image_size: int, max_minutes: float, max_steps: int, seed: int
) -> MagicalPipeline:
    """Trained on these images, or found where it was."""
    pixels = real.images.transpose(0, 2, 3, 1)
    pictures = [Image.fromarray(one[..., 0] if one.shape[-1] == 1 else one) for one in pixels]
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["normal", "defective"])}
    )
    table = datasets.Dataset.from_dict({"image": pictures, "label": real.labels.tolist()}, features=features)
    return trained(
        folder,
        data=table,
        label_column="label",
        class_balance=True,
        image_size=image_size,
        max_minutes=max_minutes,
        max_steps=max_steps,
        seed=seed,
    )


def trained(folder: Path, **settings: Any) -> MagicalPipeline:
    """A generator trained with these settings on all images given, none held out; or found where it was."""
    if not (folder / "model_index.json").exists():
        train(TrainingConfig(output_dir=str(folder), rows=4, cols=4, holdout_fraction=0, resume=True, **settings))
    return MagicalPipeline.from_pretrained(folder)


def print_rows(name: str, count: int, result: dict[str, Any]) -> None:
    for task, answer in result["tasks"].items():
        measure = next(iter(answer["scores"]["real only"]))
        cells = [f"{np.mean(answer['scores'][arm][measure]):.3f}" if arm in answer["scores"] else "" for arm in ARMS]
        first = answer["comparisons"][0]
        print(
            f"| {name} | {count} | {task.replace('_', ' ')}, {measure} | {' | '.join(cells)} "
            f"| {first['difference']:+.3f} ({first['low']:+.3f} to {first['high']:+.3f}) | {first['verdict']} |",
            flush=True,
        )


def draw_curves(results: dict[int, dict[str, Any]], picture: Path) -> None:
    """The scores of each arm over the number of real images, with their deviation over seeds, as a PNG."""
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(task for result in results.values() for task in result["tasks"]))
    if not tasks:
        return
    figure = Figure(figsize=(6 * len(tasks), 4.5), layout="tight")
    for axis, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        answers = {
            count: result["tasks"][task]["scores"] for count, result in results.items() if task in result["tasks"]
        }
        measure = next(iter(next(iter(answers.values()))["real only"]))
        for arm in ARMS:
            points = {count: scores[arm][measure] for count, scores in answers.items() if arm in scores}
            if points:
                means, deviations = ([of(values) for values in points.values()] for of in (np.mean, np.std))
                axis.errorbar(list(points), means, deviations, label=arm, marker="o", capsize=3)
        axis.set(title=task.replace("_", " ").capitalize(), xlabel="real images", ylabel=measure, xscale="log")
        axis.set_xticks(list(answers), [str(count) for count in answers])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    with written_whole(picture) as beside:
        figure.savefig(beside, format="png", dpi=100)


if __name__ == "__main__":
    tyro.cli(main)
