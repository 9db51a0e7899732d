"""Croissant metadata beside a folder of images: what a catalogue of datasets reads (mlcommons.org/croissant)."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from magical_hub.extras import extra
from magical_hub.files import write_text
from magical_hub.provenance import file_sha256

FILE = "croissant.json"


def write_croissant(folder: Path, rows: list[dict[str, Any]], record: dict[str, Any]) -> None:
    """Write croissant.json beside the images of a folder and their metadata.jsonl.

    Args:
        folder: holds both.
        rows: those of metadata.jsonl.
        record: where the images come from.

    Raises:
        MissingPackageError: without the extra `croissant`.
    """
    with extra("croissant"):
        import mlcroissant as mlc

    def field(name: str, kind: Any, source: Any) -> Any:
        return mlc.Field(id=f"images/{name}", name=name, data_types=[kind], source=source)

    kinds = {int: mlc.DataType.INTEGER, str: mlc.DataType.TEXT}
    columns = [
        field(name, kinds[type(value)], mlc.Source(file_object=METADATA, extract=mlc.Extract(column=name)))
        for name, value in rows[0].items()
    ]
    of_file = {
        kind: mlc.Source(file_set=PICTURES, extract=mlc.Extract(file_property=kind)) for kind in mlc.FileProperty
    }
    columns[0].references = of_file[mlc.FileProperty.filename]  # file_name, by which rows and pictures are joined
    image = field("image", mlc.DataType.IMAGE_OBJECT, of_file[mlc.FileProperty.content])
    metadata = mlc.FileObject(
        id=METADATA,
        name=METADATA,
        content_url=METADATA,
        encoding_formats=["application/jsonlines"],
        sha256=file_sha256(folder / METADATA),
    )
    pictures = mlc.FileSet(id=PICTURES, name=PICTURES, encoding_formats=["image/png"], includes=["*.png"])
    logger = logging.getLogger("absl")  # warns of what we can't know: a licence, a date, an address
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        about = mlc.Metadata(
            name="synthetic-images",
            description=f"{len(rows)} images that magical_hub {record['magical_hub']} generated. Weights (SHA-256): "
            f"{record['image']['weights_sha256']}. Where they come from, to the training set: provenance.json.",
            distribution=[metadata, pictures],
            record_sets=[mlc.RecordSet(id="images", name="images", fields=[*columns, image])],
        ).to_json()
    finally:
        logger.setLevel(level)
    write_text(folder / FILE, json.dumps(about, indent=2, default=str))


METADATA, PICTURES = "metadata.jsonl", "pictures"
