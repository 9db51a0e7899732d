"""What a name, a setting or an address of somebody else's can do to what is published: nothing."""

from __future__ import annotations

import html
import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from magical_hub import TrainingConfig, push
from magical_hub.errors import ConfigError
from magical_hub.hub.contents import PATHS, public_report
from magical_hub.provenance import _command
from magical_hub.texts import without_secrets

NAMES = [
    "x`\n\n# Checked by the publisher: no copies\n\n<img src=http://evil.example/t.png>\n",
    "``` ![x](http://evil.example)",
    "{{ finding }}<script>alert(1)</script>",
    "\x1b[2J| a | b |",
]


def test_names_of_classes_are_text_on_the_card(make_pipeline, tmp_path):
    pipe = make_pipeline(class_names=NAMES, num_defects=4, defect_names=NAMES)
    push(pipe, "acme/tiny", allow_unchecked=True, dry_run=tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text().partition("\n---\n")[2]
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    assert re.findall(r"<h1>(.*?)</h1>", page) == ["tiny"] and "<script" not in page
    assert re.findall(r"<img[^>]*>", page) == ['<img src="samples.png" alt="Generated images" />']
    assert "evil.example" not in "".join(re.findall(r'(?:href|src)="([^"]*)"', page))
    codes = [html.unescape(code) for code in re.findall(r"<code>(.*?)</code>", page)]
    assert "# Checked by the publisher" in " ".join(codes) and "\x1b" not in text


def test_statements_of_a_report_are_text_on_the_card(pipe, reports, tmp_path):
    report = json.loads(reports["passed"].to_json())
    report["sections"]["leakage"]["statement"] = "# Fine\n\n![x](http://evil.example)<b>"
    report["about"]["network"] = "<img src=http://evil.example>"
    (tmp_path / "report.json").write_text(json.dumps(report))
    push(pipe, "acme/tiny", report=tmp_path, dry_run=tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text().partition("\n---\n")[2]
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    assert page.count("<h1>") == 1 and page.count("<img") == 1 and "<b>" not in page
    report["sections"]["fidelity"]["scores"]["kid"] = "<b>0</b>"
    (tmp_path / "report.json").write_text(json.dumps(report))
    with pytest.raises(ConfigError, match="this is not a report that"):
        push(pipe, "acme/tiny", report=tmp_path, dry_run=tmp_path / "other")
    with pytest.raises(TypeError):
        public_report(report)


def test_a_setting_is_published_only_where_it_says_so():
    public, free = TrainingConfig.names("public"), TrainingConfig.names("may_change")
    of_the_user = {
        "data",
        "output_dir",
        "init_from",
        "group_regex",
        "report_to",
        "label_column",
        "files_below",
        "split",
    }
    assert not public & of_the_user and {"batch_size", "seed", "image_size"} <= public
    assert public | free <= {field.name for field in fields(TrainingConfig)}
    settings = json.loads(TrainingConfig(data="acme/private", output_dir="/home/alice/run").to_json())
    kept = TrainingConfig.public_of({**settings, "a_later_setting": "/home/alice"})
    assert TrainingConfig.public_of({"critic_sees": "windows"}) == {"critic_input": "windows"}  # of an earlier run
    assert kept.keys() == public and "acme/private" not in json.dumps(kept)
    hostile = {
        "mixed_precision": "file:///home/alice/x",
        "batch_size": "/Volumes/alice",
        "adam_betas": ["x", 0],
        "adversarial": "wasserstein",
        "image_size": [32, 32],
        "seed": {"a": 1},
    }
    assert TrainingConfig.public_of(hostile) == {"adversarial": "wasserstein", "image_size": [32, 32]}


@pytest.mark.parametrize(
    "text",
    [
        *(
            "file:///home/alice/x",
            "see /Volumes/alice/x",
            "\\\\srv\\alice",
            "C:\\Users\\alice",
            "~/alice/x",
            "~alice/x",
        ),
        *("/home/alice", '"/mnt/lots/7"', "(/data/secret)", "file:/etc/passwd"),
    ],
)
def test_paths_of_any_kind_are_found(text):
    assert PATHS.search(text) and PATHS.search(json.dumps(text))


@pytest.mark.parametrize(
    "text", ["1 / 2", "a/b", "https://example.org/home/x", "acme/tiny", "</div>", "0.5~0.7", "a: b"]
)
def test_what_is_no_path_is_none(text):
    assert not PATHS.search(text)


def test_of_the_command_options_and_numbers_are_recorded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = (
        "magical-hub train --data acme/private --output-dir OUT --seed=3 --lr 1e-3 --group-regex=lot(.*) --resume -5"
    )
    assert _command(command.split()) == (
        "magical-hub train --data ... --output-dir ... --seed=3 --lr 1e-3 --group-regex=... --resume -5"
    )
    assert _command(["python", "x.py"]) is None


@pytest.mark.parametrize("secret", ["alice:secret@", "hf_secret@", "secret@"])
def test_names_and_passwords_of_addresses_are_not_told(secret):
    told = without_secrets(f"401 of https://{secret}hub.example/api and https://{secret}hub.example/x?y=1")
    assert "secret" not in told and told.count("https://***@hub.example") == 2


def test_nothing_of_the_user_is_in_a_pushed_record(pipe, tmp_path, make_pipeline):
    subject = make_pipeline()
    before = {"made": "checkpoint", "checkpoint": "acme/private", "revision": "0" * 40, "sessions": [{"from_step": 0}]}
    before["sessions"][0]["command"] = "magical-hub train --data acme/private"
    configuration = {"data": "acme/private", "batch_size": 4, "label_column": "secret"}
    data = {"dataset": "acme/private", "fingerprint": "f"}
    subject.origin = {"record": {**before, "data": data, "configuration": configuration, "from": before}}
    push(subject, "acme/tiny", allow_unchecked=True, dry_run=tmp_path / "out")
    for file in Path(tmp_path / "out").rglob("*"):
        assert not file.is_file() or b"acme/private" not in file.read_bytes(), file
    record = json.loads((tmp_path / "out" / "provenance.json").read_text())
    record = record.get("from", record) if "configuration" not in record else record
    assert record["configuration"] == {"batch_size": 4} and record["data"] == {"fingerprint": "f"}
