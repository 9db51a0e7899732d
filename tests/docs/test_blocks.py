"""Every block of code in README.md and docs/ runs, in a short form; what doesn't is listed in pages.py, and why.

The blocks of a page share their names and a folder with IMAGES, RUN and what else they speak of, in their order.
"""

from __future__ import annotations

import itertools
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pages
import pytest
from hub_server import HubServer
from sybil import Document, Example, Lexeme, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer

from magical_hub import cli

REPO = Path(__file__).parent.parent.parent
PAGES = sorted(str(path.relative_to(REPO)) for path in [REPO / "README.md", *(REPO / "docs").glob("*.md")])
ASSIGNMENT = re.compile(r"[A-Z_]+=")


def commands(source: str) -> list[str]:
    """The commands of a shell block, without comments, lines that go on joined."""
    lines = source.replace("\\\n", " ").splitlines()
    return [text for line in lines if (text := re.sub(r"(^|\s)#.*", "", line).strip())]


class Page:
    """A page, the folder where its blocks run, and the Hub that they talk to."""

    def __init__(self, name: str, place: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch, whole: bool) -> None:
        self.name, self.place, self.hub, self.monkeypatch, self.whole = name, place, hub, monkeypatch, whole
        self.changes = pages.CHANGES.get(name, {})
        self.left = set(self.changes)

    def run(self) -> None:
        document = parse(self.name, self.run_python, self.run_shell)
        document.namespace.update(pages.known_before(self.name))
        for example in document:
            example.evaluate()
        assert not self.left, f"{self.name} has no {self.left}: take it out of CHANGES"

    def run_python(self, example: Example) -> None:
        source = example.parsed
        for old, new in self.changes.items():
            if old in source:
                self.left.discard(old)
                source = source.replace(old, new.format_map(Later(self)))
        example.parsed = Lexeme(source, example.parsed.offset, example.parsed.line_offset)
        PythonEvaluator()(example)

    def run_shell(self, example: Example) -> None:
        for line in commands(example.parsed):
            if line not in pages.NOT_RUN and (self.whole or not is_slow(line, self.name)):
                code = self.run_line(line)
                assert code == pages.EXIT_CODES.get(line, 0), f"{self.name}: {line}: exit code {code}"

    def run_line(self, line: str) -> int:
        """Run a command in this process where it is Python's; its exit code."""
        words = shlex.split(line)
        while ASSIGNMENT.match(words[0]):
            name, _, value = words.pop(0).partition("=")
            self.monkeypatch.setenv(name, value if "://" not in value else f"sqlite:///{self.place}/mlflow.db")
        self.make_way(words)
        words += shlex.split(pages.SHORT.get(" ".join(words[:2]), ""))
        if "--preset" in words:
            words += pages.SHORT["magical-hub train --preset"].split()
        if "--resume" in words:
            words += pages.SHORT["magical-hub train --resume"].split()
        if words[0] == "magical-hub":
            return exit_code(self.monkeypatch, words, cli.main)
        if words[0] == "python" and words[1].startswith("examples/"):
            script = REPO / words[1]
            return exit_code(self.monkeypatch, words[1:], lambda: runpy.run_path(str(script), run_name="__main__"))
        if words[:2] == ["accelerate", "launch"]:
            words[1:2] = ["-m", "accelerate.commands.launch", "--cpu"]
            words += pages.SHORT["magical-hub train"].split()
            return subprocess.run([sys.executable, *words[1:]]).returncode
        raise AssertionError(f"{self.name}: {line!r} is neither run nor listed in NOT_RUN, with the reason")

    def make_way(self, words: list[str]) -> None:
        """A page shows several ways into one folder, of which a reader takes one."""
        for option, value in itertools.pairwise(words):
            written = option == "--output-dir" or (option == "--dry-run" and "push" in words)
            if written and "--resume" not in words and "evaluate" not in words:
                shutil.rmtree(self.place / value, ignore_errors=True)


class Later(dict[str, str]):
    """What stands for a name in CHANGES, known when it is asked for."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def __missing__(self, name: str) -> str:
        if name == "commit":
            return self.page.hub.model("OWNER/NAME").refs["main"]
        if name == "model_id":
            (run,) = mlflow.search_runs(experiment_names=["magical_hub"], output_format="list")
            return run.outputs.model_outputs[0].model_id
        return {"repo": str(REPO), "place": str(self.page.place)}[name]


def exit_code(monkeypatch: pytest.MonkeyPatch, words: list[str], main: Callable[[], Any]) -> int:
    monkeypatch.setattr(sys, "argv", words)
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def parse(name: str, python: Callable[[Example], None], shell: Callable[[Example], None]) -> Document:
    parsers = [CodeBlockParser("python", python), CodeBlockParser("bash", shell)]
    return Sybil(parsers).parse(REPO / name)


def lines_of(name: str) -> list[str]:
    """All commands of a page."""
    found: list[str] = []
    for example in parse(name, lambda example: None, lambda example: found.extend(commands(example.parsed))):
        example.evaluate()
    return found


README = frozenset(lines_of("README.md"))


def is_slow(line: str, page: str) -> bool:
    """Whether the quick tests leave a line out."""
    return line in pages.SLOW or line.startswith("python examples/") or (page != "README.md" and line in README)


def has_more(name: str) -> bool:
    """Whether there is more to run of a page than the quick tests do."""
    left_out = [line for line in lines_of(name) if is_slow(line, name) and line not in pages.NOT_RUN]
    return name in pages.SLOW_PAGES or bool(left_out)


@pytest.mark.parametrize("name", [name for name in PAGES if name not in pages.SLOW_PAGES])
def test_every_block_runs(name, place, hub, monkeypatch):
    Page(name, place, hub, monkeypatch, whole=False).run()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PAGES if has_more(name)])
def test_every_line_runs(name, place, hub, monkeypatch):
    Page(name, place, hub, monkeypatch, whole=True).run()


def test_every_block_is_run_or_listed():
    """A fence of any other language, and code that is only set in, would be run by nobody."""
    unknown = {key for key in pages.NO_CODE if key[0] not in PAGES}
    for name in PAGES:
        text = (REPO / name).read_text()
        for fence in FencedCodeBlockLexer(".*")(Document(text, name)):
            language, first = fence.lexemes["language"], fence.lexemes["source"].splitlines()[0]
            assert language in ("python", "bash") or (name, first) in pages.NO_CODE, f"{name}: {language}: {first}"
        prose = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.M | re.S)
        assert not re.findall(r"^\n {4,}\S.*", prose, re.M), name
        unknown |= {key for key in pages.NO_CODE if key[0] == name and key[1] not in text}
    assert not unknown


def test_what_is_listed_is_there():
    """A line that was taken out of the pages is taken out of the lists."""
    found = {line for name in PAGES for line in lines_of(name)}
    assert {*pages.NOT_RUN, *pages.SLOW, *pages.EXIT_CODES} <= found
