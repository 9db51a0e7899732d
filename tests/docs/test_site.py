"""The site builds without a warning and fetches nothing from elsewhere; links and quoted errors are right."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from magical_hub.data import images, masks

LINK = re.compile(r"\]\(([^)\s]+)\)")
FETCHES = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "object": "data"}
"""Elements that make a browser fetch something, and what names it."""


@pytest.fixture(scope="module")
def site(repo, tmp_path_factory) -> Path:
    """The built site, as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    ran = subprocess.run(command, cwd=repo, env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0 and "WARNING" not in ran.stderr, ran.stderr
    return folder


class Fetched(HTMLParser):
    """What a page makes a browser fetch: "URL" of each element that does so."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag in FETCHES and told.get("rel") not in ("canonical", "prev", "next"):
            self.urls.append(told.get(FETCHES[tag]) or "")


def test_nothing_is_fetched_from_elsewhere(site):
    fetched = []
    for page in site.rglob("*.html"):
        parser = Fetched()
        parser.feed(page.read_text())
        fetched += [(url, page) for url in parser.urls if not url.startswith("data:")]
        assert "@import" not in page.read_text() and "fonts.g" not in page.read_text()
    assert len(fetched) > 50
    for url, page in fetched:
        assert not re.match(r"(\w+:)?//", url), f"{page.name} fetches {url}"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", sheet.read_text()), sheet


def test_the_pages_are_there(site, repo):
    sources = {path.stem for path in (repo / "docs").glob("*.md")}
    assert sources <= {path.stem for path in site.glob("*.html")}
    reference = (site / "reference.html").read_text()
    for name in ("MagicalPipeline", "augment_dataset", "package_dataset", "boundary", "relative_seam_ratio", "Grid"):
        assert re.search(rf'id="magical_hub\.[\w.]*{name}"', reference), name


def test_links_lead_somewhere(repo):
    for page in (repo / "README.md", *(repo / "docs").glob("*.md")):
        targets = [target for target in LINK.findall(page.read_text()) if "://" not in target]
        for target in targets:
            path = target.partition("#")[0]
            assert not path or (page.parent / path).exists(), f"{page.name} leads to {target}"


def test_every_quoted_error_is_one_of_the_program(repo):
    quoted = re.findall(r"^\| `([^`]+)` \|", (repo / "docs" / "errors.md").read_text(), re.M)
    said = templates(repo / "magical_hub")
    assert quoted
    for message in quoted:
        assert message in said, f"nothing says {message!r}"


def templates(folder: Path) -> set[str]:
    """Every string in the source, with "..." for what is filled in."""
    found = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "..." for part in node.values]
                found.add("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def test_the_tables_of_what_is_read_are_those_of_the_code(repo):
    """Each of their rows is a test of tests/data; here, that the page says what the modules say."""
    page = (repo / "docs" / "data.md").read_text()
    for module in (images, masks):
        table = [line for line in (module.__doc__ or "").splitlines() if line.startswith("|")]
        assert len(table) > 7 and "\n".join(table) in page, module.__name__
