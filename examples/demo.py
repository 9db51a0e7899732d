"""Images from the bundled checkpoint: a sheet of many, and a few PNG files of one each.

python examples/demo.py --output-dir demo
"""

from __future__ import annotations

from pathlib import Path

import tyro

from magical_hub import MagicalPipeline
from magical_hub.export import write_imagefolder
from magical_hub.pictures import save_picture_grid


def main(output_dir: Path = Path("demo"), checkpoint: str = "package-128", seed: int = 0) -> None:
    """Write OUTPUT_DIR/packages.png and OUTPUT_DIR/images/*.png, in place of what an earlier demo wrote."""
    pipe = MagicalPipeline.from_pretrained(checkpoint)
    images = pipe(seeds=range(seed, seed + 48), output_type="pt").images
    save_picture_grid((images * 255).round().byte().numpy(), output_dir / "packages.png", columns=8)
    for old in (output_dir / "images").glob("*.png"):
        old.unlink()
    write_imagefolder(pipe, output_dir / "images", num_images=6, seed=seed)
    print(f"look at {output_dir / 'packages.png'}, and at single images in {output_dir / 'images'}")


if __name__ == "__main__":
    tyro.cli(main)
