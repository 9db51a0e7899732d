"""A pipeline as a model of MLflow: `mlflow.pyfunc.load_model` and `mlflow models serve` find it by this module.

model = mlflow.pyfunc.load_model("models:/MODEL_ID")
model.predict(pandas.DataFrame({"seed": [7], "class_label": ["QFN"]}))["image"]       # PNG files, as bytes
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from magical_hub.errors import ConfigError
from magical_hub.pipeline import MagicalPipeline
from magical_hub.seeds import whole_number

if TYPE_CHECKING:
    import pandas
    from mlflow.models import ModelSignature


class ServedPipeline:
    """Images by their seeds, a row a PNG file.

    Args:
        pipe: makes the images.
    """

    def __init__(self, pipe: MagicalPipeline) -> None:
        pipe.set_progress_bar_config(disable=True)
        self.pipe = pipe

    def predict(self, rows: pandas.DataFrame) -> pandas.DataFrame:
        """The image of each row.

        Args:
            rows: column `seed`, and `class_label` where the checkpoint has classes (null: as they occur in training).

        Returns:
            Columns `seed` and `image`, the bytes of a PNG file (base64 where a server answers).

        Raises:
            ConfigError: where there is no column of seeds, a seed is not a whole number, or a class is unknown.
        """
        import pandas

        if "seed" not in rows:
            raise ConfigError(f"there is no column 'seed' among {', '.join(map(str, rows.columns)) or 'none'}: add it")
        labels = rows["class_label"].tolist() if "class_label" in rows else [None] * len(rows)
        seeds, files = [whole_number(seed) for seed in rows["seed"]], []
        for seed, label in zip(seeds, labels, strict=True):
            file = io.BytesIO()
            image: Any = self.pipe(seeds=[seed], class_labels=None if pandas.isna(label) else str(label)).images[0]
            image.save(file, "PNG")
            files.append(file.getvalue())
        return pandas.DataFrame({"seed": seeds, "image": files}, index=rows.index)


def signature(config: Any) -> ModelSignature:
    """The signature by which MLflow checks rows.

    Args:
        config: the generator's.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    classes = [ColSpec("string", "class_label", required=False)] if config.num_classes else []
    return ModelSignature(
        Schema([ColSpec("long", "seed"), *classes]), Schema([ColSpec("long", "seed"), ColSpec("binary", "image")])
    )


def _load_pyfunc(path: str) -> ServedPipeline:
    """The function that MLflow calls, by this name."""
    return ServedPipeline(MagicalPipeline.from_pretrained(path))
