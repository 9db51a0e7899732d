"""Tuning: by group, deterministic, and never worse than nothing by its own measure."""

from __future__ import annotations

import json
import sys

import datasets
import pytest

from magical_hub.augmentation.writing import Written
from magical_hub.data.columns import find_columns
from magical_hub.defects import DefectBank, tune
from magical_hub.defects.rows import Rows
from magical_hub.defects.tuning import Tuned
from magical_hub.errors import ConfigError, DataError, MissingPackageError

VALUES = {1: "scratch", 2: "spot"}
SMALL = {"num_synthetic": 4, "folds": 2, "steps": 2, "longer_side": 32}


@pytest.mark.parametrize("with_mask", [True, False])
def test_what_is_chosen_was_tried(make_plates, with_mask):
    rows = make_plates(bad=4, good=4, with_mask=with_mask).add_column("group", [str(n % 4) for n in range(8)])
    values = VALUES if with_mask else None
    bank, tuned = DefectBank.tune(rows, mask_values=values, group_column="group", **SMALL)
    assert bank.settings == tuned.settings and len(bank) == 8
    assert tuned.trials[0].settings is None and tuned.trials[0].synthetic_share == 0
    assert all(len(trial.scores) == 2 and 0 <= trial.mean <= 1 for trial in tuned.trials)
    assert tuned.settings in {trial.settings for trial in tuned.trials}
    if tuned.synthetic_share:
        chosen = [trial for trial in tuned.trials if trial.synthetic_share == tuned.synthetic_share]
        assert max(trial.mean for trial in chosen) > tuned.trials[0].mean
    again = tune(rows, mask_values=values, group_column="group", **SMALL)
    assert again == tuned


def test_it_goes_on_after_a_stop(make_plates, tmp_path):
    """With the scores that are whole, and the same choice in the end."""
    rows = make_plates(bad=4, good=4)
    whole = tune(rows, mask_values=VALUES, **SMALL)
    assert tune(rows, mask_values=VALUES, kept_in=tmp_path / "kept", **SMALL) == whole
    (file,) = (tmp_path / "kept").iterdir()
    lines = file.read_bytes().split(b"\n")
    assert len(lines) == 1 + 2 * len(whole.trials)  # the first is empty

    file.write_bytes(b"\n".join([*lines[:4], lines[4][:20]]))  # a kill cut off the fourth
    before = file.read_bytes()
    assert tune(rows, mask_values=VALUES, kept_in=tmp_path / "kept", **SMALL) == whole
    assert file.read_bytes() == before + b"\n" + b"\n".join(lines[4:])

    scores = [json.loads(line)["score"] for line in lines[1:]]
    better = lines[1].replace(f'"score": {scores[0]!r}'.encode(), b'"score": 2.0')  # which no detector reaches
    file.write_bytes(b"\n".join([lines[0], better, *lines[2:]]))
    assert tune(rows, mask_values=VALUES, kept_in=tmp_path / "kept", **SMALL).trials[0].scores[0] == 2.0
    tune(rows, mask_values=VALUES, kept_in=tmp_path / "kept", **{**SMALL, "steps": 3})
    assert len([*(tmp_path / "kept").iterdir()]) == 2  # other options, other scores


@pytest.mark.parametrize(("share", "words"), [(0.0, "no share of them helped"), (0.3, "is best with 30% of synth")])
def test_the_command_says_what_was_chosen(share, words):
    record = {"tuning": {"synthetic_share": share}}
    first, second = Written("out", "hf", 7, 0, {}, None, record).summary().splitlines()
    assert first == "7 real and 0 synthetic images: out" and words in second and "out/provenance.json" in second


@pytest.mark.parametrize(("share", "rows"), [(0.0, 0), (0.15, 18), (0.5, 100)])
def test_rows_for_a_share(share, rows):
    assert Tuned(None, share, 0.0, ()).rows_for(100) == rows


def test_groups_are_needed(make_plates):
    rows = make_plates(bad=3, good=4).add_column("group", ["a"] * 7)
    with pytest.raises(DataError, match=r"^1 group of images has defects"):
        tune(rows, mask_values=VALUES, group_column="group", **SMALL)
    with pytest.raises(ConfigError, match="must be at least 2 and 1"):
        tune(rows, mask_values=VALUES, folds=1)


def test_a_row_without_a_reference_is_not_painted_on(make_plates):
    """Its image shows defects that the painted row would not name."""
    data = make_plates(bad=6, good=0, with_mask=False, with_reference=True)
    data = data.map(
        lambda row, number: {"reference": None if number % 2 else row["reference"]},
        with_indices=True,
        features=data.features,
    )
    rows = Rows(data, find_columns(data.features, "image", None, "objects", None, "reference"), None)
    assert rows.targets() == ([0, 2, 4], "reference") and rows.targets({1, 2, 3}) == ([2], "reference")
    with pytest.raises(DataError, match=r"^row 1 has no reference: leave it out$"):
        rows.pixels(1, "reference")
    with pytest.raises(DataError, match=r"^the dataset has no good image"):
        rows.targets({1, 3})


def test_a_missing_package_is_named_before_the_work(make_plates, monkeypatch):
    monkeypatch.setitem(sys.modules, "albumentations", None)
    with pytest.raises(MissingPackageError, match=r"albumentations is not installed: .* or '\.\[eval\]' in a clone"):
        tune(make_plates(bad=0, good=2))  # which has nothing to tune on


@pytest.mark.slow
def test_the_command_writes_as_many_rows_as_the_share_says(run_command, make_plates, tmp_path):
    make_plates(bad=3, good=4).save_to_disk(tmp_path / "data")
    arguments = ("augment", "--data", tmp_path / "data", "--num-images", 5, "--output-dir", tmp_path / "out")
    options = ("--mask-values", "1=scratch,2=spot", "--tune", "--tune-steps", 1, "--json")
    ran = run_command(*arguments, *options, HF_DATASETS_CACHE=str(tmp_path / "cache"))
    assert ran.returncode == 0, ran.stderr
    about = json.loads(ran.stdout)
    tuning = json.loads((tmp_path / "out" / "provenance.json").read_text())["tuning"]
    share = tuning["synthetic_share"]
    assert about["synthetic"] == min(5, round(7 * share / (1 - share)))
    rows = datasets.load_from_disk(tmp_path / "out")
    assert len(rows) == 7 + about["synthetic"]
    assert len(tuning["trials"]) >= 6 and tuning["trials"][0]["settings"] is None
