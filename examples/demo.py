"""Images from the bundled checkpoints: a sheet of each, and a few PNG files of one image each.

python examples/demo.py --output-dir demo
"""

from __future__ import annotations

from pathlib import Path

import tyro

from magical_hub import MagicalPipeline
from magical_hub.export import write_imagefolder
from magical_hub.pictures import save_picture_grid

SHEETS = {"solar-cells-128": ("solar-cells.png", 48, 8), "package-512": ("packages.png", 6, 3)}
"""The checkpoints shown; of each the name of its sheet, how many images it has, and in how many columns."""


def main(output_dir: Path = Path("demo"), seed: int = 0) -> None:
    """Write the sheets and OUTPUT_DIR/images/*.png, in place of what an earlier demo wrote."""
    pipes = {checkpoint: MagicalPipeline.from_pretrained(checkpoint) for checkpoint in SHEETS}
    for checkpoint, (sheet, count, columns) in SHEETS.items():
        images = pipes[checkpoint](seeds=range(seed, seed + count), output_type="pt").images
        save_picture_grid((images * 255).round().byte().numpy(), output_dir / sheet, columns)
    for old in (output_dir / "images").glob("*.png"):
        old.unlink()
    write_imagefolder(pipes["solar-cells-128"], output_dir / "images", num_images=6, seed=seed)
    sheets = " and ".join(str(output_dir / sheet) for sheet, _, _ in SHEETS.values())
    print(f"look at {sheets}, and at single images in {output_dir / 'images'}")


if __name__ == "__main__":
    tyro.cli(main)
