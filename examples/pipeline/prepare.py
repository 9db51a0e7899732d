"""Packages with labelled defects as folders: a folder a package, boxes in metadata.jsonl. Put your own images here."""

from __future__ import annotations

from pathlib import Path

import yaml

from magical_hub.data import package_dataset
from magical_hub.export import write_dataset


def main() -> None:
    """Write data/train and data/test, of different packages."""
    settings = yaml.safe_load(Path("params.yaml").read_text())["prepare"]
    for number, part in enumerate(("train", "test")):
        packages = package_dataset(settings[f"num_{part}"], settings["image_size"], seed=2 * settings["seed"] + number)
        packages = packages.remove_columns("label").rename_column("package", "label")  # the boxes name the defects
        write_dataset(packages, Path("data") / part, "imagefolder")


if __name__ == "__main__":
    main()
