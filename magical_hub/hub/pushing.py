"""Publishing: through the leakage gate, into a folder of what may be published, and to the Hub in one commit."""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.utils import validate_repo_id

from magical_hub.checkpoint import component_files, locate, weights_sha256
from magical_hub.checkpoint.pulling import USER_AGENT, TransportError, with_retries
from magical_hub.errors import ConfigError, HubError, MagicalError, in_one_line
from magical_hub.evaluation import EvaluationReport
from magical_hub.files import expanded, folder_written_whole, write_text
from magical_hub.hub import contents, gate
from magical_hub.hub.card import Run, is_ours, write_card
from magical_hub.pipeline import MagicalPipeline
from magical_hub.texts import without_secrets
from magical_hub.training import TrainingConfig


@dataclass(frozen=True)
class PushResult:
    """What was published, and where.

    Args:
        repo_id: OWNER/NAME.
        leakage: "passed", "failed" or "unchecked".
        files: their paths in the repository.
        url: of the commit; of a dry run, the folder.
        commit: its hash; None of a dry run.
        pull_request: its URL, with `create_pr`.
        card_kept: whether a card that a person had written or changed was left as it was.
    """

    repo_id: str
    leakage: str
    files: list[str]
    url: str
    commit: str | None = None
    pull_request: str | None = None
    card_kept: bool = False


def push(
    checkpoint_or_pipe: MagicalPipeline | str | Path,
    repo_id: str,
    *,
    private: bool | None = True,
    report: EvaluationReport | str | Path | None = None,
    allow_unchecked: bool = False,
    critic: bool = False,
    license: str | None = None,
    dataset: str | None = None,
    create_pr: bool = False,
    revision: str | None = None,
    commit_message: str | None = None,
    token: str | bool | None = None,
    dry_run: str | Path | None = None,
) -> PushResult:
    """Publish a model on the Hub: weights, card, samples, settings and report, in one commit.

    Args:
        checkpoint_or_pipe: RUN, or another checkpoint's folder, name or id; or a pipeline.
        repo_id: OWNER/NAME; the repository is made where it is missing.
        private: a public one is refused then, and not pushed to; None leaves it to the owner's settings.
        report: of `evaluate`, or its path; None takes that in RUN/evaluation. It counts only where it names the
            sha256 of these very weights.
        allow_unchecked: publish although copies were found or none could be searched for; the card says so.
        critic: publish the critic too, which others need to train on, and which can tell what it was trained on.
        license: its identifier on the Hub, for the card.
        dataset: the id on the Hub of the training images, for the card.
        create_pr: open a pull request, and leave the branch as it is.
        revision: the branch; made where it is missing.
        commit_message: its first line.
        token: as the client's; None takes the one that is logged in, or HF_TOKEN.
        dry_run: write the repository to this folder instead.

    Raises:
        LeakageError: where the leakage gate refuses.
        CheckpointError, ConfigError: where the checkpoint, the report or the request cannot be used.
        HubError: where the Hub refuses, or can't be reached.
    """
    _check_repo_id(repo_id, "repo_id")
    if dataset is not None:
        _check_repo_id(dataset, "dataset")
    if license is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", license):
        raise ConfigError(f"license {license!r} is not an identifier of the Hub: give apache-2.0 or the like")
    pipe, run = _subject(checkpoint_or_pipe)
    weights = weights_sha256(pipe.generator)
    images = gate.trained_on(pipe.origin.get("record"), weights, run)
    finding = gate.check_report(gate.find_report(report, run), weights, images)
    gate.check(finding, allow_unchecked)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        components = list(pipe.components)
        _write(pipe, folder, repo_id, finding, Run.of(run), critic=critic, license=license, dataset=dataset)
        files = contents.check_contents(folder, components)
        if dry_run is not None:
            return PushResult(repo_id, finding.kind, files, str(_keep(folder, expanded(dry_run))))
        upload = _Upload(HfApi(token=token, **USER_AGENT), repo_id, folder, files, components, finding)
        try:
            upload.prepare(private, revision)
            info = with_retries(lambda: upload.commit(commit_message or "Push by magical_hub", revision, create_pr))
        except MagicalError:
            raise
        except (OSError, ValueError, TransportError) as error:  # the client's own errors are OSErrors
            raise HubError(f"{repo_id} was not pushed: {in_one_line(error)}") from error
    url, pull_request = (None if url is None else without_secrets(url) for url in (info.commit_url, info.pr_url))
    return PushResult(repo_id, finding.kind, files, url or "", info.oid, pull_request, card_kept=upload.card_kept)


def _check_repo_id(repo_id: str, what: str) -> None:
    try:
        validate_repo_id(repo_id)
        if repo_id.count("/") != 1:
            raise ValueError("it has no owner")
    except ValueError as error:
        raise ConfigError(
            f"{what} {repo_id!r} is not the id of a repository ({in_one_line(error)}): give OWNER/NAME"
        ) from error


def _subject(checkpoint_or_pipe: MagicalPipeline | str | Path) -> tuple[MagicalPipeline, Path | None]:
    """The pipeline, and the folder that it came from."""
    if not isinstance(checkpoint_or_pipe, MagicalPipeline):
        place = locate(checkpoint_or_pipe)
        return MagicalPipeline.from_pretrained(checkpoint_or_pipe), place if isinstance(place, Path) else None
    folder = Path(str(checkpoint_or_pipe.config.get("_name_or_path") or ""))
    return checkpoint_or_pipe, folder if (folder / "model_index.json").is_file() else None


def _write(
    pipe: MagicalPipeline,
    folder: Path,
    repo_id: str,
    finding: gate.Finding,
    run: Run,
    *,
    critic: bool,
    license: str | None,
    dataset: str | None,
) -> None:
    """Write what is published to a folder."""
    if critic and pipe.critic is None:
        raise ConfigError("this checkpoint has no critic to publish: leave critic out")
    whole = contents.write_weights(pipe, folder, critic)
    contents.write_samples(whole, folder)
    if run.settings:
        write_text(folder / contents.CONFIG, contents.as_json(TrainingConfig.public_of(run.settings)))
    if finding.report is not None:
        write_text(folder / contents.REPORT, contents.as_json(finding.report))
    total = sum(file.stat().st_size for file in folder.glob(f"*/{component_files()[1]}"))
    card = write_card(whole, repo_id, finding, run, license=license, dataset=dataset, total_bytes=total)
    write_text(folder / contents.CARD, card)


def _keep(folder: Path, target: Path) -> Path:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} is there already: give a new or an empty folder")
    with folder_written_whole(target) as beside:
        shutil.copytree(folder, beside, dirs_exist_ok=True)
    return target


class _Upload:
    """A folder on its way to a repository.

    Args:
        api: the client.
        repo_id: OWNER/NAME.
        folder, files: what is pushed.
        components: the names that folders of components may have.
        finding: what the card says of copying.
    """

    def __init__(
        self, api: HfApi, repo_id: str, folder: Path, files: list[str], components: list[str], finding: gate.Finding
    ) -> None:
        self.api, self.repo_id, self.folder, self.files = api, repo_id, folder, files
        self.components, self.finding = components, finding
        self.card_kept = False

    def prepare(self, private: bool | None, revision: str | None) -> None:
        """Make the repository and the branch, where they are missing."""
        with_retries(lambda: self.api.create_repo(self.repo_id, private=private, exist_ok=True))
        info = with_retries(lambda: self.api.model_info(self.repo_id))
        if private and info.private is False:
            raise HubError(
                f"{self.repo_id} is public: give private=False (--public) if that is meant, or another name"
            )
        if revision is not None:
            with_retries(lambda: self.api.create_branch(self.repo_id, branch=revision, exist_ok=True))

    def commit(self, message: str, revision: str | None, create_pr: bool) -> CommitInfo:
        """One commit, or none where nothing changed: on what is there now, or not at all.

        Another push in between makes the Hub refuse it, and `with_retries` begin again from what is there then;
        one whose answer was lost finds its own commit there.
        """
        head = self.api.model_info(self.repo_id, revision=revision).sha
        there = self.api.list_repo_files(self.repo_id, revision=head)
        self.card_kept = contents.CARD in there and not self._card_is_ours(head)
        if self.card_kept and self.finding.kind != "passed":
            raise HubError(
                f"{self.repo_id} has a card that a person wrote, which can't say that copies were not looked for or "
                "were found: take README.md away there, or push to another name"
            )
        own = [name for name in self.files if not (self.card_kept and name == contents.CARD)]
        stale = [name for name in there if name not in self.files and contents.may_be_pushed(name, self.components)]
        operations = [CommitOperationAdd(name, self.folder / name) for name in own]
        deletions = [CommitOperationDelete(name, is_folder=False) for name in stale]
        return self.api.create_commit(
            self.repo_id,
            [*operations, *deletions],
            commit_message=message,
            revision=revision,
            create_pr=create_pr,
            parent_commit=head,
        )

    def _card_is_ours(self, revision: str | None) -> bool:
        with tempfile.TemporaryDirectory() as scratch:
            file = self.api.hf_hub_download(self.repo_id, contents.CARD, revision=revision, local_dir=scratch)
            return is_ours(Path(file).read_text())
