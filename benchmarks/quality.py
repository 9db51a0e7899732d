"""Measure a folder of generated images against a folder of real ones: one row of a Markdown table, and its floor.

    python benchmarks/quality.py --generated images/ --real cells/ --rows 4 --cols 4 --num 600

All figures compare equal numbers, since most of them depend on it. Real images are cut into two halves: one is the
reference, the other, in place of generated images, gives the floor: what a perfect generator would show.
"""

from __future__ import annotations

from pathlib import Path

import tyro

from magical_hub import evaluate
from magical_hub.evaluation import EvaluationReport

HEADER = """\
| images | KID x 1000 | Frechet | precision | recall | density | coverage | seams: rows | cols | variety | coherence |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""


def main(generated: Path, real: Path, rows: int = 4, cols: int = 4, num: int = 600, seed: int = 0) -> None:
    """Print the quality of generated images, and what the real images themselves reach.

    Args:
        generated: folder of images, all of one size, grey or RGB.
        real: folder of images of the same shape.
        rows: rows of sub-regions.
        cols: columns of sub-regions.
        num: images to compare with as many; fewer where the folders hold fewer.
        seed: of which images are taken, and of KID's subsets.
    """
    report = evaluate(generated, real, rows=rows, cols=cols, num_images=num, seed=seed)
    counts, (height, width) = report.about["counts"], report.about["image_size"]
    print(
        f"{counts['compared']} against {counts['reference']} images of {height} x {width}, {report.about['network']}\n"
    )
    print(HEADER)
    for name, floor, real_end in (("generated", "", ""), ("real (floor)", "_floor", "_real")):
        shown = [
            f"{1000 * report.get_score(f'kid{floor}'):.2f} +- "
            f"{1000 * report.get_score(f'kid{floor}_standard_error'):.2f}",
            f"{report.get_score(f'frechet{floor}'):.1f}",
            *(f"{report.get_score(f'{key}{floor}'):.2f}" for key in ("precision", "recall", "density", "coverage")),
            *(_seams(report, key, bool(floor)) for key in ("rows", "cols")),
            f"{report.get_score(f'variety{floor}'):.2f}",
            ", ".join(f"{report.get_score(f'coherence_{key}{real_end}'):.2f}" for key in ("brightness", "contrast")),
        ]
        print(f"| {name} | {' | '.join(shown)} |", flush=True)


def _seams(report: EvaluationReport, direction: str, floor: bool) -> str:
    """The relative seam ratio; of real images the interval that their halves show."""
    ends = ("_low", "_high") if floor else ("",)
    return " to ".join(f"{report.get_score(f'seam_ratio_{direction}{end}'):.2f}" for end in ends)


if __name__ == "__main__":
    tyro.cli(main)
