"""The command: what it says, where, and its exit codes. In this process, since it imports what takes seconds."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import pytest
from hub_server import WRITE_TOKEN

from magical_hub import cli

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs `magical-hub ARGUMENTS`; gives the exit code, and what went to stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["magical-hub", *map(str, arguments)])
        capfd.readouterr()
        try:
            cli.main()
        except SystemExit as stop:
            return int(stop.code or 0), *capfd.readouterr()
        return 0, *capfd.readouterr()

    return run


def test_push(hub, command, pipe_folder, tmp_path):
    push = ("push", "--checkpoint", pipe_folder, "--repo-id", "acme/tiny", "--json")
    code, out, err = command(*push)
    assert code == 3 and out == "" and hub.requests == []
    last = err.splitlines()[-1]
    assert last.startswith("leakage gate: not pushed: No leakage check was made") and "--allow-unchecked" in last
    code, out, err = command(*push, "--allow-unchecked")
    assert code == 0 and hub.model("acme/tiny").private
    about = json.loads(out)
    assert about["leakage"] == "unchecked" and about["commit"] == hub.model("acme/tiny").refs["main"]
    assert WRITE_TOKEN not in out + err
    code, out, _ = command(*push, "--allow-unchecked", "--dry-run", tmp_path / "out")
    assert code == 0 and json.loads(out)["url"] == str(tmp_path / "out") and (tmp_path / "out" / "README.md").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--repo-id tiny --allow-unchecked", "give OWNER/NAME"),
        ("--repo-id acme/tiny --allow-unchecked --critic --dry-run {tmp}", "give a new or an empty folder"),
        ("--repo-id acme/tiny --report {tmp}/none", "report {tmp}/none: "),
        ("--repo-id acme/tiny --allow-unchecked --license no-such", '"license" must be one of'),
    ],
)
def test_mistakes_are_one_line(hub, command, pipe_folder, tmp_path, arguments, words):
    (tmp_path / "full").write_text("")
    code, out, err = command("push", "--checkpoint", pipe_folder, *arguments.format(tmp=tmp_path).split())
    assert code == 2 and out == "" and "Traceback" not in err
    assert err.splitlines()[-1].startswith("error: ") and words.format(tmp=tmp_path) in err.splitlines()[-1]


def test_train_and_push(hub, command, elpv_folder, tmp_path):
    """The same gate: twenty-four images are too few to look for copies, so nothing is published."""
    sizes = ("--image-size", 32, "--rows", 2, "--cols", 2, "--base-width", 8, "--max-width", 16, "--batch-size", 4)
    code, out, err = command(
        *("train", "--data", elpv_folder, "--output-dir", tmp_path / "run", *sizes, "--max-steps", 1),
        *("--lambda-f", 0, "--mixed-precision", "no", "--push-to-hub", "acme/tiny"),
    )
    assert code == 3 and out == "" and hub.requests == []
    assert "leakage gate: not pushed: The leakage check could not be made" in err.splitlines()[-1]
    assert (tmp_path / "run" / "model_index.json").is_file() and (tmp_path / "run" / "evaluation").is_dir()
