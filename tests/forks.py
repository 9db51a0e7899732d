"""Processes forked from this one: they have imported the libraries already, which takes longer than what they do."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any, TextIO

from tqdm.auto import tqdm

from magical_hub import cli

_fork = multiprocessing.get_context("fork")


def start(act: Callable[[], Any]) -> BaseProcess:
    """Start a process that does something; what it writes to stderr is dropped."""
    child = _fork.Process(target=_act, args=(act, os.devnull))
    child.start()
    return child


def start_command(*arguments: object, first: Callable[[], Any] | None = None) -> tuple[BaseProcess, TextIO]:
    """Start a process that runs `magical-hub ARGUMENTS`, and something else first; with what it writes to stderr."""

    def run() -> None:
        sys.argv = ["magical-hub", *map(str, arguments)]
        if first is not None:
            first()
        cli.main()

    read, write = os.pipe()
    child = _fork.Process(target=_act, args=(run, write))
    child.start()
    os.close(write)
    return child, open(read)


def _act(act: Callable[[], Any], errors: str | int) -> None:
    tqdm.set_lock(threading.RLock())  # its own is shared with the parent, and would be held for ever by a killed child
    with open(errors, "w", buffering=1) as sys.stderr:
        act()
