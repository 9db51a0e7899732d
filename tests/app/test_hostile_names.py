"""Names of somebody else's classes on the page and in its reports: text, and no address that a browser loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from magical_hub import SeamlessGenerator
from magical_hub.evaluation.report import EvaluationReport
from magical_hub.evaluation.section import Section, Verdict

NASTY = "![x](http://evil.example/a.png) <img src=http://evil.example/b.png> <script>window.ran = 1</script> # **h**"


@pytest.fixture
def hostile_folder(make_pipeline, tmp_path) -> Path:
    defects = {"num_defects": 1, "defect_names": [NASTY], "defect_frequencies": [[[0.9] for _ in range(6)]]}
    folder = tmp_path / "checkpoint"
    make_pipeline(
        SeamlessGenerator, channels=3, class_names=[NASTY], class_frequencies=[1.0], **defects
    ).save_pretrained(folder)
    report = tmp_path / "report"
    report.mkdir()
    section = Section("split", NASTY, Verdict.GOOD, NASTY, details={NASTY: NASTY})
    EvaluationReport({"split": section}, {"subject": NASTY}).write(report)
    values = json.loads((report / "report.json").read_text())
    values["statement"] = NASTY
    (report / "report.json").write_text(json.dumps(values))
    return folder


def test_no_name_loads_anything(visit, hostile_folder, tmp_path):
    user = visit()
    user.fill("Checkpoint", hostile_folder)
    user.press("Generate")
    user.says(NASTY[:30])
    user.turn_to("Report")
    user.fill("Report to open", tmp_path / "report")
    user.press("Open")
    user.says("<img src=http://evil.example/b.png>")
    frame = user.page.frame_locator("iframe[title=Report]")
    frame.get_by_text("About this report").wait_for()
    assert user.page.locator("[src*='evil.example'], [href*='evil.example']").count() == 0
    assert frame.locator("[src*='evil.example'], [href*='evil.example']").count() == 0
    assert user.page.evaluate("window.ran") is None
    assert user.strays == [] and user.complaints == []

    # And were one to come through, the page's policy stops it before a request is made.
    for html in ("<img src='http://evil.example/c.png'>", "<iframe src='http://evil.example/d'></iframe>"):
        with user.page.expect_console_message(lambda said: "Content Security Policy" in said.text):
            user.page.evaluate("html => document.body.insertAdjacentHTML('beforeend', html)", html)
    assert user.strays == []


def test_a_report_alone_allows_nothing_from_elsewhere(hostile_folder, tmp_path):
    text = (tmp_path / "report" / "report.html").read_text()
    assert "default-src 'none'" in text.partition("</head>")[0] and "<script>window" not in text
