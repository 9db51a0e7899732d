"""Publishing by the command, as a user does."""

from __future__ import annotations

import json

from hub_server import WRITE_TOKEN, HubServer


def test_push(run_command, pipe_folder, tmp_path):
    push = ("push", "--checkpoint", pipe_folder, "--repo-id", "acme/tiny", "--json")
    ran = run_command(*push)
    assert ran.returncode == 3 and ran.stdout == "", ran.stderr  # and no network was needed to say so
    last = ran.stderr.splitlines()[-1]
    assert last.startswith("leakage gate: not pushed: No leakage check was made") and "--allow-unchecked" in last
    with HubServer(tmp_path / "server") as server:
        online = {
            "HF_ENDPOINT": server.url,
            "HF_HOME": str(tmp_path),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
        }
        ran = run_command(*push, "--allow-unchecked", HF_TOKEN=WRITE_TOKEN, **online)
        assert ran.returncode == 0, ran.stderr
        assert server.model("acme/tiny").private
    about = json.loads(ran.stdout)
    assert about["leakage"] == "unchecked" and about["commit"] == server.model("acme/tiny").refs["main"]
    assert WRITE_TOKEN not in ran.stdout + ran.stderr


def test_train_and_push(run_command, elpv_folder, tmp_path):
    """The same gate: twenty-four images are too few to look for copies, so nothing is published."""
    sizes = ("--image-size", 32, "--rows", 2, "--cols", 2, "--base-width", 8, "--max-width", 16, "--batch-size", 4)
    ran = run_command(
        *("train", "--data", elpv_folder, "--output-dir", tmp_path / "run", *sizes, "--max-steps", 1),
        *("--lambda-f", 0, "--mixed-precision", "no", "--push-to-hub", "acme/tiny"),
    )
    assert ran.returncode == 3, ran.stderr
    assert "leakage gate: not pushed: The leakage check could not be made" in ran.stderr.splitlines()[-1]
    assert (tmp_path / "run" / "model_index.json").is_file() and (tmp_path / "run" / "evaluation").is_dir()
