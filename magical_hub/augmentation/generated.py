"""Rows whose images a pipeline makes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from magical_hub.augmentation.keeping import drop_reasons
from magical_hub.augmentation.labels import Known
from magical_hub.augmentation.making import RowMaker
from magical_hub.augmentation.plan import Wish, request, try_seed
from magical_hub.augmentation.rows import Recipe
from magical_hub.pipeline import MagicalPipeline


class GeneratedRows(RowMaker):
    """Rows of generated images.

    Args:
        pipe: makes the images, on the device it is on.
        recipe: of the rows.
        digest: the sha256 of the weights.
    """

    advice = "train the generator longer, or let more through by keep"

    def __init__(self, pipe: MagicalPipeline, recipe: Recipe, digest: str) -> None:
        self.pipe = copy.copy(pipe)
        self.pipe.set_progress_bar_config(disable=True)  # there is one for all
        self.recipe = recipe
        self.features, self.size, self.batch_size = recipe.features, recipe.spec.size, recipe.batch_size
        self.identity = recipe, digest
        self.on_gpu = pipe.device.type == "cuda"
        self._masked = recipe.columns.mask is not None and bool(Known.of(pipe.generator.config).defects)

    def attempt(self, wanted: Sequence[Wish], turn: int) -> list[dict[str, Any] | str]:
        """As `RowMaker.attempt` says."""
        recipe = self.recipe
        seeds = [try_seed(recipe.seed, wish.number, turn) for wish in wanted]
        arguments = request(wanted, seeds, recipe.label, self.pipe.generator.config)
        if self._masked:
            arguments["masks"] = True
        output: Any = self.pipe(seeds=seeds, batch_size=len(wanted), **arguments)
        rows: list[dict[str, Any] | str] = []
        for number, reason in enumerate(drop_reasons(recipe.keep, self.pipe, output)):
            if reason:
                rows.append(reason)
                continue
            annotation = output.annotations[number] if output.annotations else {}
            mask = output.masks[number] if self._masked else None
            rows.append(recipe.row(output.images[number], annotation, mask, wanted[number].number, seeds[number]))
        return rows
