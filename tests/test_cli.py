"""The command as a user runs it: training in a process of its own, the rest in this one."""

from __future__ import annotations

import json
import os
import re
import subprocess

import psutil
import pytest
from PIL import Image

SIZES = {"image-size": 32, "rows": 2, "cols": 2, "base-width": 8, "max-width": 16, "latent-dim": 16, "batch-size": 4}
TRAIN = [*(part for name, value in SIZES.items() for part in (f"--{name}", value)), "--mixed-precision", "no"]


@pytest.fixture(scope="module")
def trained(run_command, elpv_folder, tmp_path_factory):
    """RUN, and the command that made it, with --resume although there is nothing to resume."""
    run = tmp_path_factory.mktemp("cli") / "run"
    arguments = ("train", "--data", elpv_folder, "--output-dir", run, *TRAIN)
    return run, arguments, run_command(*arguments, "--max-steps", 2, "--resume", "--json")


def one_line_error(ran, *words: str) -> None:
    """A user's mistake: exit code 2, one line on stderr (but for bars of progress), nothing on stdout."""
    assert ran.returncode == 2, ran.stderr
    assert ran.stdout == ""
    lines = [line for line in re.split(r"[\r\n]+", ran.stderr) if line and "%|" not in line]
    assert len(lines) == 1 and lines[0].startswith("error: "), ran.stderr
    for word in words:
        assert word in lines[0]


def test_train(trained):
    run, _, ran = trained
    assert ran.returncode == 0, ran.stderr
    about = json.loads(ran.stdout)  # one JSON object and nothing else
    assert about["output_dir"] == str(run) and about["steps"] == 2 and about["seconds"] > 0
    assert "critic/adversarial" in about["figures"]
    assert "Traceback" not in ran.stderr and "Training" in ran.stderr  # progress goes there
    assert "has no checkpoint to resume from: starting from zero" in ran.stderr
    assert (run / "model_index.json").is_file()


def test_a_run_is_not_overwritten_but_resumed(trained, run_here, caplog):
    _, arguments, _ = trained
    one_line_error(run_here(*arguments, "--max-steps", 2), "holds a run already", "--resume")
    ran = run_here(*arguments, "--max-steps", 3, "--resume", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["steps"] == 3 and "starting from zero" not in caplog.text


def test_a_resume_takes_its_settings_from_the_run(trained, run_here, tmp_path):
    """What is given overrides those that may change; others are refused by name."""
    run, _, _ = trained
    saved = json.loads((run / "training_config.json").read_text())
    one_line_error(run_here("train", "--resume", "--output-dir", run, "--latent-dim", 8), "latent_dim is 8", "with 16")
    one_line_error(run_here("train", "--resume", "--output-dir", run, "--preset=paper"), "window_rows is 3")
    one_line_error(run_here("train", "--resume", "--output-dir", tmp_path / "typo"), "typo holds no run to resume")
    ran = run_here("train", "--output_dir", run, "--resume", "--max-steps", saved["max_steps"] + 1, "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["steps"] == saved["max_steps"] + 1
    now = json.loads((run / "training_config.json").read_text())
    assert now == {**saved, "max_steps": saved["max_steps"] + 1, "resume": True}
    again = run_here("train", "--resume", f"--output-dir={run}", "--json")  # at its end already
    assert again.returncode == 0 and json.loads(again.stdout)["steps"] == now["max_steps"]


def test_a_dry_run_says_what_training_would_be_and_leaves_nothing(run_here, elpv_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = run_here("train", "--data", elpv_folder, *TRAIN, "--dry-run", "--json")
    assert ran.returncode == 0, ran.stderr
    about = json.loads(ran.stdout)
    assert (about["rows"], about["cols"], about["image_size"], about["batch_size"]) == (2, 2, [32, 32], 4)
    assert about["max_steps"] == 10_000 and about["output_dir"] == f"runs/{elpv_folder.name}"
    assert about["seconds"] > 9_000 * about["step_seconds"] > 0
    assert 100 * 2**20 < about["memory_bytes"] < psutil.virtual_memory().total  # Python and torch at least
    assert 0 < about["window_bytes"] < about["memory_bytes"] and about["windows_that_fit"] >= about["batch_size"]
    assert about["disk_bytes"] == about["num_images"] * 32 * 32
    assert any("images are few" in warning for warning in about["warnings"])
    assert list(tmp_path.iterdir()) == []


def test_generate(trained, run_here, tmp_path):
    run, _, _ = trained
    arguments = ("generate", "--checkpoint", run, "--num-images", 3, "--seed", 5, "--output-dir", tmp_path / "a")
    ran = run_here(*arguments, "--json")
    assert ran.returncode == 0, ran.stderr
    about = json.loads(ran.stdout)
    assert about["output_dir"] == str(tmp_path / "a")
    assert [row["file_name"] for row in about["images"]] == ["00000.png", "00001.png", "00002.png"]
    assert sorted(path.name for path in (tmp_path / "a").glob("*.png")) == ["00000.png", "00001.png", "00002.png"]
    assert Image.open(tmp_path / "a" / "00002.png").size == (32, 32)
    one_line_error(run_here(*arguments), "holds images already", "give a new")


def test_evaluate(trained, run_here):
    run, _, _ = trained
    ran = run_here("evaluate", "--checkpoint", run, "--num-images", 4, "--json", "--fail-on-leak")
    assert ran.returncode == 3, ran.stderr  # two held-out images are too few to look for copies by
    assert "leakage gate: Left out: a test needs 30 images of each kind" in ran.stderr
    about = json.loads(ran.stdout)
    assert about == json.loads((run / "evaluation" / "report.json").read_text())
    assert about["about"]["network"] == "efficientnet-lite0" and about["about"]["counts"]["generated"] == 4
    assert (run / "evaluation" / "report.html").is_file()


def test_info(trained, run_here):
    run, _, _ = trained
    ran = run_here("info", "--checkpoint", run, "--json")
    assert ran.returncode == 0, ran.stderr
    about = json.loads(ran.stdout)
    assert about["grid"] == [2, 2] and about["image_size"] == [32, 32] and about["critic"] is True
    plain = run_here("info", "--checkpoint", run)
    assert plain.returncode == 0
    for words in ("grey images of 32 x 32 px", "2 x 2 sub-regions of 16 x 16 px", "none: it was trained without"):
        assert words in plain.stdout
    (example,) = re.findall(r"try +magical-hub (.*) IMAGES", plain.stdout)
    assert example.split()[:5] == ["generate", "--checkpoint", str(run), "--num-images", "8"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("train --data {tmp}/none --output-dir {tmp}/run", ["there is no folder", "give a folder of images"]),
        ("train --data {elpv} --output-dir {tmp}/run --image-size 65 --rows 4", ["height 65", "64 or 68"]),
        ("generate --checkpoint {elpv} --output-dir {tmp}/images", ["is not a checkpoint", "model_index.json"]),
        ("info --checkpoint nothing-of-that-name", ["there is no checkpoint nothing-of-that-name"]),
        ("train --data {elpv} --output-dir {tmp}/run --batch-size 0", ["batch_size is 0: it must be at least 1"]),
        ("generate --checkpoint {pipe} --output-dir {tmp}/images --device abacus", ["there is no device abacus"]),
        ("generate --checkpoint {pipe} --output-dir {tmp}/images --format tiff --croissant", ["croissant is for PNG"]),
        ("info --provenance {elpv}", ["holds no provenance.json"]),
        ("info", ["give either --checkpoint or --provenance"]),
        ("evaluate --real {elpv} --output-dir {tmp}/report", ["either --checkpoint or --generated", "--usefulness"]),
        ("evaluate --usefulness --output-dir {tmp}/report", ["needs --real DATA and --output-dir"]),
        ("evaluate --usefulness --real {elpv} --output-dir {tmp}/report", ["neither boxes nor masks"]),
        ("evaluate --usefulness --real {elpv} --output-dir {tmp}/report --draws 0", ["draws is 0"]),
        pytest.param(
            *("evaluate --generated {elpv} --real {elpv}", ["there is no RUN", "--output-dir"]), marks=pytest.mark.slow
        ),
        pytest.param(
            *("evaluate --checkpoint {pipe} --output-dir {tmp}/report", ["nothing to compare with", "give real"]),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_mistakes_are_one_line_without_a_traceback(run_here, elpv_folder, pipe_folder, tmp_path, arguments, words):
    filled = arguments.format(tmp=tmp_path, elpv=elpv_folder, pipe=pipe_folder).split()
    one_line_error(run_here(*filled), *words)
    assert not (tmp_path / "images").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("train --output-dir x --data y --colour red", "--colour"),
        ("train --output-dir x", "--data"),
        ("train --data y --output-dir x --max-steps 1.5", "--max-steps"),
        ("paint", "paint"),
    ],
)
def test_options_that_cannot_be(run_here, arguments, words):
    ran = run_here(*arguments.split())
    assert ran.returncode == 2 and ran.stdout == ""
    assert "Traceback" not in ran.stderr and words in ran.stderr


def test_help(run_command):
    ran = run_command("--help")
    assert ran.returncode == 0 and all(word in ran.stdout for word in ("train", "generate", "evaluate", "info"))
    ran = run_command("train", "--help")
    assert ran.returncode == 0
    for option in ("--data", "--output-dir", "--rows", "--image-size", "--max-minutes", "--resume", "--json"):
        assert option in ran.stdout
    for group in ("data", "canvas", "network", "critic", "loss", "run"):
        assert f"─ {group} options ─" in ran.stdout


def test_the_shell_completes(run_command, tmp_path):
    ran = run_command("--tyro-print-completion", "bash")
    (tmp_path / "completion").write_text(ran.stdout)
    shell = subprocess.run(
        ["bash", "-c", f"source {tmp_path / 'completion'} && complete -p magical-hub"], capture_output=True, text=True
    )
    assert shell.returncode == 0 and "magical-hub" in shell.stdout, shell.stderr


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_one_line_too(run_here, trained, tmp_path):
    """No mistake in the options, so exit code 1, but no traceback either."""
    run, _, _ = trained
    (tmp_path / "file").write_text("in the way")
    ran = run_here("generate", "--checkpoint", run, "--output-dir", tmp_path / "file" / "images")
    assert ran.returncode == 1 and ran.stdout == ""
    assert "Traceback" not in ran.stderr and "error: Not a directory" in ran.stderr


def test_heavy_libraries_wait_until_they_are_needed(run_python):
    source = """
import sys
import magical_hub, magical_hub.cli
print([name for name in ("torch", "diffusers", "datasets", "accelerate", "pyarrow", "PIL") if name in sys.modules])
"""
    ran = run_python(source)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "[]\n"


def without_network(monkeypatch) -> None:
    """The Hub has no address, in this process."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://hub.invalid")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("./run", "there is no checkpoint ./run: give a folder"),
        ("./acme/qfn", "there is no checkpoint ./acme/qfn: give a folder"),
        ("~/no-such-run", "there is no checkpoint ~/no-such-run: give a folder"),
        ("a/b/run", "there is no checkpoint a/b/run: give a folder"),
        ("runs/gone", "there is no checkpoint runs/gone, and runs is a folder here"),
        ("acme/qfn", "acme/qfn is neither a folder here nor in the cache, and the Hub cannot be reached"),
    ],
)
def test_a_checkpoint_that_is_nowhere_is_one_line_without_a_network(run_here, monkeypatch, tmp_path, name, words):
    """No attempt is made again where none can succeed, and none at all where the name is that of a folder."""
    without_network(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    one_line_error(run_here("generate", "--output-dir", "out", "--checkpoint", name), words)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("IMAGE", "there is no folder IMAGE: give a folder of images"),
        ("runs/images", "there is no folder runs/images: give a folder of images"),
        ("acme/boards", "acme/boards is neither a folder here nor a dataset that can be loaded"),
    ],
)
def test_data_that_is_nowhere_is_one_line_without_a_network(run_here, monkeypatch, tmp_path, name, words):
    without_network(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    one_line_error(run_here("augment", "--output-dir", "out", "--num-images", 1, "--data", name), words)
