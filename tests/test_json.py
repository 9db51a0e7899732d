"""What `--json` prints, against the schema that docs/ has of it; in this process, which has the libraries already."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from magical_hub import cli

Command = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def schema(repo) -> dict[str, Any]:
    schema = json.loads((repo / "docs" / "json.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    return schema


@pytest.fixture
def command(schema, run_here) -> Command:
    """Runs `magical-hub COMMAND ... --json`, and gives the one object on stdout, held against the schema."""

    def run(name: str, *arguments: object) -> dict[str, Any]:
        ran = run_here(name, *arguments, "--json")
        assert ran.returncode == 0, ran.stderr
        about: dict[str, Any] = json.loads(ran.stdout, parse_constant=pytest.fail)  # NaN is not JSON
        Draft202012Validator({**schema, "$ref": f"#/$defs/{name}"}).validate(about)
        return about

    return run


@pytest.fixture(scope="module")
def run(elpv_folder, tmp_path_factory) -> tuple[Path, Path]:
    """Where RUN will be, and one folder per class of real images."""
    folder = tmp_path_factory.mktemp("json")
    for number, file in enumerate(sorted(elpv_folder.iterdir())):
        (folder / "data" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        (folder / "data" / "ab"[number % 2] / file.name).write_bytes(file.read_bytes())
    return folder / "run", folder / "data"


def test_every_command(command, run, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder, data = run
    sizes = ("--image-size", 32, "--rows", 2, "--cols", 2, "--base-width", 8, "--max-width", 16, "--latent-dim", 16)
    few = ("--batch-size", 4, "--max-steps", 1, "--mixed-precision", "no", "--label-column", "label")
    planned = command("train", "--data", data, "--output-dir", folder, *sizes, *few, "--dry-run")
    assert (planned["rows"], planned["max_steps"]) == (2, 1) and not folder.exists()
    trained = command("train", "--data", data, "--output-dir", folder, *sizes, *few)
    assert trained["steps"] == 1 and trained["provenance"][0]["steps"] == 1

    made = command("generate", "--checkpoint", folder, "--num-images", 2, "--output-dir", tmp_path / "images")
    assert [step["made"] for step in made["provenance"]] == ["images", "checkpoint"]
    options = ("--num-images", 3, "--keep", "all", "--format", "imagefolder", "--output-dir", tmp_path / "both")
    both = command("augment", "--data", data, "--checkpoint", folder, *options)
    assert [step["made"] for step in both["provenance"]] == ["dataset", "checkpoint"]
    assert both["provenance"][1] == trained["provenance"][0]

    report = command("evaluate", "--checkpoint", folder, "--num-images", 4)
    assert report["sections"]["leakage"]["verdict"] == "left out"  # too few images
    pushed = command(
        *("push", "--checkpoint", folder, "--repo-id", "acme/tiny"), "--allow-unchecked", "--dry-run", tmp_path / "out"
    )
    assert pushed["leakage"] == "unchecked" and pushed["commit"] is None
    assert command("info", "--checkpoint", folder)["grid"] == [2, 2]
    assert command("info", "--provenance", tmp_path / "both") == {"provenance": both["provenance"]}


def test_the_schema_sees_what_is_missing_and_what_is_new(schema):
    about: dict[str, Any] = {
        "output_dir": "out",
        "format": "hf",
        "real": 1,
        "synthetic": 1,
        "counts": {},
        "pictures": None,
        "provenance": [{"made": "dataset"}],
    }
    validator = Draft202012Validator({**schema, "$ref": "#/$defs/augment"})
    validator.validate(about)
    for wrong in (
        {**about, "real": "1"},
        {**about, "extra": 1},
        {key: about[key] for key in about if key != "counts"},
    ):
        with pytest.raises(ValidationError):
            validator.validate(wrong)


def test_the_schema_has_every_command_and_the_page_leads_to_it(schema, repo):
    for command in (cli.train, cli.generate, cli.augment, cli.evaluate, cli.push, cli.info):
        assert command.__name__ in schema["$defs"]
    assert "(json.schema.json)" in (repo / "docs" / "mlops.md").read_text()
