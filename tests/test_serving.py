"""The model that training puts into MLflow, in a real store."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from magical_hub import MagicalPipeline, train
from magical_hub.errors import ConfigError
from magical_hub.serving import ServedPipeline
from magical_hub.training import TrainingResult


@pytest.fixture(scope="module")
def tracked(tiny_config, tmp_path_factory) -> Iterator[tuple[Path, TrainingResult]]:
    """A RUN whose figures and model went to a store of its own, which MLflow asks as long as these tests run."""
    folder = tmp_path_factory.mktemp("tracked")
    for number in range(12):
        (folder / "data" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32), np.uint8)
        Image.fromarray(pixels).save(folder / "data" / "ab"[number % 2] / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        with pytest.MonkeyPatch.context() as within:
            within.chdir(folder)
            settings = {"data": str(folder / "data"), "label_column": "label", "report_to": "mlflow"}
            result = train(tiny_config(folder / "wafer", **settings, max_steps=2))
        yield folder / "wafer", result


@pytest.fixture
def run(tracked) -> mlflow.entities.Run:
    (run,) = mlflow.search_runs(experiment_names=["magical_hub"], output_format="list")
    return run


def test_figures_and_settings_are_in_the_store(tracked, run):
    folder, result = tracked
    assert run.info.run_name == "wafer" and run.info.status == "FINISHED"
    assert run.data.params["base_width"] == "8" and run.data.params["label_column"] == "label"
    for name, figure in result.figures.items():
        assert run.data.metrics[name] == pytest.approx(figure)
    steps = [point.step for point in mlflow.MlflowClient().get_metric_history(run.info.run_id, "critic/adversarial")]
    assert (
        steps == [json.loads(line)["step"] for line in (folder / "history.jsonl").read_text().splitlines()] == [1, 2]
    )


def model_of(run: mlflow.entities.Run) -> str:
    (model,) = run.outputs.model_outputs
    return f"models:/{model.model_id}"


def test_the_model_gives_the_same_image(tracked, run):
    model = mlflow.pyfunc.load_model(model_of(run))
    asked = pd.DataFrame({"seed": [7, 2**62], "class_label": ["b", None]})
    made = model.predict(asked)
    pipe = MagicalPipeline.from_pretrained(tracked[0])
    wanted = [pipe(seeds=[7], class_labels="b").images[0], pipe(seeds=[2**62]).images[0]]
    assert made["seed"].tolist() == asked["seed"].tolist()
    for file, image in zip(made["image"], wanted, strict=True):
        assert np.array_equal(Image.open(io.BytesIO(file)), image)
    only_seeds = model.predict(pd.DataFrame({"seed": [2**62]}))
    assert only_seeds["image"].tolist() == made["image"].tolist()[1:]


def test_nothing_of_the_model_is_pickled_and_the_critic_stays_at_home(run):
    folder = Path(mlflow.artifacts.download_artifacts(model_of(run)))
    files = {path.name for path in folder.rglob("*") if path.is_file()}
    assert not [name for name in files if re.search(r"\.(pkl|pickle|pt|pth|bin)$", name)]
    assert "MLmodel" in files and [*folder.rglob("generator/*.safetensors")] and not [*folder.rglob("critic")]
    assert "magical_hub.serving" in (folder / "MLmodel").read_text()


def test_wrong_rows(run):
    model = mlflow.pyfunc.load_model(model_of(run))
    with pytest.raises(ConfigError, match="'c'"):
        model.predict(pd.DataFrame({"seed": [7], "class_label": ["c"]}))
    with pytest.raises(mlflow.exceptions.MlflowException, match=r"missing inputs.*seed"):
        model.predict(pd.DataFrame({"class_label": ["a"]}))


@pytest.mark.parametrize("seed", [7.5, float("nan"), None, "7", True])
def test_a_seed_is_no_other_number(pipe, seed):
    """Rows that come by another way than MLflow's, which checks their kinds."""
    with pytest.raises(ConfigError, match="which is not a whole number"):
        ServedPipeline(pipe).predict(pd.DataFrame({"seed": [seed]}))


def test_a_store_that_cannot_be_had_is_one_line(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://store")
    with pytest.raises(ConfigError, match=r"report_to mlflow cannot be started .*nowhere.*: look at its address") as e:
        train(tiny_config(tmp_path / "run", report_to="mlflow"))
    assert "\n" not in str(e.value)


@pytest.mark.slow
def test_a_server_answers_with_the_same_image(tracked, run):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = mlflow.artifacts.download_artifacts(model_of(run))
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", folder, "-p", str(port)]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # where it looks for uvicorn
    environment = {**os.environ, "PATH": path}
    server = subprocess.Popen([*command, "--env-manager", "local"], start_new_session=True, env=environment)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(120):
            time.sleep(1)
            assert server.poll() is None
            try:
                urllib.request.urlopen(f"{url}/ping", timeout=5)
                break
            except OSError:
                continue
        body = json.dumps({"dataframe_records": [{"seed": 7, "class_label": "b"}]}).encode()
        request = urllib.request.Request(f"{url}/invocations", body, {"Content-Type": "application/json"})
        answer = json.loads(urllib.request.urlopen(request, timeout=60).read())
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)
    image = Image.open(io.BytesIO(b64decode(answer["predictions"][0]["image"])))
    wanted = MagicalPipeline.from_pretrained(tracked[0])(seeds=[7], class_labels="b").images[0]
    assert np.array_equal(image, wanted)
