"""The page as a user runs it: the command in a process of its own, looked at in a real Chromium."""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from plates import save_plates
from playwright.sync_api import Browser, BrowserContext, Page, expect
from playwright.sync_api import Error as PlaywrightError

from magical_hub import SeamlessGenerator

FILE = "img => fetch(img.src).then(r => r.arrayBuffer()).then(b => Array.from(new Uint8Array(b)))"
PATIENCE = 180_000
"""Milliseconds: the machine may be busy."""
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="session")
def defect_folder(make_pipeline: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint (2 x 3 sub-regions of 16 px) with classes and defects."""
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    defects: dict[str, Any] = {"num_defects": 2, "defect_names": ["scratch", "void"]}
    frequencies = [[[0.2, 0.2] for _ in range(6)] for _ in range(3)]
    make_pipeline(
        SeamlessGenerator,
        channels=3,
        class_names=["QFN", "BGA", "SOIC"],
        class_frequencies=[0.2, 0.3, 0.5],
        defect_frequencies=frequencies,
        **defects,
    ).save_pretrained(folder)
    return folder


@contextmanager
def _served(
    checkpoint: Path, folder: Path, script: Path | None = None, data: Path | None = None
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    log = folder / "log"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = ["-m", "magical_hub.cli", "app", "--checkpoint", str(checkpoint), "--port", str(port), "--no-browser"]
    command += [] if data is None else ["--data", str(data)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    if script is not None:
        command = [str(script)]
        environment |= {"CHECKPOINT": str(checkpoint), "PORT": str(port)}
    with log.open("wb") as file:
        server = subprocess.Popen([sys.executable, *command], stderr=file, stdout=file, cwd=folder, env=environment)
        try:
            while not (said := re.search(r"the page is at (\S+) until", log.read_text())):
                assert server.poll() is None, log.read_text()
                time.sleep(0.1)
            yield said[1].replace("0.0.0.0", "127.0.0.1"), server
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=120)


@pytest.fixture(scope="session")
def serve() -> Callable[..., Any]:
    """Runs `magical-hub app` on a checkpoint, in a folder, until a block ends, or a script that serves the page.

    Gives its address and its process.
    """
    return _served


@pytest.fixture(scope="session")
def plates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plates to paint on, some with defects. Not to be changed."""
    folder = tmp_path_factory.mktemp("plates") / "data"
    save_plates(folder)
    return folder


@pytest.fixture(scope="session")
def site(
    serve: Callable[..., Any], defect_folder: Path, plates: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a page for all tests: a server takes as long to start as most of them to run."""
    with serve(defect_folder, tmp_path_factory.mktemp("site"), data=plates) as (address, _):
        yield address


class Visitor:
    """A user in a browser of their own (no cookie or storage shared), who can reach this machine and nothing else."""

    def __init__(self, browser: Browser, site: str, tab: str | None = "Generate", **how: Any) -> None:
        self.strays: list[str] = []
        """What the page asked of anywhere else."""
        self.complaints: list[str] = []
        self.context: BrowserContext = browser.new_context(**how)
        self.context.set_default_timeout(PATIENCE)
        self.context.route(lambda url: not url.startswith(("http://127.0.0.1", "data:", "blob:")), self._refuse)
        self.page: Page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.goto(site)
        if tab is not None:
            self.turn_to(tab)
        if tab in ("Generate", None):
            self.says("2 x 3 sub-regions of 16 x 16 px")

    def _refuse(self, route: Any) -> None:
        self.strays.append(route.request.url)
        route.abort()

    def press(self, name: str) -> None:
        """A button."""
        self.page.get_by_role("button", name=name, exact=True).click()

    def turn_to(self, tab: str) -> None:
        """A tab."""
        self.page.get_by_role("tab", name=tab, exact=True).click()

    def fill(self, label: str, value: object) -> None:
        """A box for text, or for a number, by how its label begins."""
        named = self.page.get_by_label(re.compile(rf"^\s*(number input for )?{re.escape(label)}"))
        box = self.page.locator("input:visible, textarea:visible").and_(named).first
        box.fill(str(value))
        box.blur()

    def shows(self, number: int, expected: Any, of: int | None = None) -> None:
        """Wait until an image in the row that the page shows of those it made, from 1, has these pixels."""
        name = f"Thumbnail {number} of {'' if of is None else of}"
        self.pixels(f"button[aria-label^='{name}'] img", np.asarray(expected))

    def pixels(self, selector: str, expected: np.ndarray | None = None) -> np.ndarray:
        """The pixels of an image that the page shows; once they are the expected ones, where some are."""
        image = self.page.locator(selector).locator("visible=true")
        until = time.monotonic() + PATIENCE / 1000
        while True:
            try:
                content = bytes(image.evaluate(FILE, timeout=1000))
                found = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
            except PlaywrightError:  # it is being replaced
                found = np.zeros(0)
            if found.size and (expected is None or np.array_equal(found, expected)):
                return found
            assert time.monotonic() < until, f"{selector} never showed what it should"
            self.page.wait_for_timeout(50)

    def says(self, text: str) -> None:
        """Wait until the page does."""
        self.page.get_by_text(text).locator("visible=true").first.wait_for()


@pytest.fixture
def visit(browser: Browser, site: str) -> Iterator[Callable[..., Visitor]]:
    """Opens the page, or another address, for one user more."""
    visitors: list[Visitor] = []

    def open_page(address: str = site, **how: Any) -> Visitor:
        visitors.append(Visitor(browser, address, **how))
        return visitors[-1]

    yield open_page
    for visitor in visitors:
        visitor.context.close()
