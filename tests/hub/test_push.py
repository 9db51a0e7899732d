"""Publishing through the official client, to a real server on loopback, and loading what came of it."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_server import READ_TOKEN, WRITE_TOKEN
from huggingface_hub import HfApi, ModelCard

from magical_hub import LabelVerifier, MagicalPipeline, push
from magical_hub.checkpoint import fetch
from magical_hub.data.canvas import digest
from magical_hub.errors import CheckpointError, ConfigError, HubError, LeakageError
from magical_hub.evaluation import EvaluationReport
from magical_hub.training import Split

WEIGHTS = "generator/diffusion_pytorch_model.safetensors"
FILES = {
    *("README.md", "model_index.json", "samples.png", "report.json", "generator/config.json", WEIGHTS),
    "generator/diffusion_pytorch_model.fp16.safetensors",
    "provenance.json",
}


def pull(where: Path, **more) -> MagicalPipeline:
    pulled = MagicalPipeline.from_pretrained("acme/tiny", cache_dir=where, **more)
    pulled.set_progress_bar_config(disable=True)
    return pulled


def images(pipe: MagicalPipeline) -> np.ndarray:
    return pipe(seeds=[1, 2], output_type="np").images


def test_pushed_and_pulled_again_the_images_are_equal_to_the_bit(hub, pipe, reports, tmp_path):
    result = push(pipe, "acme/tiny", report=reports["passed"])
    assert {*result.files} == FILES and result.leakage == "passed"
    repo = hub.model("acme/tiny")
    assert repo.private and {*repo.commits[result.commit].files} == FILES | {".gitattributes"}
    assert result.url == f"{hub.url}/acme/tiny/commit/{result.commit}"

    hub.requests.clear()
    assert (images(pull(tmp_path / "a")) == images(pipe)).all()
    fetched = {
        request.partition("/resolve/")[2].partition("/")[2] for request in hub.requests if "/resolve/" in request
    }
    assert fetched == {
        "model_index.json",
        "provenance.json",
        "generator/config.json",
        WEIGHTS,
    }  # and nothing that is not needed
    hub.requests.clear()
    assert (images(pull(tmp_path / "a", local_files_only=True)) == images(pipe)).all()
    assert hub.requests == []
    assert any("magical_hub/" in agent for agent in hub.agents)


def test_the_half_size_variant(hub, pipe, reports, tmp_path):
    push(pipe, "acme/tiny", report=reports["passed"])
    hub.requests.clear()
    half = pull(tmp_path / "a", variant="fp16", dtype=torch.float16)
    assert half.generator.dtype == torch.float16 and not hub.count(WEIGHTS)
    assert abs(images(half) - images(pipe)).max() < 0.02
    with pytest.raises(CheckpointError, match=r"acme/tiny has no generator/.*\.bf16\.safetensors: .*variant"):
        pull(tmp_path / "a", variant="bf16")


def test_the_critic_goes_only_where_it_is_wanted(hub, pipe, reports, tmp_path):
    push(pipe, "acme/tiny", report=reports["passed"], critic=True)
    first = pull(tmp_path / "a")
    assert first.critic is not None
    push(pipe, "acme/tiny", report=reports["passed"])  # and goes away with the next push that has none
    assert pull(tmp_path / "a").critic is None
    assert not [name for name in hub.model("acme/tiny").find("main").files if name.startswith("critic")]
    with pytest.raises(ConfigError, match="no critic to publish"):
        push(MagicalPipeline(pipe.generator), "acme/tiny", critic=True, allow_unchecked=True)


def test_every_component_goes(hub, make_pipeline, tmp_path):
    """Defects and a verifier: what the pipeline registers is what is published, and comes back whole."""
    shape = {"rows": 2, "cols": 3, "image_size": (32, 48), "width": 8, "num_defects": 2}
    made = make_pipeline(num_defects=2, defect_names=["crack", "void"])
    push(MagicalPipeline(made.generator, verifier=LabelVerifier(**shape).eval()), "acme/tiny", allow_unchecked=True)
    pulled = pull(tmp_path / "a")
    assert pulled.critic is None and type(pulled.verifier) is LabelVerifier
    asked = {"seeds": [1], "defects": {(0, 1): "void"}, "output_type": "np"}
    assert (pulled(**asked).images == made(**asked).images).all()
    card = content_of(hub, "README.md").read_text()
    assert "| verifier | `LabelVerifier` |" in card and "Defects (`defects=`): `crack`, `void`." in card


def test_the_same_again_is_no_new_commit(hub, pipe, reports):
    first = push(pipe, "acme/tiny", report=reports["passed"])
    again = push(pipe, "acme/tiny", report=reports["passed"])
    assert again.commit == first.commit and len(hub.model("acme/tiny").commits) == 2  # with the Hub's own first one


def test_pinned_by_a_commit_and_by_a_branch(hub, pipe, seamless_pipe, reports, tmp_path):
    first = push(pipe, "acme/tiny", report=reports["passed"])
    push(seamless_pipe, "acme/tiny", allow_unchecked=True)
    push(pipe, "acme/tiny", report=reports["passed"], revision="stable")
    kinds = [
        type(MagicalPipeline.from_pretrained(name, cache_dir=tmp_path / "a").generator).__name__
        for name in ("acme/tiny", f"acme/tiny@{first.commit}", "acme/tiny@stable")
    ]
    assert kinds == ["SeamlessGenerator", "MagicalGenerator", "MagicalGenerator"]
    assert (images(pull(tmp_path / "b", revision=first.commit)) == images(pipe)).all()
    with pytest.raises(CheckpointError, match="Revision Not Found"):
        pull(tmp_path / "a", revision="nothing")


def test_a_pull_request_leaves_the_branch_as_it_is(hub, pipe, reports, tmp_path):
    push(pipe, "acme/tiny", report=reports["passed"])
    head = hub.model("acme/tiny").refs["main"]
    result = push(pipe, "acme/tiny", report=reports["passed"], critic=True, create_pr=True)
    assert result.pull_request == f"{hub.url}/acme/tiny/discussions/1"
    assert hub.model("acme/tiny").refs["main"] == head
    assert pull(tmp_path / "a", revision="refs/pr/1").critic is not None


def test_a_private_repository_needs_a_token(hub, pipe, reports, tmp_path, monkeypatch):
    push(pipe, "acme/tiny", report=reports["passed"])
    monkeypatch.delenv("HF_TOKEN")
    for token in (False, "hf_unknown12345"):
        with pytest.raises(CheckpointError, match=r"acme/tiny cannot be pulled: .*401") as error:
            pull(tmp_path / "a", token=token)
        assert "\n" not in str(error.value) and "hf_unknown" not in str(error.value)
    assert pull(tmp_path / "a", token=READ_TOKEN).generator is not None
    with pytest.raises(HubError, match=r"acme/tiny was not pushed: 403 .*write token"):
        push(pipe, "acme/tiny", report=reports["passed"], token=READ_TOKEN)
    with pytest.raises(HubError, match=r"acme/other was not pushed: .*401"):
        push(pipe, "acme/other", report=reports["passed"], token=False)


def test_a_public_repository_is_not_written_to_by_mistake(hub, pipe, reports):
    push(pipe, "acme/tiny", report=reports["passed"], private=False)
    assert not hub.model("acme/tiny").private
    with pytest.raises(HubError, match="acme/tiny is public: give private=False"):
        push(pipe, "acme/tiny", report=reports["passed"])


def test_a_corrupted_file_is_noticed_and_pulled_again(hub, pipe, reports, tmp_path):
    push(pipe, "acme/tiny", report=reports["passed"])
    pull(tmp_path / "a")
    hub.corrupt("acme/tiny", WEIGHTS)
    with pytest.raises(
        CheckpointError, match=r"diffusion_pytorch_model\.safetensors of acme/tiny is not what the Hub"
    ):
        pull(tmp_path / "b")
    hub.corrupt("acme/tiny", WEIGHTS)  # the same byte, so whole again
    assert (images(pull(tmp_path / "b")) == images(pipe)).all()
    (file,) = (tmp_path / "a").glob(f"models--acme--tiny/snapshots/*/{WEIGHTS}")
    file.resolve().write_bytes(file.read_bytes()[:-1] + b"\0")  # on the own disk: mended in passing
    assert (images(pull(tmp_path / "a")) == images(pipe)).all()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("POST /api/repos/create", 503),
        ("POST .*/commit/", 500),
        ("POST .*/commit/", 429),
        ("GET /api/models/acme/tiny$", 502),
        ("POST .*/preupload/", 503),
        ("PUT /lfs/", 503),
    ],
)
def test_a_push_is_tried_again(hub, pipe, reports, request_, status):
    hub.fail(request_, status, times=2)
    result = push(pipe, "acme/tiny", report=reports["passed"])
    assert hub.model("acme/tiny").refs["main"] == result.commit and hub.count(request_) >= 3


@pytest.mark.parametrize(
    ("request_", "status"),
    [("GET /api/models/acme/tiny/revision", 503), ("HEAD .*/resolve/.*safetensors", 503), ("GET .*/resolve/", 500)],
)
def test_a_pull_is_tried_again(hub, pipe, pipe_folder, tmp_path, request_, status):
    hub.add("acme/tiny", pipe_folder)
    hub.fail(request_, status, times=2)
    assert (images(pull(tmp_path / "a")) == images(pipe)).all()


def test_it_is_not_tried_for_ever(hub, pipe, reports):
    hub.fail("POST .*/commit/", 503, times=100)
    with pytest.raises(HubError, match=r"acme/tiny was not pushed: .*503"):
        push(pipe, "acme/tiny", report=reports["passed"])
    assert hub.count("POST .*/commit/") == 5


def test_connections_that_are_cut(hub, pipe, reports, tmp_path):
    hub.cut("PUT /lfs/", after=1000)
    hub.cut("POST .*/commit/", after=10)
    result = push(pipe, "acme/tiny", report=reports["passed"])
    assert len(hub.model("acme/tiny").commits) == 2
    hub.cut("GET .*/resolve/.*safetensors", after=5000, times=2)
    assert (images(pull(tmp_path / "a")) == images(pipe)).all()
    hub.lose_answer("POST .*/commit/")  # it came through, and only the answer didn't
    result = push(pipe, "acme/tiny", report=reports["passed"], critic=True)
    assert len(hub.model("acme/tiny").commits) == 3 and hub.model("acme/tiny").refs["main"] == result.commit


def test_a_push_cut_off_leaves_the_old_revision_whole_and_the_next_one_finishes(hub, pipe, seamless_pipe, tmp_path):
    push(pipe, "acme/tiny", allow_unchecked=True)
    hub.fail("POST .*/commit/", 503, times=5)
    with pytest.raises(HubError):
        push(seamless_pipe, "acme/tiny", allow_unchecked=True)
    assert (images(pull(tmp_path / "a")) == images(pipe)).all()
    hub.requests.clear()
    push(seamless_pipe, "acme/tiny", allow_unchecked=True)
    assert not hub.count("PUT /lfs/")  # what was uploaded needs no second time
    assert (images(pull(tmp_path / "a")) == images(seamless_pipe)).all()


def test_two_pushes_at_once_lose_nothing(hub, pipe, seamless_pipe, reports, tmp_path):
    both = {
        "a": (pipe, {"report": reports["passed"], "critic": True}),
        "b": (seamless_pipe, {"allow_unchecked": True}),
    }
    made, barrier = {}, threading.Barrier(2)

    def one(name):
        barrier.wait()
        made[name] = push(both[name][0], "acme/tiny", commit_message=name, **both[name][1])

    threads = [threading.Thread(target=one, args=(name,)) for name in both]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    repo = hub.model("acme/tiny")
    assert sorted(commit.message for commit in repo.history(repo.find("main"))) == ["a", "b", "initial commit"]
    for name, (source, _) in both.items():  # each commit is one of the two models and no mixture
        assert (images(pull(tmp_path / "x", revision=made[name].commit)) == images(source)).all()
        assert {*repo.commits[made[name].commit].files} == {*made[name].files, ".gitattributes"}


def test_somebody_was_faster(hub, pipe, reports):
    """The Hub refuses a commit on what is no longer the newest; it is made again on what is."""
    push(pipe, "acme/tiny", report=reports["passed"])
    hub.fail("POST .*/commit/", 412)
    result = push(pipe, "acme/tiny", report=reports["passed"], critic=True)
    assert hub.count("POST .*/commit/") == 3 and hub.model("acme/tiny").refs["main"] == result.commit


def test_refused_without_a_leakage_check(hub, pipe, reports, tmp_path):
    other = MagicalPipeline(pipe.generator.__class__.from_config(pipe.generator.config))
    for subject, report, words in (
        (pipe, None, "No leakage check was made"),
        (pipe, reports["failed"], "COPIES FOUND"),
        (other, reports["passed"], "of these weights: the report is of others"),
    ):
        with pytest.raises(LeakageError, match=words):
            push(subject, "acme/tiny", report=report)
        with pytest.raises(LeakageError, match="--allow-unchecked"):
            subject.push_to_hub("acme/tiny", report=report)
    assert hub.requests == []
    result = push(pipe, "acme/tiny", report=reports["failed"], allow_unchecked=True)
    assert result.leakage == "failed"
    card = ModelCard.load(content_of(hub, "README.md"))
    assert "failed its leakage check" in card.text and "leakage-check-failed" in card.data.tags
    result = pipe.push_to_hub("acme/unknown", allow_unchecked=True)
    assert result.leakage == "unchecked" and hub.model("acme/unknown").private
    assert "report.json" not in result.files


def test_a_report_on_other_images_counts_for_nothing(hub, pipe, reports):
    unknown, doubtful = (MagicalPipeline(pipe.generator) for _ in range(2))
    doubtful.origin = {"record": {**pipe.origin["record"], "weights_sha256": "0" * 64}}
    swapped = MagicalPipeline(pipe.generator)
    parts = pipe.origin["record"]["data"]["sha256"]
    swapped.origin = {"record": {**pipe.origin["record"], "data": {"sha256": {**parts, "holdout": parts["train"]}}}}
    for subject, report, words in (
        (pipe, reports["others"], "other images than those that it was trained on"),
        (unknown, reports["passed"], "which images it was trained on is not on record"),
        (doubtful, reports["passed"], "which images it was trained on is not on record"),
        (swapped, reports["passed"], "other images than those that training held out"),
    ):
        with pytest.raises(LeakageError, match=words):
            push(subject, "acme/tiny", report=report)
    about = {key: value for key, value in reports["passed"].about.items() if key != "sha256"}
    report = EvaluationReport(reports["passed"].sections, about)  # as an earlier version wrote it
    with pytest.raises(LeakageError, match="other images than those that it was trained on"):
        push(pipe, "acme/tiny", report=report)
    assert hub.requests == []


def content_of(hub, name: str, repo_id: str = "acme/tiny") -> Path:
    return hub.blobs.path(hub.model(repo_id).find("main").files[name].sha256)


def test_a_run_is_pushed_with_the_report_that_lies_in_it(hub, pipe, reports, cells, tmp_path):
    run = tmp_path / "secret-lot" / "run"
    pipe.save_pretrained(run)
    (run / "training_config.json").write_text(
        json.dumps({"data": "/home/someone/secret-lot/images", "output_dir": str(run), "batch_size": 16, "seed": 3})
    )
    (run / "samples").mkdir()
    (run / "samples" / "step-00000004.png").write_bytes(b"pixels of training")
    (run / "history.jsonl").write_text('{"step": 4}\n')
    digests = [digest([np.asarray(cell)[None]]) for cell in cells]
    Split([*range(65)], [], [*range(65, 100)], digests).save(run / "split.json")
    reports["passed"].about["subject"] = str(run)
    reports["passed"].write(run / "evaluation")
    result = MagicalPipeline.from_pretrained(run).push_to_hub("acme/tiny")
    assert {*result.files} == FILES | {"training_config.json"} and result.leakage == "passed"
    assert push(run, "acme/tiny").commit == result.commit
    for name in result.files:
        content = content_of(hub, name).read_bytes()
        assert b"secret-lot" not in content and b"pixels of training" not in content, name
    assert json.loads(content_of(hub, "training_config.json").read_text()) == {"batch_size": 16, "seed": 3}
    published = json.loads(content_of(hub, "report.json").read_text())
    assert published["sections"]["leakage"]["verdict"] in ("good", "weak")
    assert "memorisation" not in published["sections"]["leakage"]["details"]
    assert "pairs" not in published["sections"]["split"]["details"] and "sha256" not in published["about"]
    for parts, words in (
        (([*range(64)], [64], [*range(65, 100)]), "other images than those that it was trained on"),
        (([*range(65)], [65], [*range(66, 100)]), "other images than those that training held out"),
    ):
        Split(*parts, digests).save(run / "split.json")
        with pytest.raises(LeakageError, match=words):
            push(run, "acme/tiny")


def test_a_card_that_a_person_changed_is_kept(hub, pipe, reports):
    push(pipe, "acme/tiny", report=reports["passed"])
    text = content_of(hub, "README.md").read_text().replace("## Limits", "## Limits, by a person")
    api = HfApi()
    api.upload_file(path_or_fileobj=text.encode(), path_in_repo="README.md", repo_id="acme/tiny")
    result = push(pipe, "acme/tiny", report=reports["passed"], critic=True)
    assert result.card_kept and content_of(hub, "README.md").read_text() == text
    with pytest.raises(HubError, match="has a card that a person wrote"):
        push(pipe, "acme/tiny", allow_unchecked=True)
    api.delete_file("README.md", "acme/tiny")
    assert not push(pipe, "acme/tiny", allow_unchecked=True).card_kept


def test_files_of_others_are_left_alone(hub, pipe, reports):
    push(pipe, "acme/tiny", report=reports["passed"])
    HfApi().upload_file(path_or_fileobj=b"notes", path_in_repo="docs/notes.txt", repo_id="acme/tiny")
    push(pipe, "acme/tiny", report=reports["passed"], critic=True)
    assert "docs/notes.txt" in hub.model("acme/tiny").find("main").files


def test_no_path_of_this_machine_is_published(hub, make_pipeline):
    leaky = make_pipeline(class_names=["/home/someone/lots/A12", "good"])
    with pytest.raises(ConfigError, match=r"holds a path of this machine \(/home/someone\)"):
        push(leaky, "acme/tiny", allow_unchecked=True)
    assert hub.requests == []


def test_a_dry_run_writes_the_repository_and_asks_nobody(hub, pipe, reports, tmp_path):
    result = push(pipe, "acme/tiny", report=reports["passed"], dry_run=tmp_path / "out")
    assert hub.requests == [] and result.commit is None and result.url == str(tmp_path / "out")
    files = [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert {file.relative_to(tmp_path / "out").as_posix() for file in files} == FILES
    assert (images(MagicalPipeline.from_pretrained(tmp_path / "out")) == images(pipe)).all()
    with pytest.raises(ConfigError, match="out is there already: give a new"):
        push(pipe, "acme/tiny", report=reports["passed"], dry_run=tmp_path / "out")


def test_a_card_that_the_hub_refuses(hub, pipe):
    with pytest.raises(HubError, match=r'acme/tiny was not pushed: .*"license" must be one of'):
        push(pipe, "acme/tiny", allow_unchecked=True, license="no-such")
    assert not hub.count("PUT /lfs/")


def test_a_bundled_checkpoint_needs_no_network(hub, tmp_path):
    assert MagicalPipeline.from_pretrained("package-512").generator.config.class_names == ["QFN", "BGA", "SOIC"]
    push("package-512", "acme/package", allow_unchecked=True, dry_run=tmp_path / "out")
    assert hub.requests == []


@pytest.mark.parametrize("repo_id", ["tiny", "", "a/b/c", "acme/ti ny", "acme/--x"])
def test_names_that_are_none(pipe, repo_id):
    with pytest.raises(ConfigError, match="give OWNER/NAME"):
        push(pipe, repo_id, allow_unchecked=True)


@pytest.mark.parametrize("content", ["{", "{}", '{"about": 5}', None])
def test_a_report_that_is_none(pipe, tmp_path, content):
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    with pytest.raises(ConfigError, match="report"):
        push(pipe, "acme/tiny", report=tmp_path)


def test_networks_alone_are_not_pushed(pipe, tmp_path):
    with pytest.raises(ConfigError, match="push its MagicalPipeline"):
        pipe.generator.push_to_hub("acme/tiny")
    with pytest.raises(ConfigError, match="push its MagicalPipeline"):
        pipe.generator.save_pretrained(tmp_path / "tiny", push_to_hub=True)


def test_tokens_are_told_to_nobody(hub, pipe, reports, tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    hub.fail("POST .*/commit/", 503)
    push(pipe, "acme/tiny", report=reports["passed"], token=WRITE_TOKEN, dry_run=None)
    pull(tmp_path / "a", token=READ_TOKEN)
    logged = caplog.text
    hub.fail("POST .*/commit/", 400, X_Error_Message=f"no, Bearer {WRITE_TOKEN}")
    with pytest.raises(HubError) as error:
        push(pipe, "acme/tiny", report=reports["passed"], token=WRITE_TOKEN, critic=True)
    said = capfd.readouterr()
    content = b"".join(content_of(hub, name).read_bytes() for name in ("README.md", "report.json"))
    for text in (logged, said.out, said.err, content.decode(), str(error.value)):
        assert WRITE_TOKEN not in text and READ_TOKEN not in text
    assert "attempt 1 of 5 on the Hub failed" in logged


def test_only_pickles_are_there(hub, pipe_folder, tmp_path):
    for file in pipe_folder.rglob("*"):
        if file.is_file():
            target = tmp_path / "old" / file.relative_to(pipe_folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.with_suffix(".bin" if file.suffix == ".safetensors" else ".json").write_bytes(file.read_bytes())
    hub.add("acme/tiny", tmp_path / "old")
    with pytest.raises(
        CheckpointError, match=r"diffusion_pytorch_model\.bin, a pickle, which can run code.*save it again"
    ):
        pull(tmp_path / "a")
    assert not hub.count(r"resolve.*\.bin")


def test_nothing_outside_the_index_is_fetched(hub, pipe_folder, tmp_path):
    hub.add("acme/tiny", pipe_folder)
    folder, parts = fetch("acme/tiny", cache_dir=tmp_path / "a")
    assert parts == {"generator": "MagicalGenerator", "critic": "MagicalCritic"}
    files = [file.name for file in folder.rglob("*") if file.is_file() and file.name != "provenance.json"]
    assert len(files) == 5
