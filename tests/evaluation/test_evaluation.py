"""The one call, on folders whose answer is known and on a run."""

from __future__ import annotations

import hashlib
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from magical_hub import Grid, TrainingConfig, evaluate, train
from magical_hub.errors import ConfigError, DataError
from magical_hub.evaluation import EvaluationReport, Section, Verdict

GRID = {"rows": 2, "cols": 2}


@pytest.fixture
def report_on(folders, small_network, write_folder, tmp_path):
    """Evaluates images (N, 1, 64, 64) as if they had been generated."""

    def run(images: np.ndarray, **options):
        folder = write_folder(images, tmp_path / "generated")
        return evaluate(folder, folders["train"], folders["holdout"], network=small_network, **GRID, **options)

    return run


def test_other_real_images_pass(perfect):
    report, _ = perfect
    for name in ("fidelity", "seams", "diversity"):
        assert report.sections[name].verdict is Verdict.GOOD, report.sections[name].statement
    assert report.verdict is not Verdict.BAD and report.leaks is False  # sixty images leave the rest to chance
    assert report.sections["leakage"].statement.startswith("No copying found at this sensitivity.")
    control = report.get_details("leakage")["positive_control"]
    assert control["exact"]["share"] == 1 and set(control) == {"exact", "shifted", "brightened", "one sub-region"}
    for found in control.values():
        assert found["interval_95"][0] < found["share"] <= found["interval_95"][1]


def test_what_is_written(perfect):
    report, folder = perfect
    written = json.loads((folder / "report.json").read_text())
    assert written == json.loads(report.to_json())
    assert set(written) == {"format", "verdict", "statement", "about", "sections"}
    assert list(written["sections"]) == ["split", "fidelity", "seams", "coherence", "diversity", "leakage"]
    assert written["about"]["counts"]["train"] == 160 and written["about"]["versions"]["torch"]
    assert written["sections"]["fidelity"]["details"]["network"] == "means"
    assert report.get_score("kid") == written["sections"]["fidelity"]["scores"]["kid"]
    with pytest.raises(ConfigError, match=r"no score 'colour': it has .*kid"):
        report.get_score("colour")
    page = (folder / "report.html").read_text()
    assert not re.search(r"""(src|href)=["']?(https?:|//)|url\(|<script""", page)  # one file, no network
    assert page.count("data:image/png;base64,") == sum(len(s.pictures) for s in report.sections.values()) > 8
    assert report.statement in page and "private" not in page
    assert sorted(path.name for path in folder.iterdir()) == ["cache", "report.html", "report.json"]
    assert {path.name.split("-")[0] for path in (folder / "cache").iterdir()} == {"features"}  # and no pictures


def test_features_are_computed_once(perfect, folders, small_network):
    report, folder = perfect
    before = small_network.seen
    again = evaluate(
        folders["generated"], folders["train"], folders["holdout"], output_dir=folder, network=small_network, **GRID
    )
    planted = sum(kind["planted"] for kind in report.get_details("leakage")["positive_control"].values())
    pairs = 2 * 2 * 3 * report.get_details("coherence")["pairs"]["adjacent"]
    assert small_network.seen - before == planted + pairs
    assert again.to_json() == report.to_json()


def test_exact_and_altered_copies_are_named(report_on, cells):
    images, own = cells[220:].copy(), cells[:160]
    images[3] = own[10]  # exact
    images[4] = np.pad(own[11], ((0, 0), (2, 0), (0, 1)), mode="edge")[:, :64, 1:]
    images[5, :, :32, 32:] = own[12, :, :32, 32:]
    report = report_on(images, seed=1)
    assert report.verdict is Verdict.BAD and report.statement.startswith("Do not use these images.")
    details = report.get_details("leakage")
    assert details["exact_copies"] == [{"image": "0003.png", "train": "0010.png"}]
    named = {one["image"]: (one["train"], one["location"]) for one in details["suspicious"]}
    assert set(named) == {"0003.png", "0004.png", "0005.png"}
    assert named["0004.png"][0] == "0011.png" and named["0005.png"] == ("0012.png", 1)
    assert report.leaks is True and "COPIES FOUND: 3 generated images" in report.sections["leakage"].statement


def test_exact_copies_are_found_without_held_out_images(folders, small_network, cells, write_folder, tmp_path):
    generated = write_folder(cells[[220, 221, 5, 222]], tmp_path / "generated")
    report = evaluate(generated, folders["train"], network=small_network)
    assert report.leaks is True and report.get_score("exact_copies") == 1
    clean = evaluate(write_folder(cells[220:224], tmp_path / "clean"), folders["train"], network=small_network)
    assert clean.leaks is None and "no held-out images are known" in clean.sections["leakage"].statement
    assert "rows and cols" in clean.sections["seams"].statement and clean.sections["seams"].verdict is Verdict.NONE


def test_good_sections_alone_are_no_fit_report():
    good, weak, unknown = (Section("a", "?", verdict, "") for verdict in (Verdict.GOOD, Verdict.WEAK, Verdict.NONE))
    report = EvaluationReport({"fidelity": good, "diversity": good}, {})
    assert report.verdict is Verdict.GOOD and report.statement == "Fit for use, as far as this report tested."
    report = EvaluationReport({"fidelity": good, "leakage": unknown, "seams": weak}, {})
    assert report.verdict is Verdict.WEAK and report.statement.endswith("was not tested. (leakage, seams)")
    report = EvaluationReport({"fidelity": good, "leakage": unknown}, {})
    assert report.verdict is Verdict.WEAK and report.statement.endswith("was not tested. (leakage)")
    assert EvaluationReport({"leakage": unknown}, {}).verdict is Verdict.NONE


def test_shuffled_sub_regions_are_incoherent_and_show_seams(report_on, cells, perfect):
    parts = Grid(2, 2, 64, 64).crop_all(cells[220:])
    for location in range(4):
        parts[:, location] = np.roll(parts[:, location], 13 * location, axis=0)
    report = report_on(Grid(2, 2, 64, 64).stitch(parts))
    for kind in ("adjacent", "opposite"):
        assert abs(report.get_score(f"coherence_{kind}")) < 0.3 < 0.5 < perfect[0].get_score(f"coherence_{kind}")
    assert report.sections["coherence"].verdict is Verdict.BAD
    assert report.get_score("seam_ratio_cols") > report.get_score("seam_ratio_cols_high")
    assert report.sections["seams"].verdict is not Verdict.GOOD


def test_one_picture_again_and_again_is_not_varied(report_on, cells):
    noise = np.random.default_rng(0).integers(0, 3, (60, 1, 64, 64), dtype=np.uint8)
    report = report_on(np.minimum(cells[220:221], 250) + noise)
    assert report.sections["diversity"].verdict is Verdict.BAD
    assert report.get_score("near_duplicate_share") == 1 and report.get_score("variety") < 0.2
    assert report.get_score("recall") < 0.1


def test_near_duplicates_across_the_split_are_reported(folders, small_network, cells, write_folder, tmp_path):
    held_out = cells[160:220].copy()
    held_out[7] = np.clip(cells[30] + 9.0, 0, 255)
    again = write_folder(held_out, tmp_path / "holdout")
    report = evaluate(folders["generated"], folders["train"], again, network=small_network)
    assert {"holdout": "0007.png", "train": "0030.png"}.items() <= report.get_details("split")["pairs"][0].items()


def test_classes_are_covered_one_by_one(folders, small_network, cells, write_folder, tmp_path):
    for name, images in (("bright", cells[:30] // 2 + 120), ("dark", cells[30:60] // 2)):
        write_folder(images[:20], tmp_path / "train" / name)
        write_folder(images[20:], tmp_path / "holdout" / name)
    generated = write_folder(cells[60:80] // 2, tmp_path / "generated")
    report = evaluate(
        generated, tmp_path / "train", tmp_path / "holdout", label_column="folder", network=small_network
    )
    covered = report.get_details("diversity")["coverage_by_class"]
    assert covered["bright"]["generated"] == 0 and covered["dark"]["generated"] > 0.3 < covered["bright"]["real"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f, tmp: {"real": None, "holdout": None}, "give real, a folder of images, or evaluate a RUN"),
        (lambda f, tmp: {"real": None}, "give real too"),
        (lambda f, tmp: {"real": tmp}, "holds no images"),
        (lambda f, tmp: {"holdout": f["train"]}, "160 of the held-out images are training images too"),
        (lambda f, tmp: {"num_images": 0}, "num_images is 0"),
        (lambda f, tmp: {"num_images": 2.5}, "num_images is 2.5: it must be a whole number"),
        (lambda f, tmp: {"rows": 0}, "rows is 0: it must be at least 1"),
        (lambda f, tmp: {"cols": 1.5}, "cols is 1.5: it must be a whole number"),
        (lambda f, tmp: {"seed": -1}, "seed is -1: it must be at least 0"),
        (lambda f, tmp: {"rows": 3}, "height 64 cannot be cut into 3 rows"),
        (lambda f, tmp: {"device": "abacus"}, "there is no device abacus"),
    ],
)
def test_mistakes_are_one_line(folders, small_network, tmp_path, spoil, words):
    arguments = {"real": folders["train"], "holdout": folders["holdout"], "network": small_network}
    with pytest.raises((ConfigError, DataError, ValueError), match=words) as error:
        evaluate(folders["generated"], **(arguments | spoil(folders, tmp_path)))
    assert "\n" not in str(error.value)


def test_generated_images_of_two_sizes_are_refused(folders, small_network, tmp_path):
    shutil.copytree(folders["generated"], tmp_path / "generated")
    Image.new("L", (64, 48)).save(tmp_path / "generated" / "zz.png")
    with pytest.raises(
        DataError, match=r"0000.png is 64 x 64 and zz.png 48 x 64: generated images must be of one size"
    ):
        evaluate(tmp_path / "generated", folders["train"], network=small_network)


def test_a_run_names_its_own_images(tiny_config, small_network, tmp_path):
    train(tiny_config(tmp_path / "run", holdout_fraction=0.3, max_steps=1))
    report = evaluate(tmp_path / "run", num_images=9, network=small_network)
    assert (tmp_path / "run" / "evaluation" / "report.html").is_file()
    split = json.loads((tmp_path / "run" / "split.json").read_text())
    assert report.about["counts"]["train"] == len(split["train"])
    assert report.about["counts"]["holdout"] == len(split["holdout"])
    weights = (tmp_path / "run" / "generator" / "diffusion_pytorch_model.safetensors").read_bytes()
    assert report.about["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert report.about["grid"] == [2, 2] and np.isfinite(report.get_score("kid"))
    assert report.sections["leakage"].verdict is Verdict.NONE and "needs 30" in report.sections["leakage"].statement


@pytest.fixture
def by_class(cells, write_folder, tmp_path):
    """Folders of two classes, the second darkened where its defect would be: training and held-out images."""
    place = tmp_path / "classes"
    for part, images in (("train", cells[:40]), ("holdout", cells[160:200])):
        dark = images[1::2].copy()
        dark[:, :, 20:40, 20:40] //= 3
        write_folder(images[::2], place / part / "sound")
        write_folder(dark, place / part / "void")
    return place


def test_usefulness_says_why_it_was_left_out(report_on, cells, by_class, small_network, write_folder, tmp_path):
    asked = report_on(cells[220:260], usefulness=True)
    assert asked.sections["usefulness"].statement == "Left out: no classes are known: give label_column."
    generated = write_folder(cells[220:230], tmp_path / "few")
    folders = generated, by_class / "train", by_class / "holdout"
    with pytest.raises(ConfigError, match="there is no class 'good': the training images have sound, void"):
        evaluate(*folders, network=small_network, label_column="label", usefulness=True, normal_class="good")


@pytest.mark.slow
def test_usefulness_of_a_run_with_classes(by_class, tmp_path):
    """A generator of a few steps helps nobody; the section is there with its figures, its picture and its reasons."""
    settings = {"image_size": 64, "rows": 2, "cols": 2, "base_width": 8, "max_width": 16, "max_steps": 4}
    config = TrainingConfig(
        data=str(by_class / "train"), output_dir=str(tmp_path / "run"), label_column="label", **settings
    )
    train(config)
    folders = by_class / "train", by_class / "holdout"
    options = {"label_column": "label", "num_images": 20, "usefulness": True, "normal_class": "sound"}
    report = evaluate(tmp_path / "run", *folders, output_dir=tmp_path / "report", **options)
    section = report.sections["usefulness"]
    assert section.verdict is not Verdict.NONE, section.statement
    assert report.get_score("classification_real") > 0.7 and report.get_score("anomaly_detection_real") > 0.5
    assert set(report.get_details("usefulness")["verdicts"]) == {"classification", "anomaly_detection"}
    assert "data:image/png" in (tmp_path / "report" / "report.html").read_text()
