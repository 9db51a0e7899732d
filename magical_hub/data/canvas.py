"""Images resized once to the canvas and kept as fixed-size arrays in a memory-mapped Arrow file.

A sample then costs a slice of mapped memory and not a decode. The file is an Arrow stream that
`datasets.Dataset.from_file` opens too. It holds the training images: it stays where it was written.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm.auto import tqdm

from magical_hub.data.images import open_image, to_canvas
from magical_hub.data.sources import Record, Source
from magical_hub.errors import DataError
from magical_hub.files import written_whole
from magical_hub.grid import Grid, Window

logger = logging.getLogger(__name__)

BATCH_BYTES = 2**24
"""Pixels in one record batch of the file, about: small enough to build in memory, large enough to make few of them."""


class CanvasStore:
    """N images of (C, H, W) uint8, with their class numbers, groups, names and content hashes.

    Args:
        path: a file that `build_canvas_store` wrote.

    Raises:
        DataError: where the file is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        try:
            table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"{path} cannot be read ({error}): delete it, and it is made again") from error
        about = json.loads(table.schema.metadata[b"magical_hub"])
        self.channels: int = about["channels"]
        self.height, self.width = about["image_size"]
        self.class_names: list[str] | None = about["class_names"]
        self.source_fingerprint: str = about["source_fingerprint"]
        self._rows_a_batch: int = about["rows_a_batch"]
        self.names: list[str] = table["name"].to_pylist()
        self.digests: list[str] = table["digest"].to_pylist()
        self.groups: list[str] = table["group"].to_pylist()
        self.labels = np.asarray(table["label"].to_numpy(), dtype=np.int64)
        shape = (-1, self.channels, self.height, self.width)
        self._batches = [chunk.flatten().to_numpy().reshape(shape) for chunk in table["canvas"].chunks]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def fingerprint(self) -> str:
        """Hash of what training reads: pixels, classes and their order. Another dataset has another one."""
        about = f"{self.channels} {self.height} {self.width} {self.class_names} {self.labels.tolist()}"
        return hashlib.sha256("\n".join([about, *self.digests]).encode()).hexdigest()

    def images(self, indices: np.ndarray) -> np.ndarray:
        """Whole images: (B,) -> (B, C, H, W) uint8."""
        return np.stack([self._image(int(index)) for index in indices])

    def crop(self, grid: Grid, indices: np.ndarray, locations: np.ndarray, window: Window = (1, 1)) -> np.ndarray:
        """A sub-region or window an image, read without touching the rest of the image.

        Args:
            grid: the grid of the canvas.
            indices: (B,) which images.
            locations: (B,) where in each.
            window: rows and columns of sub-regions.

        Returns:
            (B, C, h * window rows, w * window columns) uint8.
        """
        spans = (grid.span(int(location), window) for location in locations)
        return np.stack(
            [self._image(int(index))[:, rows, cols] for index, (rows, cols) in zip(indices, spans, strict=True)]
        )

    def _image(self, index: int) -> np.ndarray:
        batch, row = divmod(index, self._rows_a_batch)
        return self._batches[batch][row]


def build_canvas_store(
    source: Source, path: Path, image_size: tuple[int, int], channels: int, strict: bool = False, progress: bool = True
) -> None:
    """Decode, convert and resize every image of a source once. The file appears whole or not at all.

    Args:
        source: what `open_source` found.
        path: the file to write.
        image_size: (height, width) of the canvas; images of another size are resized to it.
        channels: 1 or 3.
        strict: stop at the first image that cannot be read or has another shape; otherwise it is skipped (or, of
            another shape, stretched) with a warning that names it.
        progress: show a bar.

    Raises:
        DataError: where no image could be read, or, with `strict`, at the first that could not.
    """
    height, width = image_size
    rows_a_batch = max(1, BATCH_BYTES // (channels * height * width))
    about = {
        "image_size": [height, width],
        "channels": channels,
        "class_names": source.class_names,
        "source_fingerprint": source.fingerprint,
        "rows_a_batch": rows_a_batch,
    }
    schema = pa.schema(
        {
            "canvas": pa.list_(pa.uint8(), channels * height * width),
            "label": pa.int64(),
            "group": pa.string(),
            "digest": pa.string(),
            "name": pa.string(),
        },
        metadata={"magical_hub": json.dumps(about)},
    )
    written = 0
    with (
        written_whole(path) as beside,
        tqdm(source.records(), total=source.count, desc="Reading images", unit="img", disable=not progress) as bar,
    ):
        with pa.OSFile(str(beside), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
            for rows in _batched(_canvases(bar, image_size, channels, strict), rows_a_batch):
                writer.write_batch(_record_batch(rows, schema))
                written += len(rows)
        if not written:
            raise DataError(f"none of the {source.count} images could be read: see the warnings above")


def _canvases(
    records: Any, image_size: tuple[int, int], channels: int, strict: bool
) -> Iterator[tuple[np.ndarray, Record]]:
    height, width = image_size
    for record in records:
        try:
            image = open_image(record.image, record.name)
            stretch = image.height * width / (image.width * height)
            if not 0.95 < stretch < 1.05:
                message = f"{record.name} is {image.height} x {image.width}, another shape than {height} x {width}"
                if strict:
                    raise DataError(f"{message}: crop it, or give another image size")
                logger.warning("%s: it is stretched to it", message)
        except DataError as error:
            if strict:
                raise
            logger.warning("skipped: %s", error)
            continue
        yield to_canvas(image, height, width, channels), record


def _batched(rows: Iterator[tuple[np.ndarray, Record]], count: int) -> Iterator[list[tuple[np.ndarray, Record]]]:
    while batch := list(itertools.islice(rows, count)):
        yield batch


def _record_batch(rows: list[tuple[np.ndarray, Record]], schema: pa.Schema) -> pa.RecordBatch:
    pixels = np.stack([canvas for canvas, _ in rows])
    digests = [hashlib.sha256(canvas.tobytes()).hexdigest() for canvas, _ in rows]
    columns = [
        pa.FixedSizeListArray.from_arrays(pa.array(pixels.reshape(-1)), int(pixels[0].size)),
        pa.array([record.label if record.label is not None else 0 for _, record in rows], pa.int64()),
        # An image without a group is a group of its own; equal images are one, so that no split parts them.
        pa.array([record.group or digest for (_, record), digest in zip(rows, digests, strict=True)]),
        pa.array(digests),
        pa.array([record.name for _, record in rows]),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
