"""The split into train, validation and holdout, cut before the first step by the content of the images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from magical_hub.data.canvas import set_sha256
from magical_hub.errors import DataError
from magical_hub.files import write_text
from magical_hub.safety import MOST_BYTES_OF_IMAGES, read_json

PARTS = ("train", "validation", "holdout")
ADVICE = "put the right one back, or start a new run"


@dataclass(frozen=True)
class Split:
    """Numbers of the images (in the store's order) in each part, and their content hashes."""

    train: list[int]
    validation: list[int]
    holdout: list[int]
    digests: list[str]

    @classmethod
    def cut(
        cls, groups: Sequence[str], digests: Sequence[str], validation_fraction: float, holdout_fraction: float
    ) -> Split:
        """Put whole groups into the parts, in the order of their names' hashes, so that chance and not order decides.

        Groups that share an equal image (an equal digest) count as one, so that no image is in two parts. A part
        whose fraction is above zero gets at least one group.

        Raises:
            DataError: where there are fewer groups than parts.
        """
        groups = _merged(groups, digests)
        order = sorted(set(groups), key=lambda group: hashlib.sha256(group.encode()).hexdigest())
        sizes = [max(1, round(f * len(order))) if f else 0 for f in (validation_fraction, holdout_fraction)]
        if sum(sizes) >= len(order):
            raise DataError(
                f"{len(order)} groups of images are too few to split into train, validation and holdout: "
                "give more, or set validation_fraction and holdout_fraction to 0"
            )
        part_of = {group: "validation" for group in order[: sizes[0]]}
        part_of |= {group: "holdout" for group in order[sizes[0] : sum(sizes)]}
        parts: dict[str, list[int]] = {"train": [], "validation": [], "holdout": []}
        for number, group in enumerate(groups):
            parts[part_of.get(group, "train")].append(number)
        return cls(**parts, digests=list(digests))

    def sha256(self) -> dict[str, str | None]:
        """`set_sha256` of the images of each part; None of one without any."""
        parts = {part: getattr(self, part) for part in PARTS}
        return {
            part: set_sha256(self.digests[number] for number in numbers) if numbers else None
            for part, numbers in parts.items()
        }

    def save(self, path: Path) -> None:
        """Write as JSON, whole or not at all."""
        write_text(path, json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Split:
        """Read what `save` wrote.

        Raises:
            DataError: where the file is damaged.
        """
        values = read_json(path, path.parent, DataError, ADVICE, MOST_BYTES_OF_IMAGES)
        digests = values.get("digests")
        numbers = [number for part in PARTS for number in values.get(part) or []]
        right = (
            set(values) == {*PARTS, "digests"}
            and isinstance(digests, list)
            and all(isinstance(digest, str) for digest in digests)
            and all(isinstance(values[part], list) for part in PARTS)
            and all(type(number) is int and 0 <= number < len(digests) for number in numbers)
            and len(set(numbers)) == len(numbers)
        )
        if not right:
            raise DataError(f"{path} holds no split of images into train, validation and holdout: {ADVICE}")
        return cls(**values)


def _merged(groups: Sequence[str], digests: Sequence[str]) -> list[str]:
    """The groups, those that share a digest under the least of their names."""
    parent = {group: group for group in groups}

    def root(group: str) -> str:
        while parent[group] != group:
            group = parent[group]
        return group

    first: dict[str, str] = {}
    for group, digest in zip(groups, digests, strict=True):
        least, other = sorted((root(group), root(first.setdefault(digest, group))))
        parent[other] = least
    return [root(group) for group in groups]
