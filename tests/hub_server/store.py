"""Repositories: files by their content, commits as trees of them, and branches that point to commits."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

LFS_ENDINGS = (".safetensors", ".parquet", ".png", ".arrow", ".bin")


@dataclass(frozen=True)
class Blob:
    """A file's content, which lies under its sha256."""

    sha256: str
    git_oid: str
    size: int
    lfs: bool

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.git_oid


class Blobs:
    """The folder of all contents."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, content: bytes, name: str) -> Blob:
        sha256 = hashlib.sha256(content).hexdigest()
        self.path(sha256).write_bytes(content)
        return self.describe(sha256, name)

    def describe(self, sha256: str, name: str) -> Blob:
        content = self.path(sha256).read_bytes()
        git_oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return Blob(sha256, git_oid, len(content), name.endswith(LFS_ENDINGS))

    def path(self, sha256: str) -> Path:
        return self.folder / sha256


@dataclass(frozen=True)
class Commit:
    """A revision: all its files."""

    oid: str
    parent: str | None
    message: str
    files: dict[str, Blob]


@dataclass
class Repository:
    """One repository and its history."""

    private: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def find(self, revision: str) -> Commit | None:
        return self.commits.get(self.refs.get(revision, revision))

    def commit(self, ref: str, parent: str | None, message: str, files: dict[str, Blob]) -> Commit:
        tree = {name: blob.sha256 for name, blob in sorted(files.items())}
        said = json.dumps([parent, message, tree, len(self.commits)])
        made = Commit(hashlib.sha1(said.encode()).hexdigest(), parent, message, files)
        self.commits[made.oid] = made
        self.refs[ref] = made.oid
        return made

    def history(self, commit: Commit) -> list[Commit]:
        """From a commit back to the first."""
        line = [commit]
        while line[-1].parent is not None:
            line.append(self.commits[line[-1].parent])
        return line
