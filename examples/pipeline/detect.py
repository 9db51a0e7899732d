"""A detector of defects, taught with the real images alone and with the synthetic ones beside them.

It is the one of train_detector.py, in the folder above.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import datasets
import yaml

sys.path.append(str(Path(__file__).resolve().parent.parent))

from train_detector import Config, measure, teach

from magical_hub.packages import DEFECTS


def load(folder: Path) -> datasets.Dataset:
    """A folder that `write_dataset` wrote, with numbers for the names of the defects."""
    rows = datasets.load_dataset("imagefolder", data_dir=str(folder), split="train")
    kinds = datasets.ClassLabel(names=list(DEFECTS))
    box = datasets.List(datasets.Value("float32"), length=4)
    objects = datasets.List({"bbox": box, "category": kinds})
    numbered = [
        [{"bbox": item["bbox"], "category": kinds.str2int(item["category"])} for item in items or []]
        for items in rows["objects"]
    ]
    return rows.remove_columns("objects").add_column("objects", numbered, feature=objects)


def main() -> None:
    """Write detect.json: mean average precision on the test images, of both."""
    settings = yaml.safe_load(Path("params.yaml").read_text())["detect"]
    config = Config(Path(), detector_steps=settings["steps"], batch_size=settings["batch_size"], seed=settings["seed"])
    both, test = load(Path("augmented")), load(Path("data/test"))
    real, made = (both.filter(lambda row, wanted=wanted: row["synthetic"] == wanted) for wanted in (False, True))
    scores = {
        name: measure(teach(parts, len(DEFECTS), config), test)
        for name, parts in {"real": [real], "real and synthetic": [real, made]}.items()
    }
    Path("detect.json").write_text(json.dumps(scores))


if __name__ == "__main__":
    main()
