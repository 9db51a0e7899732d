"""The defaults of `magical-hub train`: the settings of the run that is resumed, and those of a preset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import tyro

from magical_hub.errors import ConfigError
from magical_hub.files import expanded
from magical_hub.training.config import PAPER, SETTINGS, TrainingConfig

GROUPS: dict[str, Any] = {kind.__name__.removesuffix("Options").lower(): kind for kind in TrainingConfig.__bases__}
"""The groups of options (DataOptions ...) by the names of the command's parameters (data ...)."""


@dataclass(frozen=True)
class Start:
    """The options that decide what the defaults of the others are."""

    data: str | None = None
    output_dir: str | None = None
    resume: bool = False
    preset: Literal["paper"] | None = None


def train_defaults(arguments: Sequence[str]) -> dict[str, Any]:
    """The groups of options that have other defaults than their own, by the names of the command's parameters.

    Args:
        arguments: of `magical-hub train`; an error in them is left to the command.

    Raises:
        ConfigError: where no run is to be resumed and no data is given; and as `TrainingConfig.from_run`.
    """
    try:
        start, _ = tyro.cli(Start, args=arguments, return_unknown_args=True, add_help=False, console_outputs=False)
    except SystemExit:
        return {}
    settings: dict[str, Any] = {}
    if start.resume and (start.output_dir or start.data):
        run = expanded(start.output_dir or TrainingConfig(data=start.data).output_dir)
        given = {} if start.data is None else {"data": start.data}
        if (run / SETTINGS).exists():
            settings = vars(TrainingConfig.from_run(run, **given))
        elif start.data is None:
            raise ConfigError(f"{run} holds no run to resume: give its folder, or --data to begin one")
    if start.preset is not None:
        settings = {**settings, **PAPER}
    defaults = {}
    for name, kind in GROUPS.items():
        values = {field.name: settings[field.name] for field in fields(kind) if field.name in settings}
        if values:
            defaults[name] = kind(**values)
    return defaults
