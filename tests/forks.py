"""Processes forked from this one: they have imported the libraries already, which takes longer than what they do."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

from tqdm.auto import tqdm

_fork = multiprocessing.get_context("fork")


def start(act: Callable[[], Any]) -> BaseProcess:
    """Start a process that does something; what it writes to stderr is dropped."""
    child = _fork.Process(target=_quietly, args=(act,))
    child.start()
    return child


def _quietly(act: Callable[[], Any]) -> None:
    tqdm.set_lock(threading.RLock())  # its own is shared with the parent, and would be held for ever by a killed child
    with open(os.devnull, "w") as sys.stderr:
        act()
