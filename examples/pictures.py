"""The pictures of the README: rendered packages, and generated ones of the same types in the same order.

python examples/pictures.py --output-dir docs/pictures
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tyro

from magical_hub import MagicalPipeline
from magical_hub.data import render_package
from magical_hub.pictures import save_picture_grid

COUNT = 24


def main(output_dir: Path, checkpoint: str = "package-128", seed: int = 1) -> None:
    """Write OUTPUT_DIR/rendered.png and OUTPUT_DIR/generated.png, six columns each."""
    rendered = [render_package(index, image_size=128, seed=seed) for index in range(COUNT)]
    save_picture_grid(
        np.stack([package.image.transpose(2, 0, 1) for package in rendered]), output_dir / "rendered.png", columns=6
    )
    pipe = MagicalPipeline.from_pretrained(checkpoint)
    labels = [package.package for package in rendered]
    images: Any = pipe(class_labels=labels, seeds=range(COUNT), output_type="pt").images
    save_picture_grid((images * 255).round().byte().numpy(), output_dir / "generated.png", columns=6)


if __name__ == "__main__":
    tyro.cli(main)
