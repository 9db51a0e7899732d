"""Rows for all requests, by further seeds where images are dropped, in a bounded number of tries."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from magical_hub.augmentation.plan import SampleRequest
from magical_hub.errors import AugmentationError

if TYPE_CHECKING:
    import datasets

TRIES = 10
"""The most images made for each that is kept, over all rows that are made together."""
TOGETHER = 64
"""The most rows that are made together."""
PIXELS_TOGETHER = 2**27
"""The most values of pixels in rows that are made together: they wait in memory until the last row is made."""


@dataclass(frozen=True)
class Shard:
    """Rows that were made together.

    Args:
        arrow: the rows, as the file that `Dataset.from_file` reads.
        counts: as JSON: how many images were made, and dropped for which reason.
    """

    arrow: bytes
    counts: str


class RowMaker(ABC):
    """Makes synthetic rows, the same wherever it runs: it can be pickled.

    Attributes:
        features: of the rows.
        size: width and height of the images; of the commonest where they differ.
        batch_size: rows that are made at a time.
        identity: what the rows depend on beside the requests, the dataset and the program; hashed for the cache.
        on_gpu: whether it needs a GPU.
        advice: what helps where too many rows are dropped.
    """

    features: datasets.Features
    size: tuple[int, int]
    batch_size: int
    identity: Any
    on_gpu: bool
    advice: str

    @abstractmethod
    def attempt(self, requests: Sequence[SampleRequest], turn: int) -> list[dict[str, Any] | str]:
        """A row for every request (encoded), or the reason why it is dropped.

        Args:
            requests: at most `batch_size`.
            turn: how often these requests were tried before; another turn takes other seeds.
        """


def rows_together(maker: RowMaker) -> int:
    """How many rows are made together: for images of this size, whatever the batch and the processes."""
    width, height = maker.size
    return max(1, min(TOGETHER, PIXELS_TOGETHER // (3 * width * height)))


def make_shard(maker: RowMaker, requests: Sequence[SampleRequest]) -> Shard:
    """A row for every request, in their order, wherever it is made.

    Raises:
        AugmentationError: as `make_rows`.
    """
    import pyarrow as pa
    from datasets.arrow_writer import ArrowWriter

    rows, counts = make_rows(maker, requests)
    target = pa.BufferOutputStream()
    with ArrowWriter(stream=target, features=maker.features, writer_batch_size=64) as writer:
        for row in rows:
            writer.write(row)
        writer.finalize(close_stream=False)
    return Shard(target.getvalue().to_pybytes(), json.dumps(counts))


def make_rows(maker: RowMaker, requests: Sequence[SampleRequest]) -> tuple[list[dict[str, Any]], Counter[str]]:
    """A row for every request, in their order, and how many images were made and dropped for which reason.

    What is dropped is made again by the image's next seed, and so depends on no other image.

    Raises:
        AugmentationError: where the tries run out.
    """
    done: dict[int, dict[str, Any]] = {}
    counts: Counter[str] = Counter()
    pending, turn, allowed = list(requests), 0, TRIES * max(len(requests), TRIES)
    while pending:
        if counts["made"] + len(pending) > allowed:
            raise AugmentationError(_ran_out(counts, len(done), len(requests), maker.advice))
        again = []
        for first in range(0, len(pending), maker.batch_size):
            some = pending[first : first + maker.batch_size]
            for request, row in zip(some, maker.attempt(some, turn), strict=True):
                counts["made"] += 1
                if isinstance(row, str):
                    counts[row] += 1
                    again.append(request)
                else:
                    done[request.number] = row
        pending, turn = again, turn + 1
    return [done[request.number] for request in requests], counts


def _ran_out(counts: Counter[str], kept: int, wanted: int, advice: str) -> str:
    dropped = ", ".join(f"{count} {reason}" for reason, count in counts.items() if reason != "made")
    return f"{counts['made']} images gave {kept} of the {wanted} wanted ({dropped}): {advice}"
