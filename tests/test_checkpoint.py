"""From a name to a checkpoint, and what is told of it without loading its weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from magical_hub.checkpoint import BUNDLED, bundled_names, describe, locate
from magical_hub.errors import CheckpointError


def test_a_folder_comes_before_anything_else(pipe_folder, tmp_path, monkeypatch):
    assert locate(pipe_folder) == pipe_folder and locate(str(pipe_folder)) == pipe_folder
    shutil.copytree(pipe_folder, tmp_path / "owner" / "name")
    monkeypatch.chdir(tmp_path)
    assert locate("owner/name") == Path("owner/name")
    with pytest.raises(CheckpointError, match=r"no checkpoint owner/other, and owner is a folder here: .*@main"):
        locate("owner/other")
    assert locate("acme/other") == "acme/other"  # an id on the Hub, as it stands
    assert locate("owner/other@v1.0") == "owner/other@v1.0"


def test_bundled_checkpoints_are_named():
    assert bundled_names() == sorted(path.name for path in BUNDLED.glob("*/"))
    for name in bundled_names():
        assert locate(name) == BUNDLED / name
        assert describe(name)["pipeline"] == "MagicalPipeline"


@pytest.mark.parametrize("name", ["nothing", "/no/such/folder", "../up", "a/b/c", "", "a b/c", "owner/"])
def test_a_name_that_can_be_nothing(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as error:
        locate(name)
    assert "\n" not in str(error.value)


def test_a_folder_that_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match=r"it has no model_index\.json"):
        locate(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(CheckpointError, match=r"a training that has not ended.*--resume"):
        locate(tmp_path)


def test_describe(pipe_folder, class_pipe, tmp_path):
    about = describe(pipe_folder)
    weights = sum(path.stat().st_size for path in pipe_folder.rglob("*.safetensors"))
    assert about == {
        "checkpoint": str(pipe_folder),
        "pipeline": "MagicalPipeline",
        "generator": "MagicalGenerator",
        "image_size": [32, 48],
        "channels": 1,
        "grid": [2, 3],
        "sub_region": [16, 16],
        "class_names": None,
        "defect_names": None,
        "latent_dim": 16,
        "critic": True,
        "bytes": weights,
        "made_with": about["made_with"],
    }
    type(class_pipe)(class_pipe.generator).save_pretrained(tmp_path)
    about = describe(tmp_path)
    assert (about["class_names"], about["channels"], about["critic"]) == (["crack", "good", "void"], 3, False)


def test_describe_reads_no_weights(pipe_folder, tmp_path):
    folder = Path(shutil.copytree(pipe_folder, tmp_path / "a"))
    (folder / "generator" / "diffusion_pytorch_model.safetensors").write_bytes(b"damaged")
    assert describe(folder)["grid"] == [2, 3]


@pytest.mark.parametrize("file", ["model_index.json", "generator/config.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", json.dumps({"image_size": 5}), None])
def test_describe_of_damaged_files(pipe_folder, tmp_path, file, content):
    folder = Path(shutil.copytree(pipe_folder, tmp_path / "a"))
    (folder / file).unlink() if content is None else (folder / file).write_text(content)
    with pytest.raises(CheckpointError) as error:
        describe(folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)


@pytest.mark.parametrize("name", ["https://huggingface.co/acme/tiny", "hf://acme/tiny"])
def test_an_address_is_no_name(name):
    with pytest.raises(CheckpointError, match="is an address: give a folder, or the id on the Hub alone"):
        locate(name)
