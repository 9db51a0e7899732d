"""Rows made on a real Ray cluster of two cores, and on one of several nodes, each a raylet of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import ray
from ray.cluster_utils import Cluster

from magical_hub import augment_dataset
from magical_hub.errors import AugmentationError, ConfigError

ROWS = 140  # three shards


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20)
    yield
    ray.shutdown()


def stalling_filter(folder: Path) -> Any:
    """A filter that says in a file which process it runs in and then hangs, until the file `go` is there."""

    def keep(images: np.ndarray, annotations: Any) -> list[bool]:
        if not (folder / "go").exists():
            (folder / f"{os.getpid()}.pid").touch()
        while not (folder / "go").exists():
            time.sleep(0.01)
        return [bool(image.mean() < 140) for image in images]

    return keep


def go_on(folder: Path, kill: bool) -> None:
    """Once a filter hangs, let all go on, or kill its process first."""
    for _ in range(6000):
        if pids := [int(path.stem) for path in folder.glob("*.pid")]:
            assert os.getpid() not in pids
            if kill:
                os.kill(pids[0], signal.SIGKILL)
                (folder / "killed").touch()
            break
        time.sleep(0.01)
    (folder / "go").touch()


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_missing_rows_are_those_of_the_local_engine(cluster, labelled, class_pipe, cache, tmp_path, workers):
    """Two of three shards are to be made again; of two workers one is killed at the first image."""
    settings: dict[str, Any] = {"keep": stalling_filter(tmp_path), "seed": 3, "provenance": True}
    (tmp_path / "go").touch()
    local = augment_dataset(labelled, class_pipe, ROWS, **settings)
    files = {path: path.read_bytes() for path in sorted(cache.rglob("*-of-*"))}
    arrows = [path for path in files if path.suffix == ".arrow"]
    assert len(arrows) == 3 and any(b"dropped by the filter" in text for text in files.values())
    kept = arrows[1].stat().st_mtime_ns
    for path in (arrows[0], arrows[2], tmp_path / "go"):
        path.unlink()

    killer = threading.Thread(target=go_on, args=[tmp_path, workers == 2])
    killer.start()
    made = augment_dataset(labelled, class_pipe, ROWS, engine="ray", num_proc=workers, **settings)
    killer.join()
    assert (tmp_path / "killed").exists() == (workers == 2)
    assert {path: path.read_bytes() for path in sorted(cache.rglob("*-of-*"))} == files  # images, labels, counts
    assert arrows[1].stat().st_mtime_ns == kept
    assert len(made) == 10 + ROWS and made["seed"] == local["seed"] and len(set(made["seed"][10:])) == ROWS


@pytest.mark.slow
def test_what_goes_wrong_in_an_actor_is_one_line(cluster, labelled, class_pipe):
    with pytest.raises(AugmentationError, match=r"images gave 0 of the 2 wanted \(.* too dull\)") as refusal:
        augment_dataset(labelled, class_pipe, 2, engine="ray", keep=lambda images, _: ["too dull"] * len(images))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"engine": "ray", "ray_address": "127.0.0.1:{free}"}, "cluster at 127.0.0.1:.* does not answer .*refused"),
        ({"engine": "ray", "ray_address": "auto"}, "the Ray cluster at auto does not answer"),
        ({"engine": "spark"}, "engine is 'spark': give 'local' or 'ray'"),
        ({"ray_address": "auto"}, "ray_address is for the engine 'ray'"),
    ],
)
def test_mistakes(labelled, class_pipe, settings, words, tmp_path, monkeypatch):
    ray.shutdown()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))  # where "auto" looks for the cluster that was started last
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound and not listened on: nobody answers there
        filled = {name: value.format(free=free.getsockname()[1]) for name, value in settings.items()}
        with pytest.raises(ConfigError, match=words) as refusal:
            augment_dataset(labelled, class_pipe, 2, **filled)
    assert "\n" not in str(refusal.value)


def test_a_stream_is_made_where_it_is_read(labelled, class_pipe):
    with pytest.raises(ConfigError, match="leave engine 'ray' out"):
        augment_dataset(labelled.to_iterable_dataset(), class_pipe, 2, engine="ray")


def node_filter(folder: Path) -> Any:
    """A filter that keeps all and says in files which nodes it ran on."""

    def keep(images: np.ndarray, annotations: Any) -> list[bool]:
        (folder / ray.get_runtime_context().get_node_id()).touch()
        time.sleep(0.2)
        return [True] * len(images)

    return keep


@pytest.mark.slow
def test_nodes_share_the_work_and_one_may_be_lost(labelled, class_pipe, cache, tmp_path, monkeypatch):
    """A head without cores and three nodes of one each; one is killed with all its actors once each has worked."""
    ray.shutdown()
    local = augment_dataset(labelled, class_pipe, 20 * 64, seed=3, keep="all")
    rows = local.with_format(None).cast_column("image", datasets.Image(decode=False))[:]
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "another")
    seen = tmp_path / "seen"
    seen.mkdir()
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": 2**27}
    )
    try:
        nodes = [cluster.add_node(num_cpus=1, object_store_memory=2**27) for _ in range(3)]
        cluster.wait_for_nodes()

        def lose_one() -> None:
            while len([*seen.iterdir()]) < 3:
                time.sleep(0.05)
            cluster.remove_node(nodes[0], allow_graceful=False)
            (tmp_path / "lost").touch()

        loser = threading.Thread(target=lose_one)
        loser.start()
        settings: dict[str, Any] = {"engine": "ray", "ray_address": cluster.address, "keep": node_filter(seen)}
        made = augment_dataset(labelled, class_pipe, 20 * 64, seed=3, **settings)
        loser.join()
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert (tmp_path / "lost").exists() and len([*seen.iterdir()]) == 3
    assert made.with_format(None).cast_column("image", datasets.Image(decode=False))[:] == rows


@pytest.mark.slow
def test_the_command_starts_a_cluster_by_itself(run_command, labelled, class_pipe, tmp_path):
    labelled.save_to_disk(tmp_path / "data")
    class_pipe.save_pretrained(tmp_path / "run")
    arguments = ("augment", "--data", tmp_path / "data", "--checkpoint", tmp_path / "run", "--num-images", 4, "--json")
    made = {}
    for engine in ("local", "ray"):
        options = ("--engine", engine, "--output-dir", tmp_path / engine)
        ran = run_command(*arguments, *options, HF_DATASETS_CACHE=str(tmp_path / f"cache {engine}"))
        assert ran.returncode == 0, ran.stderr
        assert json.loads(ran.stdout)["synthetic"] == 4
        made[engine] = datasets.load_from_disk(tmp_path / engine).cast_column("image", datasets.Image(decode=False))[:]
    assert made["local"] == made["ray"]
