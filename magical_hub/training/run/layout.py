"""The layout of RUN: its configuration, its images and its split, made once and found again on resuming."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accelerate import Accelerator

from magical_hub.data import CanvasStore, Intensity, Source, open_source, open_store, prepare_store
from magical_hub.data.masks import parse_mask_values
from magical_hub.data.store import remove_store, with_measured_intensity
from magical_hub.errors import ConfigError, DataError
from magical_hub.files import check_plain, expanded, only_writer, remove_leftovers, write_text
from magical_hub.training.config import SETTINGS, TrainingConfig, read_settings
from magical_hub.training.run.split import Split
from magical_hub.training.survey import Survey, complete

logger = logging.getLogger(__name__)

OWN = (
    *(SETTINGS, "split.json", "history.jsonl", "curves.png", "provenance.json", "model_index.json"),
    *("data", "checkpoints", "samples", "logs", "generator", "critic", "verifier"),
)
"""The places in RUN that training writes to."""
BEGINNINGS = (SETTINGS, "data", "split.json", "logs")
"""Those that a run leaves which failed before its first figure: the next one makes them anew."""


def source_of(config: TrainingConfig) -> Source:
    """The images that a configuration names. An intensity range "auto" is measured on all of them.

    Raises:
        DataError: as `open_source`.
    """
    given = config.intensity_range
    source = open_source(
        config.data,
        image_column=config.image_column,
        label_column=config.label_column,
        group_column=config.group_column,
        group_regex=config.group_regex,
        objects_column=config.objects_column,
        mask_column=config.mask_column,
        mask_values=None if config.mask_values is None else parse_mask_values(config.mask_values),
        split=config.split,
        streaming=config.streaming,
        max_images=config.max_images,
        files_below=config.files_below,
        intensity=None if given == "auto" else Intensity.of(given),
    )
    return with_measured_intensity(source) if given == "auto" else source


def check_free(config: TrainingConfig) -> None:
    """Refuse a RUN that holds a run, unless it is resumed, or anything else that training would overwrite.

    Raises:
        ConfigError: saying what is there; or where RUN is inside the folder of the images.
    """
    folder = Path(config.output_dir)
    if not folder.is_dir() and os.path.lexists(folder):
        raise ConfigError(f"{folder} exists, and is not a folder: give another --output-dir")
    if isinstance(config.data, (str, Path)):
        images = expanded(config.data)
        if images.is_dir() and folder.resolve().is_relative_to(images.resolve()):
            raise ConfigError(
                f"{folder} is in the folder of the images, where its pictures would be taken for some of them: give "
                "another --output-dir"
            )
    made = next((name for name in OWN if name not in BEGINNINGS and os.path.lexists(folder / name)), None)
    if made is not None and not (folder / SETTINGS).exists():
        raise ConfigError(f"{folder} holds {made}, which training would overwrite: give another --output-dir")
    if made is not None and not config.resume:
        raise ConfigError(f"{folder} holds a run already: give --resume to continue it, or another --output-dir")


@contextmanager
def run_folder(config: TrainingConfig, accelerator: Accelerator) -> Iterator[None]:
    """Keep RUN for this training alone, and refuse one that would lead it to write elsewhere.

    Raises:
        ConfigError: where another process trains there, or RUN holds a run and resume is off.
        DataError: where RUN holds a link in a place of the program's own.
    """
    check_free(config)
    accelerator.wait_for_everyone()  # no process may check that after the main one has begun the run
    if not accelerator.is_main_process:
        yield
        return
    folder = Path(config.output_dir)
    with only_writer(folder):
        check_free(config)  # another process may have begun and ended one meanwhile
        for name in OWN:
            check_plain(folder / name)
            remove_leftovers(folder / name)
        yield


def prepare_run(config: TrainingConfig, accelerator: Accelerator) -> tuple[TrainingConfig, CanvasStore, Split]:
    """Fill in the configuration, decode the data once, cut the split; or find all three in RUN.

    The main process prepares them, the others wait and read. In the configuration nothing is left open.

    Raises:
        ConfigError: where a setting contradicts what it began with.
        DataError, GridError: where the data is invalid.
    """
    folder = Path(config.output_dir)
    saved, data, split = folder / SETTINGS, folder / "data", folder / "split.json"
    with accelerator.main_process_first():
        if accelerator.is_main_process:
            begun = config.resume and saved.exists()
            if begun:
                config = config.continuing(read_settings(folder))
            source = source_of(config)
            if not begun:
                remove_store(data)  # of a run that failed before its first figure, and may have been another
                survey = Survey(source)
                config = complete(config, survey)
                for warning in survey.warnings:
                    logger.warning("%s", warning)
            assert config.channels
            store = prepare_store(
                source, data, config.grid, config.channels, config.strict, defect_share=config.defect_share
            )
            column = config.objects_column or config.mask_column
            if column is not None and not store.defect_names:
                raise DataError(f"none of the images shows a defect in {column!r}: leave that column out")
            if not begun:
                Split.cut(store.groups, store.digests, config.validation_fraction, config.holdout_fraction).save(split)
                write_text(saved, config.to_json())  # last: a run without it has not begun
            if store.source_fingerprint != source.fingerprint or store.digests != Split.load(split).digests:
                raise DataError(f"the data is not what {folder} began with: give the same, or start a new run")
            if begun:
                write_text(saved, config.to_json())  # with another end, where one was given
        config = config.continuing(read_settings(folder))
    return config, open_store(data), Split.load(split)
