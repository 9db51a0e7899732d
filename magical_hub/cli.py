"""The command `magical-hub`: thin; each subcommand calls one public function.

Progress and notes go to stderr; what was asked for (`info`, `--json`) to stdout. Exit codes: 0 done, 2 a user's
mistake (one line on stderr), 1 anything else. Heavy libraries are imported when a subcommand runs, so that `--help`
is fast.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import tyro

from magical_hub.errors import ConfigError, MagicalError, TrainingStopped
from magical_hub.training.config import TrainingConfig

app = tyro.extras.SubcommandApp()


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(TrainingConfig):
    """What `train` does. Every default was chosen for a few hundred to a few thousand images."""

    def __post_init__(self) -> None:
        """Checked when parsing is over, where an error is one line and no box of tyro's."""


@app.command
def train(config: tyro.conf.OmitArgPrefixes[TrainingOptions], json: bool = False) -> None:
    """Train on a folder of images, or a dataset of the Hub. RUN is then a checkpoint.

    Args:
        json: print what was made as one JSON object on stdout.
    """
    from magical_hub.training import train

    result = train(TrainingConfig(**{field.name: getattr(config, field.name) for field in fields(config)}))
    _report(asdict(result), json, f"{result.steps} steps done in {result.seconds:.0f} s: {result.output_dir}")


@app.command
def generate(
    checkpoint: str,
    output_dir: Path,
    num_images: int = 8,
    class_labels: tuple[str, ...] | None = None,
    seed: int = 0,
    truncation_psi: float = 1.0,
    batch_size: int = 8,
    device: str = "cpu",
    json: bool = False,
) -> None:
    """Generate full images as PNG files, exactly as many as asked for.

    Args:
        checkpoint: RUN, an id on the Hub, or a bundled checkpoint's name.
        output_dir: folder for the images, made where it is missing; it must hold no images yet.
        num_images: how many.
        class_labels: a class for all images, or one an image; names or numbers.
        seed: image i hangs on the seed and i alone.
        truncation_psi: 1 keeps all variety; towards 0 images draw near their mean.
        batch_size: images at a time.
        device: cpu, cuda, mps ...
        json: print what was made as one JSON object on stdout.
    """
    from magical_hub import MagicalPipeline
    from magical_hub.export import write_imagefolder

    pipe = MagicalPipeline.from_pretrained(checkpoint)
    try:
        pipe = pipe.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"there is no device {device} here: give cpu, or cuda or mps where there is one") from error
    rows = write_imagefolder(
        pipe,
        output_dir,
        num_images,
        class_labels=class_labels[0] if class_labels and len(class_labels) == 1 else class_labels,
        seed=seed,
        truncation_psi=truncation_psi,
        batch_size=batch_size,
    )
    _report({"output_dir": str(output_dir), "images": rows}, json, f"{len(rows)} images: {output_dir}")


@app.command
def info(checkpoint: str, json: bool = False) -> None:
    """Say what a checkpoint is.

    Args:
        checkpoint: RUN, an id on the Hub, or a bundled checkpoint's name.
        json: print it as one JSON object on stdout.
    """
    from magical_hub.checkpoint import describe

    about = describe(checkpoint)
    width = max(len(key) for key in about)
    _report(about, json, "\n".join(f"{key:<{width}}  {value}" for key, value in about.items()), out=sys.stdout)


def main() -> None:
    """Run the command; a user's mistake is one line on stderr."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    try:
        app.cli(prog="magical-hub", description="Few, large, aligned images in; many labelled ones out.")
    except MagicalError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except TrainingStopped as stop:
        print(stop, file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if error.errno is None:
            raise
        where = f" ({error.filename})" if error.filename else ""
        print(
            f"error: {os.strerror(error.errno)}{where}: nothing made before is lost; mend it and try again",
            file=sys.stderr,
        )
        sys.exit(1)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)


def _report(about: dict[str, Any], as_json: bool, text: str, out: Any = sys.stderr) -> None:
    if os.environ.get("RANK", "0") != "0":  # under `accelerate launch` the first process speaks for all
        return
    if as_json:
        print(json.dumps(about, default=str))
    else:
        print(text, file=out)


if __name__ == "__main__":
    main()
