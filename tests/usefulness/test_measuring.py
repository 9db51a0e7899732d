"""`evaluate --usefulness` on drawn boards: from a data set to detectors, figures and a page."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from magical_hub import SeamlessGenerator, cli
from magical_hub.errors import ConfigError, DataError
from magical_hub.evaluation import EvaluationReport, Section, Verdict
from magical_hub.usefulness import UsefulnessOptions, evaluate_usefulness

SHORT: dict[str, Any] = {"group_column": "lot", "draws": 3, "steps": 4}
ARMS = {"classical", "painted", "copy-paste"}


def lines(folder: Path) -> list[dict[str, Any]]:
    """The finished detectors, the seconds that they took left out."""
    rows = [json.loads(line) for line in (folder / "detectors.jsonl").read_text().splitlines()]
    return [{**row, "seconds": 0} for row in rows]


@pytest.fixture(scope="module", params=["boxes", "masks"])
def measured(request, boards, tmp_path_factory) -> tuple[EvaluationReport, Path, datasets.Dataset]:
    """A report, its folder and the data."""
    data, folder = boards(masks=request.param == "masks"), tmp_path_factory.mktemp("report")
    report = evaluate_usefulness(data, folder, options=UsefulnessOptions(**SHORT), num_images=4)
    return report, folder, data


def test_figures_are_those_of_the_detectors(measured):
    """Scores, difference, p and interval, counted anew from the finished detectors."""
    report, folder, _ = measured
    details, rows = report.get_details("usefulness"), lines(folder)
    assert len(rows) == 9 and {row["task"]["arm"] for row in rows} == ARMS == set(details["arms"])
    by_arm = {
        arm: [row["mean"] for draw in range(3) for row in rows if row["task"] | {"count": 0} == task(arm, draw)]
        for arm in ARMS
    }
    assert by_arm == details["arms"]
    apart = np.array(by_arm["painted"]) - np.array(by_arm["classical"])
    main = details["differences"][0]
    assert (main["arm"], main["against"], main["draws"]) == ("painted", "classical", 3)
    assert main["mean"] == pytest.approx(apart.mean(), abs=1e-12)
    assert report.get_score("detector_difference") == main["mean"]
    assert (main["p"], main["low"], main["high"]) == pytest.approx(expected(apart))
    for name, figures in details["classes"].items():
        means = [np.mean([row["classes"][name] for row in rows if row["task"]["arm"] == arm]) for arm in ARMS]
        assert [figures[arm] for arm in ARMS] == pytest.approx(means)


def expected(apart: np.ndarray) -> tuple[float, float | None, float | None]:
    """p and the interval of three differences, by counting. Detectors of boxes may all have found nothing."""
    if not apart.any():
        return 1.0, None, None
    flips = [abs(np.mean(signs * apart)) for signs in itertools.product((-1, 1), repeat=3)]
    # Of the 27 ways to draw three of three one takes the lowest each time: 3.7 %, and the interval leaves out 2.5 %.
    return float(np.mean(np.array(flips) >= abs(apart.mean()) - 1e-12)), float(apart.min()), float(apart.max())


def task(arm: str, draw: int) -> dict[str, Any]:
    return {"arm": arm, "count": 0, "draw": draw}


def test_whole_lots_are_tested_on_and_named_before(measured):
    report, folder, data = measured
    protocol = json.loads((folder / "protocol.json").read_text())
    tested = [row for row in data if row["lot"] in protocol["test_groups"]]
    counts = report.about["counts"]
    assert counts["test"] == len(tested) and 0 < counts["test_groups"] == len(protocol["test_groups"]) < 8
    assert counts["defective"] == sum(number % 2 for number in range(32)) - counts["test_defective"]
    assert counts["defective_of_a_draw"] == 3 * counts["defective"] // 4
    assert (folder / "protocol.json").stat().st_mtime_ns < (folder / "painted.png").stat().st_mtime_ns
    assert (folder / "painted.png").stat().st_mtime_ns < (folder / "detectors.jsonl").stat().st_mtime_ns
    assert "fewer than 100 good images" in report.get_details("usefulness")["left_out"]["placebo"]


def test_what_is_written(measured, repo):
    report, folder, _ = measured
    assert json.loads((folder / "report.json").read_text()) == json.loads(report.to_json())
    schema = json.loads((repo / "docs" / "json.schema.json").read_text())
    Draft202012Validator({**schema, "$ref": "#/$defs/evaluate"}).validate(report.to_dict())
    page = (folder / "report.html").read_text()
    section = report.sections["usefulness"]
    assert report.leaks is None and report.statement == section.headline
    assert section.headline in page and page.count("data:image/png;base64,") == 2 and "<script" not in page
    assert "scratch <b>" not in page
    picture = Image.open(folder / "painted.png")
    sides = np.asarray(picture)
    side = (picture.width - 12) // 2
    left, right = sides[:, :side], sides[:, -side:]
    assert picture.height == side and (left[..., 0] == left[..., 2]).all()  # a grey board
    assert (left != right).any() and (right[..., 0] != right[..., 2]).any()  # and the mark of a defect in colour


def test_it_goes_on_after_a_stop_and_mixes_nothing(boards, tmp_path):
    data, options = boards(masks=True), {**SHORT, "draws": 2, "steps": 2}
    evaluate_usefulness(data, tmp_path, options=UsefulnessOptions(**options), num_images=2)
    kept, whole = tmp_path / "detectors.jsonl", lines(tmp_path)
    kept.write_text("".join(kept.read_text().splitlines(keepends=True)[:4]))
    before = kept.read_text()
    evaluate_usefulness(data, tmp_path, options=UsefulnessOptions(**options), num_images=2)
    assert kept.read_text().startswith(before) and lines(tmp_path) == whole

    report = evaluate_usefulness(data, tmp_path, options=UsefulnessOptions(**{**options, "draws": 3}), num_images=2)
    assert lines(tmp_path)[:6] == whole and len(lines(tmp_path)) == 9  # more draws go on from the others
    assert report.get_details("usefulness")["differences"][0]["draws"] == 3
    other = evaluate_usefulness(
        data, tmp_path, options=UsefulnessOptions(**{**options, "draws": 1, "num_defective": 3}), num_images=2
    )
    assert other.get_details("usefulness")["defective_images_of_a_draw"] == 3  # counted apart
    assert other.get_details("usefulness")["differences"][0]["draws"] == 1

    for changed, images, words in (
        ({"steps": 3}, 2, "steps"),
        ({}, 3, "num_images"),
        ({"image_size": 32}, 2, "image"),
    ):
        with pytest.raises(ConfigError, match=rf"has results with another .*{words}.*: give another output_dir"):
            evaluate_usefulness(data, tmp_path, options=UsefulnessOptions(**{**options, **changed}), num_images=images)
    with pytest.raises(ConfigError, match="results with another data"):
        evaluate_usefulness(
            data.select([*range(30), 31, 30]), tmp_path, options=UsefulnessOptions(**options), num_images=2
        )
    kept.write_text(before + "{]\n")
    with pytest.raises(DataError, match=r"line 5 of .* is not a finished detector: delete the line"):
        evaluate_usefulness(data, tmp_path, options=UsefulnessOptions(**options), num_images=2)


def of_two_sizes(boards) -> datasets.Dataset:
    rows = list(boards(masks=False))
    rows[3]["image"] = rows[3]["image"].resize((64, 48))
    return datasets.Dataset.from_list(rows, features=boards(masks=False).features)


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (lambda boards: boards(True, defective=False), {}, "no image of the data has a defect"),
        (lambda boards: boards(False, defective=True), {}, "no good image .* and no references: add some"),
        (lambda boards: boards(False, groups=1), {}, r"all images are of one group \(lot 0\)"),
        (lambda boards: boards(True), {"num_defective": 16}, "num_defective is 16, and 10 images .* at most 9"),
        (lambda boards: boards(True, count=4, groups=2), {}, "1 image with defects is left .* 2 at least"),
        (lambda boards: boards(True).remove_columns("mask"), {}, "neither boxes nor masks: .* give a checkpoint"),
        (lambda boards: boards(True), {"group_column": "board"}, "no column 'board'"),
        (of_two_sizes, {}, "image of row 3 is 64 x 48 pixels and the first one 64 x 64: cut or resize"),
        (
            lambda boards: datasets.concatenate_datasets([boards(True), boards(True)]),
            {"group_column": None},
            "test images are images with defects for training too",
        ),
    ],
)
def test_what_cannot_be_measured_is_one_line(boards, tmp_path, data, options, words):
    with pytest.raises((ConfigError, DataError), match=words) as caught:
        evaluate_usefulness(data(boards), tmp_path / "out", options=UsefulnessOptions(**{**SHORT, **options}))
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [({"draws": 0}, "draws is 0"), ({"test_fraction": 1.0}, "test_fraction is 1"), ({"image_size": 8}, "image_size")],
)
def test_options_out_of_range(options, words):
    with pytest.raises(ConfigError, match=words):
        UsefulnessOptions(**options)


def test_a_checkpoint_without_defects_is_left_out_by_name(boards, class_pipe, tmp_path):
    options = UsefulnessOptions(**{**SHORT, "draws": 1, "steps": 1})
    report = evaluate_usefulness(boards(masks=True), tmp_path, class_pipe, options=options, num_images=1)
    details = report.get_details("usefulness")
    assert "whole synthetic" not in details["arms"] and details["left_out"]["whole synthetic"]
    assert f"left out: {details['left_out']['whole synthetic'][:20]}" in (tmp_path / "report.html").read_text()
    assert report.about["weights_sha256"] == details["settings"]["checkpoint"] is not None


def test_whole_images_of_a_checkpoint_are_one_more_arm(boards, make_pipeline, tmp_path):
    pipe = make_pipeline(
        SeamlessGenerator,
        num_defects=2,
        defect_names=["scratch <b>", "spot"],  # not in the order of the data
        defect_frequencies=[[[0.3, 0.3]] * 6],
    )
    options = UsefulnessOptions(**{**SHORT, "draws": 1, "steps": 1})
    known = EvaluationReport({"leakage": Section("leakage", "?", Verdict.GOOD, "No copies.")}, {"subject": "boards"})
    report = evaluate_usefulness(boards(masks=False), tmp_path, pipe, options=options, num_images=2, report=known)
    details = report.get_details("usefulness")
    assert not {*details["left_out"]} - {"placebo"}, details["left_out"]
    assert list(details["arms"]) == ["classical", "painted", "copy-paste", "whole synthetic"]
    assert "trained on test images of this data, that figure is too good" in report.sections["usefulness"].statement
    assert list(report.sections) == ["leakage", "usefulness"] and report.leaks is False
    page = (tmp_path / "report.html").read_text()
    places = [page.index(words) for words in (report.first_page.headline, "<h1>Evaluation of boards", "No copies.")]
    assert places == sorted(places)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_command_says_that_it_goes_on_and_does(boards, tmp_path, monkeypatch, capfd, number):
    boards(masks=True).save_to_disk(tmp_path / "data")
    options = ["--group-column", "lot", "--draws", "4", "--steps", "2", "--num-images", "2"]
    command = ["evaluate", "--usefulness", "--real", tmp_path / "data", "--output-dir", tmp_path / "out", *options]
    monkeypatch.setattr(sys, "argv", ["magical-hub", *map(str, command)])
    kept = tmp_path / "out" / "detectors.jsonl"

    def stop() -> None:
        while not kept.exists():
            time.sleep(0.001)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell ignores for what it runs by &
    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    last = capfd.readouterr().err.splitlines()[-1]
    assert stopped.value.code == 130
    assert last == "stopped: what is finished is kept, and the same command continues from there"
    before = kept.read_text()
    cli.main()
    assert kept.read_text().startswith(before) and len(lines(tmp_path / "out")) == 12
