"""Long work, each in a process of its own: the command itself, with its progress, stopped by SIGTERM."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
import threading
from collections import OrderedDict
from pathlib import Path

from magical_hub.errors import ConfigError
from magical_hub.files import expanded

PATIENCE = 60
"""Seconds that a process has for its checkpoint after SIGTERM."""
REMEMBERED = 16
"""Jobs that have ended and can still be shown."""
EVERY = 2
"""Seconds between two updates of the page."""


class Job:
    """A command that runs, or ran.

    Args:
        arguments: of `magical-hub`.
    """

    def __init__(self, arguments: list[str]) -> None:
        command = [sys.executable, "-m", "magical_hub.cli", *arguments]
        # A session of its own: Ctrl-C in the terminal is for the page, which then stops its jobs one way.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._stopping = False
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def runs(self) -> bool:
        """Whether it is still running."""
        return self._process.poll() is None

    @property
    def share(self) -> float | None:
        """How much of it is done, from 0 to 1, where its last bar of progress says so."""
        found = re.search(r"(\d+)%\|", self.line)
        return int(found[1]) / 100 if found else None

    @property
    def line(self) -> str:
        """The last line of its output; of one that ended, how it ended."""
        last = self._lines[-1] if self._lines else ""
        if self.runs:
            return "stopping, once a step is done" if self._stopping else last or "starting"
        self._reader.join(timeout=5)
        last = next((line for line in reversed(self._lines) if "%|" not in line), "")
        if self._stopping and self._process.returncode < 0:
            return "stopped"  # before it could say so
        if self._process.returncode < 0 or not last:
            return f"ended with code {self._process.returncode}, by a signal or for want of memory"
        return last

    @property
    def is_done(self) -> bool:
        """Whether it ended without an error."""
        return self._process.poll() == 0

    @property
    def failed(self) -> bool:
        """Whether it ended otherwise than done or stopped."""
        return not self.runs and self._process.returncode != 0 and not self._stopping

    def stop(self) -> None:
        """Stop it by SIGTERM: training writes a checkpoint first."""
        self._stopping = True
        if self.runs:
            self._process.terminate()

    def wait(self) -> None:
        """Wait until it has ended; end it by force where that takes too long."""
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> None:
        """Keep the last lines; bars of progress write theirs over and over, ended by a carriage return."""
        assert self._process.stderr is not None
        rest = b""
        while chunk := os.read(self._process.stderr.fileno(), 2**16):
            *lines, rest = re.split(rb"[\r\n]+", rest + chunk)
            self._keep([*lines, rest] if b"%|" in rest else lines)
        self._keep([rest])
        self._process.stderr.close()

    def _keep(self, lines: list[bytes]) -> None:
        for text in filter(None, (line.decode(errors="replace").strip() for line in lines)):
            if "%|" in text and self._lines and "%|" in self._lines[-1]:
                self._lines[-1] = text
            else:
                self._lines = [*self._lines[-50:], text]


class Jobs:
    """The jobs of the page, each known by the folder that it writes to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: OrderedDict[Path, Job] = OrderedDict()

    def start(self, folder: str | Path, arguments: list[str]) -> None:
        """Start a job.

        Raises:
            ConfigError: where one is writing to that folder already.
        """
        with self._lock:
            key = _key(folder)
            if key in self._jobs and self._jobs[key].runs:
                raise ConfigError(f"{folder} is being written already: stop that first, or give another folder")
            self._jobs[key] = Job(arguments)
            self._jobs.move_to_end(key)
            ended = [path for path, job in self._jobs.items() if not job.runs]
            for path in ended[:-REMEMBERED]:
                del self._jobs[path]

    def find(self, folder: str | Path) -> Job | None:
        """The last job that wrote to a folder; None for an empty name."""
        if not folder:
            return None
        with self._lock:
            return self._jobs.get(_key(folder))

    def cancel(self, folder: str) -> str:
        """Stop the last job that wrote to a folder, where there is one; returns what the page then shows."""
        job = self.find(folder)
        if job is not None:
            job.stop()
        return status(job)

    def stop(self) -> None:
        """Stop all, and wait for them."""
        with self._lock:
            running = [job for job in self._jobs.values() if job.runs]
            for job in running:
                job.stop()
            for job in running:
                job.wait()


def _key(folder: str | Path) -> Path:
    return expanded(folder).resolve()


def status(job: Job | None) -> str:
    """A job for the page, read out by a screen reader as it changes; an empty place where there is none."""
    if job is None:
        return '<div role="status"></div>'
    line = html.escape(job.line)
    bar = ""
    if job.runs:
        value = "" if job.share is None else f' value="{job.share}"'
        bar = f'<progress{value} max="1" aria-label="Progress" style="width: 100%"></progress>'
    kind = "alert" if job.failed else "status"
    return (
        f'<div role="{kind}" class="job {kind}">{bar}<pre style="white-space: pre-wrap; margin: 0">{line}</pre></div>'
    )
