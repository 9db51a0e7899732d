"""A pipeline folder is replaced whole: a kill leaves what was there before, or what was saved, and no mixture.

All files are first written into a temporary folder. Its renaming to `.saved` inside the pipeline folder is the moment
from which the new pipeline counts: what follows is moving, which the next call on the folder finishes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from magical_hub.errors import CheckpointError
from magical_hub.files import check_plain, folder_beside, only_maker, write_text

INDEX, RECORD = "model_index.json", "provenance.json"
SAVED = ".saved"
PATIENCE = 10.0
"""Seconds to wait for a process that is moving the files of the same folder."""


@contextmanager
def saved_whole(folder: Path) -> Iterator[Path]:
    """Give a new folder to write a pipeline to; when the block ends well, its files replace those in `folder`.

    Raises:
        ConfigError: where another process is saving there.
        DataError: where `folder` holds a link in the place of a file or a component.
    """
    with only_maker(folder / INDEX, PATIENCE):
        _move(folder)  # of a save that was killed
        with folder_beside(folder / INDEX) as beside:
            yield beside
            for name in sorted(path.name for path in beside.iterdir()):
                check_plain(folder / name)
            os.rename(beside, folder / SAVED)
        _move(folder)


def finish_save(folder: Path) -> None:
    """Bring a folder in order whose saving was cut off after all was written.

    Raises:
        CheckpointError: where that can't be done here.
    """
    if not (folder / SAVED).is_dir():
        return
    try:
        with only_maker(folder / INDEX, PATIENCE):
            _move(folder)
    except OSError as error:
        raise CheckpointError(
            f"the saving of {folder} was cut off, and can't be finished here ({error.strerror}): open it once where "
            "you may write to it"
        ) from error


def _move(folder: Path) -> None:
    saved = folder / SAVED
    if not saved.exists():
        return
    check_plain(saved)
    for part in saved.iterdir():
        check_plain(folder / part.name)
    files = [path.relative_to(saved) for path in saved.rglob("*") if path.is_file()]
    for file in files:
        if str(file) not in (INDEX, RECORD):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            os.replace(saved / file, folder / file)
    if (saved / INDEX).exists():  # else a killed process had come as far as the next line but one
        if (saved / RECORD).exists():
            write_text(folder / RECORD, (saved / RECORD).read_text(encoding="utf-8"))
        else:
            (folder / RECORD).unlink(missing_ok=True)  # of what was there before
        os.replace(saved / INDEX, folder / INDEX)
    shutil.rmtree(saved)
