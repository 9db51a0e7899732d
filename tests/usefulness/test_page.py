"""The first page of the report, as a browser shows it: all of it on one page, on paper and on a telephone."""

from __future__ import annotations

from pathlib import Path

import pytest

from magical_hub.evaluation import EvaluationReport
from magical_hub.usefulness import UsefulnessOptions, evaluate_usefulness

A4 = 794, 1123
"""Pixels of a sheet at 96 pixels an inch."""


@pytest.fixture(scope="module")
def written(boards, tmp_path_factory) -> tuple[EvaluationReport, Path]:
    folder = tmp_path_factory.mktemp("page")
    options = UsefulnessOptions(group_column="lot", draws=1, steps=1)
    return evaluate_usefulness(boards(masks=False), folder, options=options, num_images=2), folder


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_the_first_page_says_all(browser, written, scheme, width):
    report, folder = written
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800}, offline=True)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto((folder / "report.html").as_uri(), wait_until="load")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    first, section = page.locator(".first-page"), report.sections["usefulness"]
    shown = first.inner_text()
    for words in (section.question, section.headline, section.statement, section.advice):
        assert words in shown
    sizes = first.locator("img").evaluate_all("images => images.map(image => [image.naturalWidth, image.width])")
    assert len(sizes) == 2 and all(natural > 0 and 300 < size <= width for natural, size in sizes)
    assert page.locator("th", has_text="class").count() and "scratch <b>" in page.inner_text("body")
    assert complaints == []
    page.close()


def test_it_is_one_sheet_of_paper(browser, written):
    page = browser.new_page(viewport={"width": A4[0], "height": A4[1]}, offline=True)
    page.emulate_media(media="print")
    page.goto((written[1] / "report.html").as_uri(), wait_until="load")
    first = page.locator(".first-page")
    assert first.evaluate("part => part.getBoundingClientRect().bottom") < A4[1] - 2 * 38  # margins of a centimetre
    assert first.evaluate("part => getComputedStyle(part).breakAfter") == "page"
    page.close()
