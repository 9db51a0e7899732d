"""Making rows until all that were asked for are there, by further seeds, in a bounded number of tries."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from magical_hub.augmentation.keeping import drop_reasons
from magical_hub.augmentation.labels import Known
from magical_hub.augmentation.plan import Wish, request, try_seed
from magical_hub.augmentation.rows import Recipe
from magical_hub.errors import AugmentationError
from magical_hub.pipeline import MagicalPipeline

TRIES = 10
"""Images made for one that is kept, at the most, over all rows that are made together."""
TOGETHER = 64
"""Rows that are made together at the most,"""
PIXELS_TOGETHER = 2**27
"""and values of their pixels, for they wait in memory until the last of them is there."""


@dataclass(frozen=True)
class Shard:
    """Rows that were made together.

    Args:
        arrow: they, as the file that `Dataset.from_file` reads.
        counts: as JSON: how many images were made, and dropped for which reason.
    """

    arrow: bytes
    counts: str


def rows_together(recipe: Recipe) -> int:
    """How many rows are made together: for images of this size, whatever the batch and the processes."""
    width, height = recipe.spec.size
    return max(1, min(TOGETHER, PIXELS_TOGETHER // (3 * width * height)))


def make_shard(pipe: MagicalPipeline, recipe: Recipe, wanted: Sequence[Wish]) -> Shard:
    """A row for every wish, in their order, wherever it is made.

    Raises:
        AugmentationError: as `make_rows`.
    """
    import pyarrow as pa
    from datasets.arrow_writer import ArrowWriter

    rows, counts = make_rows(pipe, recipe, wanted)
    target = pa.BufferOutputStream()
    with ArrowWriter(stream=target, features=recipe.features, writer_batch_size=64) as writer:
        for row in rows:
            writer.write(row)
        writer.finalize(close_stream=False)
    return Shard(target.getvalue().to_pybytes(), json.dumps(counts))


def make_rows(
    pipe: MagicalPipeline, recipe: Recipe, wanted: Sequence[Wish]
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """A row for every wish, in their order, and how many images were made and dropped for which reason.

    What is dropped is made again by the image's next seed, and so hangs on no other image.

    Raises:
        AugmentationError: where the tries run out.
    """
    pipe = copy.copy(pipe)
    pipe.set_progress_bar_config(disable=True)  # there is one for all
    masked = recipe.columns.mask is not None and bool(Known.of(pipe.generator.config).defects)
    extras: dict[str, Any] = {"masks": True} if masked else {}
    done: dict[int, dict[str, Any]] = {}
    counts: Counter[str] = Counter()
    pending, turn, allowed = list(wanted), 0, TRIES * max(len(wanted), TRIES)
    while pending:
        if counts["made"] + len(pending) > allowed:
            raise AugmentationError(_ran_out(counts, len(done), len(wanted)))
        again = []
        for first in range(0, len(pending), recipe.batch_size):
            some = pending[first : first + recipe.batch_size]
            seeds = [try_seed(recipe.seed, wish.number, turn) for wish in some]
            asked = request(some, seeds, recipe.label, pipe.generator.config)
            output: Any = pipe(seeds=seeds, batch_size=len(some), **asked, **extras)
            reasons = drop_reasons(recipe.keep, pipe, output)
            counts.update(made=len(some), **Counter(filter(None, reasons)))
            for number, (wish, seed, reason) in enumerate(zip(some, seeds, reasons, strict=True)):
                if reason:
                    again.append(wish)
                    continue
                annotation = output.annotations[number] if output.annotations else {}
                mask = output.masks[number] if masked else None
                done[wish.number] = recipe.row(output.images[number], annotation, mask, wish.number, seed)
        pending, turn = again, turn + 1
    return [done[wish.number] for wish in wanted], counts


def _ran_out(counts: Counter[str], kept: int, wanted: int) -> str:
    dropped = ", ".join(f"{count} {reason}" for reason, count in counts.items() if reason != "made")
    return (
        f"{counts['made']} images gave {kept} of the {wanted} wanted ({dropped}): train the generator longer, or let "
        "more through by keep"
    )
