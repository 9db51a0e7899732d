"""Where images and checkpoints come from: back to the training set, without private names."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import mlcroissant
import numpy as np
import pytest
import tifffile
from hub_server import HubServer
from PIL import Image

from magical_hub import MagicalPipeline, push, train
from magical_hub.data import open_store
from magical_hub.errors import DataError
from magical_hub.export import write, write_imagefolder
from magical_hub.provenance import chain, steps_text
from magical_hub.seeds import image_seed


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def run(tiny_config, tmp_path_factory) -> Path:
    """RUN of two sessions."""
    folder = tmp_path_factory.mktemp("provenance") / "run"
    train(tiny_config(folder, max_steps=2, lambda_f=0))
    train(tiny_config(folder, max_steps=4, lambda_f=0, resume=True))
    return folder


def test_the_record_of_a_run(run, elpv_folder):
    (step,) = chain(run)
    assert step["made"] == "checkpoint" and step["steps"] == 4 and step["seed"] == 0
    assert step["weights_sha256"] == sha256(run / "generator" / "diffusion_pytorch_model.safetensors")
    assert step["split_sha256"] == sha256(run / "split.json")
    assert step["data"]["fingerprint"] == open_store(run / "data").fingerprint
    assert [step["data"][part] for part in ("images", "train", "validation", "holdout")] == [24, 20, 2, 2]
    assert step["configuration"]["batch_size"] == 4 and step["configuration"]["image_size"] == [32, 32]
    (session,) = step["sessions"]  # the second differs from the first in nothing
    assert session["from_step"] == 0 and {"torch", "diffusers"} <= {*session["libraries"]}
    (last,) = chain(run / "checkpoints" / "step-00000004")
    assert {**last, "weights_sha256": step["weights_sha256"]} == step


def test_from_an_image_back_to_the_training_set(run, tmp_path):
    pipe = MagicalPipeline.from_pretrained(run)
    write_imagefolder(pipe, tmp_path / "images", 3, seed=5)
    pipe.save_pretrained(tmp_path / "copy")  # takes its record along
    write(MagicalPipeline.from_pretrained(tmp_path / "copy"), tmp_path / "a.tif", seed=9)
    write(pipe, tmp_path / "a.zarr", "zarr", seed=9)
    image, images, checkpoint = chain(tmp_path / "images" / "00002.png")
    assert image == {"made": "image", "file_name": "00002.png", "seed": image_seed(5, 2)}
    assert images["image"]["seed"] == 5 and images["image"]["num_images"] == 3
    assert [checkpoint] == chain(run) and "doubt" not in images
    assert chain(tmp_path / "images") == [images, checkpoint]
    for name in ("a.tif", "a.zarr"):
        made, *before = chain(tmp_path / name)
        assert made["image"] == {"seed": 9, "truncation_psi": 1.0, "weights_sha256": checkpoint["weights_sha256"]}
        assert before == [checkpoint]
    told = steps_text(chain(tmp_path / "images" / "00002.png")).splitlines()
    assert [line for line in told if line[0] != " "] == ["image", "from images", "from checkpoint"]


def test_weights_that_changed_since(run, tmp_path):
    pipe = MagicalPipeline.from_pretrained(run)
    pipe.generator.to_pixels.bias.data += 0.5
    write_imagefolder(pipe, tmp_path / "images", 1)
    assert "the weights are not those" in chain(tmp_path / "images")[0]["doubt"]
    pipe.save_pretrained(tmp_path / "changed")
    changed, before = chain(tmp_path / "changed")
    assert changed["weights_sha256"] == sha256(tmp_path / "changed/generator/diffusion_pytorch_model.safetensors")
    assert [before] == chain(run)


def test_a_run_that_started_from_another(run, tiny_config, tmp_path):
    train(tiny_config(tmp_path / "next", max_steps=1, lambda_f=0, init_from=str(run)))
    train(tiny_config(tmp_path / "next", max_steps=2, lambda_f=0, init_from=str(run), resume=True))
    steps = chain(tmp_path / "next")
    assert [step["steps"] for step in steps] == [2, 4] and steps[1:] == chain(run)


@pytest.mark.slow
def test_nothing_of_the_user_is_told(run, run_command, elpv_folder, tmp_path):
    folder = tmp_path / "secret-wafers"
    shutil.copytree(elpv_folder, folder)
    sizes = ["--image-size=32", "--rows=2", "--cols=2", "--base-width=8", "--max-width=16", "--lambda-f=0"]
    out = f"--output-dir={tmp_path / 'run'}"
    ran = run_command("train", "--data", "secret-wafers", out, "--max-steps", 1, *sizes, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    images = ("--num-images", 1, "--output-dir", "../" + tmp_path.name + "/images", "--json")
    ran = run_command("generate", "--checkpoint", tmp_path / "run", *images, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    ran = run_command("info", "--provenance", "images/00000.png", "--json", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    _, made, checkpoint = json.loads(ran.stdout)["provenance"]
    assert made["command"] == "magical-hub generate --checkpoint ... --num-images 1 --output-dir ... --json"
    (session,) = checkpoint["sessions"]
    options = " ".join(["--max-steps 1", *sizes])
    assert session["command"] == f"magical-hub train --data ... --output-dir=... {options}"
    for word in ("secret", str(tmp_path), str(Path.home())):
        assert word not in ran.stdout


@pytest.mark.slow
def test_a_checkpoint_on_the_hub(run, run_python, tmp_path):
    load = """
import json
from magical_hub import MagicalPipeline
pipe = MagicalPipeline.from_pretrained("acme/tiny")
print(json.dumps(pipe.origin))
"""
    folder = tmp_path / "pushed"
    MagicalPipeline.from_pretrained(run).save_pretrained(folder)
    with HubServer(tmp_path / "server", {"acme/tiny": folder}) as server:
        online = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"}
        ran = run_python(load, **online, HF_HUB_DISABLE_XET="1")
    assert ran.returncode == 0, ran.stderr
    origin = json.loads(ran.stdout)
    assert origin["checkpoint"] == "acme/tiny" and len(origin["revision"]) == 40
    assert origin["record"] == json.loads((run / "provenance.json").read_text())


def test_what_is_published_carries_its_record_and_no_commands(run, tmp_path):
    push(run, "acme/tiny", allow_unchecked=True, dry_run=tmp_path / "repository")
    record, own = (json.loads((folder / "provenance.json").read_text()) for folder in (tmp_path / "repository", run))
    assert "command" in own["sessions"][0] and "command" not in record["sessions"][0]
    del own["sessions"][0]["command"]
    assert record == own


def test_what_has_no_record(pipe, pipe_folder, elpv_folder, tmp_path):
    with pytest.raises(DataError, match="there is no"):
        chain(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"holds no provenance.json"):
        chain(pipe_folder)
    with pytest.raises(DataError, match="has no record of where it comes from"):
        chain(next(elpv_folder.iterdir()))
    tifffile.imwrite(tmp_path / "foreign.tif", np.zeros((16, 16), np.uint8))
    with pytest.raises(DataError, match="has no record of where it comes from"):
        chain(tmp_path / "foreign.tif")
    write_imagefolder(pipe, tmp_path / "images", 1)
    assert [step["made"] for step in chain(tmp_path / "images" / "00000.png")] == ["image", "images"]
    for text in ("{", "[]", '{"other": 1}'):
        (tmp_path / "images" / "provenance.json").write_text(text)
        with pytest.raises(DataError, match=r"provenance.json (is not JSON|holds (a list|no record))"):
            chain(tmp_path / "images")


def test_croissant(class_pipe, tmp_path):
    rows = write_imagefolder(class_pipe, tmp_path, 3, seed=2, croissant=True)
    data = mlcroissant.Dataset(jsonld=tmp_path / "croissant.json")  # raises where it is not valid
    assert not data.metadata.issues.errors
    records = list(data.records("images"))
    assert len(records) == 3
    for record, row in zip(sorted(records, key=lambda record: record["images/file_name"]), rows, strict=True):
        assert record["images/file_name"].decode() == row["file_name"] and record["images/seed"] == row["seed"]
        assert record["images/class_name"].decode() == row["class_name"]
        assert np.array_equal(np.asarray(record["images/image"]), np.asarray(Image.open(tmp_path / row["file_name"])))
