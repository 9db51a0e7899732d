"""report.html as a browser shows it: all there, and nothing asked of any network."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

SHOWN = "images => images.map(image => [image.complete, image.naturalWidth, image.alt])"


class Watched:
    """A page, with what it asked for and what it complained of."""

    def __init__(self, page: Page) -> None:
        self.page, self.asked, self.complaints = page, [], []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))


@pytest.fixture(params=[("light", 1280), ("dark", 390)], ids=["light-wide", "dark-narrow"])
def opened(browser: Browser, perfect, request) -> Iterator[Watched]:
    """The report of real images, opened as a file."""
    scheme, width = request.param
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800}, offline=True)
    watched = Watched(page)
    page.goto((perfect[1] / "report.html").as_uri(), wait_until="load")
    yield watched
    page.close()


def test_a_browser_shows_all_of_the_report(opened, perfect):
    page, report = opened.page, perfect[0]
    headings = page.locator("h2").all_inner_texts()
    for section, heading in zip(report.sections.values(), headings, strict=False):
        assert section.question in heading and section.verdict.value in heading
    assert len(headings) == len(report.sections) + 1
    assert report.statement in page.inner_text("body")
    pictures = page.locator("img").evaluate_all(SHOWN)
    captions = [caption for section in report.sections.values() for caption in section.pictures]
    assert [alt for _, _, alt in pictures] == captions
    assert all(complete and width > 0 for complete, width, _ in pictures), pictures
    assert [url for url in opened.asked if not url.startswith(("file:", "data:"))] == []
    assert [url for url in opened.asked if url.startswith("file:")] == [(perfect[1] / "report.html").as_uri()]
    assert opened.complaints == []


def test_it_fits_the_window_and_can_be_read(opened):
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    ink, paper = (
        page.evaluate(f"getComputedStyle(document.body).{name}.match(/\\d+/g).slice(0, 3).map(Number)")
        for name in ("color", "backgroundColor")
    )
    assert abs(sum(ink) - sum(paper)) > 450  # of 765: dark on light or light on dark
    page.locator("a[href='#leakage']").click()
    assert page.locator("#leakage").evaluate("heading => Math.abs(heading.getBoundingClientRect().top) < 2")
    summary = page.locator("summary").first
    summary.click()
    assert page.locator("details pre").first.is_visible()
