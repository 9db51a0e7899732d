"""Rows whose images a pipeline makes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from magical_hub.augmentation.keeping import drop_reasons
from magical_hub.augmentation.making import RowMaker
from magical_hub.augmentation.plan import SampleRequest, pipeline_arguments, try_seed
from magical_hub.augmentation.rows import RowEncoder
from magical_hub.conditions import LabelNames
from magical_hub.pipeline import MagicalPipeline


class GeneratedRows(RowMaker):
    """Rows of generated images.

    Args:
        pipe: makes the images, on the device it is on.
        encoder: of the rows.
        digest: the sha256 of the weights.
    """

    advice = "train the generator longer, or let more through by keep"

    def __init__(self, pipe: MagicalPipeline, encoder: RowEncoder, digest: str) -> None:
        self.pipe = copy.copy(pipe)
        self.pipe.set_progress_bar_config(disable=True)  # there is one for all
        self.encoder = encoder
        self.features, self.size, self.batch_size = encoder.features, encoder.spec.size, encoder.batch_size
        self.identity = encoder, digest
        self.on_gpu = pipe.device.type == "cuda"
        self._masked = encoder.columns.mask is not None and bool(LabelNames.of(pipe.generator.config).defects)

    def attempt(self, requests: Sequence[SampleRequest], turn: int) -> list[dict[str, Any] | str]:
        """Make rows as `RowMaker.attempt` describes."""
        encoder = self.encoder
        seeds = [try_seed(encoder.seed, request.number, turn) for request in requests]
        arguments = pipeline_arguments(requests, seeds, encoder.label, self.pipe.generator.config)
        if self._masked:
            arguments["masks"] = True
        output: Any = self.pipe(seeds=seeds, images_per_batch=len(requests), **arguments)
        rows: list[dict[str, Any] | str] = []
        for number, reason in enumerate(drop_reasons(encoder.keep, self.pipe, output)):
            if reason:
                rows.append(reason)
                continue
            annotation = output.annotations[number] if output.annotations else {}
            mask = output.masks[number] if self._masked else None
            rows.append(
                encoder.encode(output.images[number], annotation, mask, requests[number].number, seeds[number])
            )
        return rows
