"""Strangers' text is shown as text: no terminal, shell, Markdown or page takes it for more."""

from __future__ import annotations

import html
import re
import shlex
import subprocess

import markdown as renderer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from magical_hub.checkpoint import explain
from magical_hub.errors import DataError
from magical_hub.provenance import steps_text
from magical_hub.texts import code, for_shell, listed, markdown, plain, plain_lines

NASTY = [
    "x`\n\n# Checked by the publisher: no copies\n\n<img src=http://evil.example/t.png>\n",
    "\x1b]0;owned\x07\x1b[2K\rerror: all is well",
    "![x](http://evil.example/x.png)",
    "<script>alert(1)</script>",
    "[x]: http://evil.example",
    "| a | b |\n| - | - |",
    "``` \n---",
    "admin\u202egnp.exe",
    "zero\u200bwidth\ufeff",
    "half \ud800",
    "&lt;b&gt; &#x3c;",
    "\x9b31m\x00\x7f",
    "x" * 10_000_000,
    "\u2028new\u2029lines\x85\x0b\x0c",
    "https://alice:secret@hub.example/x?token=hf_" + "a" * 34,
    "1. first",
    "- item",
    "www.evil.example me@evil.example",
    "{{ config }} {% raw %}",
]
ANY = st.text(max_size=60) | st.text("`*_[]<>|~#!()\\&-+=.:/1 \n\t@", max_size=40)


@pytest.mark.parametrize("text", NASTY, ids=lambda text: ascii(text[:20]))
def test_a_line_is_plain(text):
    for line in (plain(text), str(DataError(f"{text} is no good: correct it")), listed([text] * 5000), code(text)):
        assert line.isprintable() and len(line) < 5000
        line.encode("utf-8")
    assert str(DataError(f"{text} is no good: correct it")).endswith("is no good: correct it")
    assert "secret" not in plain(text) and "hf_a" not in plain(text)
    step = {"made": text, text: text, "image": {"class": text}}
    about = {"checkpoint": text, "generator": text, "class_names": [text], "defect_names": [text], "bytes": 0}
    about |= {"image_size": [2, 2], "grid": [1, 1], "sub_region": [2, 2], "channels": 1, "critic": False}
    for told in (steps_text([step, step]), explain(about)):
        assert all(line.isprintable() for line in told.split("\n")) and len(told) < 20_000
        assert told == plain_lines(told)


@settings(max_examples=300, deadline=None)
@given(ANY)
def test_any_text_is_plain_and_stays_so(text):
    line = plain(text)
    assert line.isprintable() and plain(line) == line
    assert line == text or not text.isprintable() or "://" in text


@settings(max_examples=300, deadline=None)
@given(ANY | st.sampled_from(NASTY))
def test_markdown_shows_the_text_itself(text):
    """By two renderers, one of them CommonMark with HTML, tables and what begins blocks."""
    line = plain(text)
    shown = markdown(text)
    for rendered in (
        MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(shown),
        renderer.markdown(shown, extensions=["tables", "fenced_code"]),
    ):
        inside = rendered.strip().removeprefix("<p>").removesuffix("</p>")
        assert "<" not in inside
        assert html.unescape(inside).split() == line.split()


@settings(max_examples=200, deadline=None)
@given(ANY | st.sampled_from(NASTY))
def test_a_code_span_shows_the_text_itself(text):
    rendered = MarkdownIt("commonmark", {"html": True}).render(f"Classes: {code(text)}.")
    inside = re.fullmatch(r"<p>Classes: <code>(.*)</code>\.</p>\n", rendered)
    if plain(text, 80).strip():
        assert inside is not None and html.unescape(inside[1]).strip() == plain(text, 80).strip()


@pytest.mark.parametrize(
    "name",
    ["$(touch PWNED)", "`touch PWNED`", "'; touch PWNED; '", "a b", "x\ntouch PWNED", "-rf", "!!", "é", *NASTY[:6]],
)
def test_a_line_to_paste_runs_nothing(name, tmp_path):
    word = for_shell(name)
    if word is None:
        assert not name.isprintable() or name.startswith("-")
        return
    said = subprocess.run(["bash", "-c", f"printf %s {word}"], cwd=tmp_path, capture_output=True, text=True)
    assert said.stdout == name == shlex.split(word)[0] and not list(tmp_path.iterdir())
