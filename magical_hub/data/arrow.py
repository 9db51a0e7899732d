"""Images decoded and resized once, and kept cut into sub-regions in an Arrow file.

A sample then costs a read of its own bytes and not a decode. The sub-regions of an image are stored one after another,
each (C, h, w): as rows of whole images, a window of 2 x 2 sub-regions of 64 px of an 8192 px image would be in 128
places, and cold reads took 2.4 MB for its 16 kB. The file is an Arrow stream that `datasets.Dataset.from_file` opens
too (`Grid.stitch` joins an image again). It holds the training images: it stays where it was written.

A flipped byte is noticed: behind the stream is the SHA-256 of all that is not pixels, which is checked before Arrow
reads any of it, and every sub-region has a CRC-32, which is checked whenever it is read.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from magical_hub.data.canvas import CanvasStore, Place, StoreRequest, description, digest, join_tiles
from magical_hub.data.images import as_array, fit, open_image
from magical_hub.data.records import Record
from magical_hub.errors import DataError
from magical_hub.files import ScatteredReads, append_bytes, written_whole
from magical_hub.grid import Grid
from magical_hub.safety import parse_json

logger = logging.getLogger(__name__)

SEAL = b"magical1"
"""The last bytes of the file."""
MOST_ENLARGED = 2
"""How many times larger than an image the canvas may be without a warning."""
BATCH_BYTES = 2**24
"""Pixels in one record batch of the file, about: small enough to build in memory, large enough to make few of them."""


class ArrowStore(CanvasStore):
    """The images of a file that `build_arrow_store` wrote.

    Args:
        path: the file.

    Raises:
        DataError: where it is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        try:
            mapped = pa.memory_map(str(path)).read_buffer()
            _check_seal(mapped)
            table = pa.ipc.open_stream(mapped).read_all()
            about = parse_json(table.schema.metadata[b"magical_hub"])
            self._checks = np.array(table["crc32"].to_pylist(), np.uint32)
            self._tile: tuple[int, int] = tuple(about["tile"])
            self._rows_a_batch: int = about["rows_a_batch"]
            super().__init__(
                about,
                table["name"].to_pylist(),
                table["label"].to_numpy(),
                table["group"].to_pylist(),
                table["digest"].to_pylist(),
                table["field"].to_pylist(),
            )
        except DataError:
            raise
        except (OSError, pa.ArrowInvalid, TypeError, ValueError, KeyError) as error:
            raise DataError(f"{path} cannot be read ({error}): delete it, and it is made again") from error
        # Where the pixels of each batch begin in the file. They are read from there: see ScatteredReads.
        self._starts = [start for start, _ in _pixel_places(mapped, table)]
        self._path, self._file = path, ScatteredReads(path)

    def _read(self, index: int, rows: slice, cols: slice) -> np.ndarray:
        batch, row = divmod(index, self._rows_a_batch)
        image = self._starts[batch] + row * self.channels * self.height * self.width
        shape = self.channels, *self._tile
        across, size = self.width // self._tile[1], self.channels * self._tile[0] * self._tile[1]

        def tile(row: int, col: int, place: Place) -> np.ndarray:
            data = self._file.at(image + (row * across + col) * size, size)
            if len(data) < size:
                raise DataError(f"{self._path} was cut off while it was read: delete it, and it is made again")
            if zlib.crc32(data) != self._checks[index, row * across + col]:
                raise DataError(f"{self._path} is damaged ({self.names[index]}): delete it, and it is made again")
            return np.frombuffer(data, np.uint8).reshape(shape)[(slice(None), *place)]

        return join_tiles(tile, self._tile, self.channels, rows, cols)


def _pixel_places(mapped: pa.Buffer, table: pa.Table) -> list[tuple[int, int]]:
    """The offset of the pixels of each batch in the file, and their number."""
    flat = [chunk.flatten().flatten() for chunk in table["canvas"].chunks]
    return [(pixels.buffers()[1].address - mapped.address, len(pixels)) for pixels in flat]


def _sha256_beside(mapped: pa.Buffer, end: int, places: list[tuple[int, int]]) -> str:
    """The SHA-256 of all bytes of a file up to `end` but those of the pixels."""
    sha, position = hashlib.sha256(), 0
    for start, count in [*places, (end, 0)]:
        if not position <= start <= start + count <= end:
            raise ValueError("its seal is broken")
        sha.update(mapped.slice(position, start - position))
        position = start + count
    return sha.hexdigest()


def _seal(path: Path) -> None:
    """Write behind the stream where its pixels are and the hash of all else."""
    mapped = pa.memory_map(str(path)).read_buffer()
    places = _pixel_places(mapped, pa.ipc.open_stream(mapped).read_all())
    seal = json.dumps({"pixels": places, "sha256": _sha256_beside(mapped, mapped.size, places)}).encode()
    append_bytes(path, seal + len(seal).to_bytes(8, "little") + SEAL)


def _check_seal(mapped: pa.Buffer) -> None:
    """Raise a ValueError unless all that is not pixels is what was written."""
    tail = mapped.slice(max(0, mapped.size - 8 - len(SEAL))).to_pybytes()
    length = int.from_bytes(tail[:8], "little")
    end = mapped.size - len(tail) - length
    if not tail.endswith(SEAL) or end < 0:
        raise ValueError("its seal is missing")
    seal = parse_json(mapped.slice(end, length).to_pybytes())
    if _sha256_beside(mapped, end, [(start, count) for start, count in seal["pixels"]]) != seal["sha256"]:
        raise ValueError("its seal is broken")


def build_arrow_store(request: StoreRequest, path: Path) -> None:
    """Decode, convert, resize and cut every image of a source once. The file appears whole or not at all.

    Memory is that of one decoded image and one record batch (16 MiB, or one image where that is larger).

    Raises:
        DataError: where no image could be used, or, where the request is strict, at the first that could not.
    """
    grid, channels = request.grid, request.channels
    cell = channels * grid.cell_height * grid.cell_width
    batch = _Batch(grid, channels, max(1, BATCH_BYTES // (cell * grid.num_locations)))
    about = {**request.about, "rows_a_batch": batch.rows, "tile": [grid.cell_height, grid.cell_width]}
    schema = pa.schema(
        {
            "canvas": pa.list_(pa.list_(pa.uint8(), cell), grid.num_locations),
            "label": pa.int64(),
            "group": pa.string(),
            "digest": pa.string(),
            "name": pa.string(),
            "field": pa.list_(pa.int64()),
            "crc32": pa.list_(pa.uint32()),
        },
        metadata={"magical_hub": json.dumps(about)},
    )
    with written_whole(path) as beside:
        with pa.OSFile(str(beside), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
            for image, record, defect_map in request.each(lambda record: _fitted(record, request)):
                batch.add(image, record, defect_map)
                del image  # before the next is decoded
                if batch.full:
                    writer.write_batch(batch.take(schema))
            if batch.described:
                writer.write_batch(batch.take(schema))
        _seal(beside)


def _fitted(record: Record, request: StoreRequest) -> tuple[Image.Image, Record, list[int]]:
    """An image in the size and channels of the canvas, its record, and its defect map."""
    grid = request.grid
    image = open_image(record.image, record.name, request.source.intensity)
    stretch = image.height * grid.width / (image.width * grid.height)
    if not 0.95 < stretch < 1.05:
        size = f"{grid.height} x {grid.width}"
        message = f"{record.name} is {image.height} x {image.width}, another shape than {size}"
        if request.strict:
            raise DataError(f"{message}: crop it, or give another image size")
        logger.warning("%s: it is stretched to it", message)
    elif grid.height > MOST_ENLARGED * image.height:
        size = f"{image.height} x {image.width}"
        logger.warning("%s is %s, and is enlarged to %d x %d", record.name, size, grid.height, grid.width)
    defect_map = request.defect_map(record, (image.height, image.width))
    return fit(image, grid.height, grid.width, request.channels), record, defect_map


class _Batch:
    """Rows of the file until they are written, in one piece of memory that every batch uses again."""

    def __init__(self, grid: Grid, channels: int, rows: int) -> None:
        self.rows, self._grid = rows, grid
        self._pixels = np.empty((rows, grid.rows, grid.cols, channels, grid.cell_height, grid.cell_width), np.uint8)
        self.described: list[dict[str, Any]] = []

    @property
    def full(self) -> bool:
        return len(self.described) == self.rows

    def add(self, image: Image.Image, record: Record, defect_map: list[int]) -> None:
        cells = self._pixels[len(self.described)]
        about = description(record, digest(self._cut(image, cells)), defect_map)
        self.described.append({**about, "crc32": [zlib.crc32(cell) for row in cells for cell in row]})

    def _cut(self, image: Image.Image, cells: np.ndarray) -> Iterator[np.ndarray]:
        """Fill the cells of an image, and give its bands of sub-regions meanwhile."""
        height, cols, width = self._grid.cell_height, self._grid.cols, self._grid.cell_width
        for row in range(self._grid.rows):
            band = as_array(image.crop((0, row * height, self._grid.width, (row + 1) * height)))
            cells[row] = band.reshape(-1, height, cols, width).transpose(2, 0, 1, 3)
            yield band

    def take(self, schema: pa.Schema) -> pa.RecordBatch:
        """The rows that were added, to be written before others."""
        pixels = pa.array(self._pixels[: len(self.described)].reshape(-1))
        canvas = schema.field("canvas").type
        cells = pa.FixedSizeListArray.from_arrays(pixels, canvas.value_type.list_size)
        columns = [pa.FixedSizeListArray.from_arrays(cells, canvas.list_size)]
        columns += [pa.array([row[field.name] for row in self.described], field.type) for field in list(schema)[1:]]
        self.described = []
        return pa.RecordBatch.from_arrays(columns, schema=schema)
