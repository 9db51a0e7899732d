"""What the tests say of the pages' blocks: what is shortened, what is slow, and what can't run here, and why."""

from __future__ import annotations

from typing import Any

from magical_hub.data import package_dataset

SHORT = {
    "magical-hub train": (
        "--image-size 64 --rows 2 --cols 2 --base-width 8 --max-width 16 --latent-dim 16 --batch-size 4 "
        "--max-steps 2 --mixed-precision no --lambda-f 0"
    ),
    "magical-hub train --preset": "--image-size 48 --rows 3 --cols 3",
    "magical-hub train --resume": "--max-steps 3",
    "magical-hub generate": "--num-images 4",
    "magical-hub augment": "--num-images 4 --keep all --tune-steps 1",
    "magical-hub evaluate": "--num-images 34 --draws 1 --steps 1",
    "python examples/train_detector.py": (
        "--checkpoint RUN --num-real 24 --num-synthetic 4 --num-test 12 --image-size 64 --detector-steps 3 "
        "--batch-size 4"
    ),
}
"""Options put at a command's end: of an option that is given twice, the last one counts."""

SLOW = {
    "magical-hub augment --data IMAGES --num-images 2000 --output-dir TUNED --tune",
    "magical-hub evaluate --checkpoint RUN",
    "magical-hub evaluate --checkpoint ID --real TRAIN --holdout HELDOUT --output-dir REPORT",
    "magical-hub evaluate --generated SYNTHETIC --real TRAIN --holdout HELDOUT --rows 4 --cols 4 --output-dir REPORT "
    "--fail-on-leak",
    "magical-hub evaluate --real IMAGES --usefulness --quick --output-dir WORTH",
    "accelerate launch -m magical_hub.cli train --data IMAGES --output-dir RUN",
    "magical-hub train --data IMAGES --output-dir RUN --push-to-hub OWNER/NAME",
}
"""Lines that take more than a few seconds, or are much like others: they run in `make test-slow`. So do scripts of
examples/, which tests/test_examples.py runs in the quick tests, and lines that README.md has too, which run there."""

SLOW_PAGES = {"docs/augmentation.md", "docs/mlops.md", "docs/training.md"}
"""Pages that take long as a whole: for many trainings, and for the store of MLflow."""

EXIT_CODES = {"magical-hub train --data IMAGES --output-dir RUN --push-to-hub OWNER/NAME": 3}
"""Other than 0: there are too few images to look for copies, so the gate refuses."""

INSTALLS = "it installs packages, which test_package.py and every `make` do"
BENCHMARK = "tests/test_benchmarks.py runs it in a small form"
LOOP = "tests/test_loop.py runs the whole of it"
SERVING = "tests/test_serving.py runs it, and asks the server"
NOT_RUN = {
    "pip install -c constraints.txt '.[eval]'": INSTALLS,
    "pip install -c constraints.txt '.[app]'": INSTALLS,
    "magical-hub app --checkpoint RUN": "it serves until it is stopped: tests/app does that, in a browser",
    "pip install -c constraints.txt '.[mlops,eval,coco]'": INSTALLS,
    "mkdir LOOP && cp -r examples/pipeline examples/train_detector.py LOOP && cd LOOP/pipeline": LOOP,
    "dvc init --no-scm": LOOP,
    "dvc repro": LOOP,
    "python benchmarks/defects.py --data DATA --output-dir OUT --columns.objects objects": BENCHMARK,
    "python benchmarks/defects.py --data DATA --output-dir OUT --columns.mask mask": BENCHMARK,
    "mlflow models serve -m models:/MODEL_ID --env-manager local": SERVING,
    "curl localhost:5000/invocations -H 'Content-Type: application/json' "
    '-d \'{"dataframe_records": [{"seed": 7}]}\'': SERVING,
    "magical-hub augment --data IMAGES --checkpoint RUN --num-images 1000000 --output-dir OUT --engine ray "
    "--ray-address auto": "it needs a cluster: tests/augmentation/test_ray.py starts one of its own",
}
"""Lines of shell that are not run, by their text without the comment."""

NO_CODE = {
    ("docs/mlops.md", "prepare -> train -> evaluate -> gate_report -> augment -> detect -> gate_detector -> push"): (
        "the order of the stages"
    ),
    (
        "docs/mlops.md",
        "gate: seams is 'bad' and must be good or weak: Steps at the seams are not those of real images: ...",
    ): "what a gate prints",
}
"""Blocks that are neither Python nor shell, by page and first line."""

CHANGES: dict[str, dict[str, str]] = {
    "README.md": {
        '"OWNER/magical-hub", "magical_pipeline", "solar-cells-128"': (
            '"{repo}", "magical_pipeline", "solar-cells-128", source="local"'
        ),
        "num_images=2000": "num_images=4",
    },
    "docs/defects.md": {"num_images=2000": "num_images=4"},
    "docs/augmentation.md": {
        "num_images=2000": "num_images=4",
        "num_images=500": "num_images=4",
        "2000, keep=QualityFilter(train_set, pipe)": (
            "4, keep=QualityFilter(train_set.select(range(30)), pipe, outside=1000)"
        ),
        "pool_size=500": "pool_size=12",
    },
    "docs/evaluation.md": {
        '"/models/dinov2"': '"{place}/dinov2"',
        '"runs/cells", network=Dino()': '"RUN", network=Dino(), num_images=34',
    },
    "docs/hub.md": {
        '"COMMIT"': '"{commit}"',
        '"OWNER/magical-hub", "magical_pipeline", "OWNER/NAME"': (
            '"{repo}", "magical_pipeline", "OWNER/NAME", source="local"'
        ),
    },
    "docs/index.md": {'Path("IMAGES")': 'Path("CELLS")'},
    "docs/mlops.md": {"MODEL_ID": "{model_id}"},
    "docs/training.md": {
        "max_steps=20_000": (
            'max_steps=2, image_size=64, base_width=8, batch_size=4, lambda_f=0.0, mixed_precision="no"'
        )
    },
    "docs/scale.md": {"top=4096, left=512, height=256, width=256": "top=16, left=8, height=32, width=32"},
}
"""What is put in place of a page's Python: small numbers, and what lies here in place of a Hub. Each must occur."""


def known_before(page: str) -> dict[str, Any]:
    """The names that a page speaks of without making them."""
    if page != "README.md":
        return {}
    rows = package_dataset(40, 64, seed=3).remove_columns("label")
    return {"train_set": rows.rename_column("package", "label")}
