"""The protocol: one method a request of the client."""

from __future__ import annotations

import base64
import json
import re
import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from hub_server.store import LFS_ENDINGS, Commit, Repository

if TYPE_CHECKING:
    from hub_server.server import Fault, HubServer

ID = r"([^/]+/[^/]+)"
API = rf"/api/(models|datasets)/{ID}"
LICENSES = {"apache-2.0", "mit", "cc-by-4.0", "other", "cc-by-nc-sa-4.0"}


class Answer(Exception):
    """Ends a request."""

    def __init__(self, status: int, content: Any = b"", **headers: str) -> None:
        self.status, self.headers = status, {key.replace("_", "-"): value for key, value in headers.items()}
        self.content = content if isinstance(content, bytes) else json.dumps(content).encode()
        if not isinstance(content, bytes):
            self.headers["Content-Type"] = "application/json"


class Cut(Exception):
    """Breaks the connection off."""


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    hub: ClassVar[HubServer]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_GET

    def log_message(self, *args: object) -> None:
        pass

    # -- one request -----------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        address = urlsplit(self.path)
        self.route, self.query = address.path, parse_qs(address.query)
        request = f"{self.command} {unquote(self.route)}"
        self.hub.requests.append(request)
        self.hub.agents.add(self.headers.get("User-Agent", ""))
        fault = self.hub.fault_of(request)
        try:
            answer = self._answer(fault)
            if fault is not None and fault.answer_lost:
                raise Cut
            self._send(answer, fault)
        except Cut:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, fault: Fault | None) -> Answer:
        self.body = self._read(fault)
        if fault is not None and fault.status is not None:
            return Answer(fault.status, {"error": "as the test wants it"}, **fault.headers)
        try:
            for method, pattern, act in ROUTES:
                match = re.fullmatch(pattern, self.route)
                if match and self.command in method:
                    with self.hub.lock:
                        act(self, *(part and unquote(part) for part in match.groups()))
        except Answer as answer:
            return answer
        return Answer(404)

    def _read(self, fault: Fault | None) -> bytes:
        """The request's body, chunked or not."""
        length = int(self.headers.get("Content-Length") or 0)
        if fault is not None and fault.after is not None and self.command in ("PUT", "POST"):
            self.rfile.read(min(length, fault.after))
            raise Cut
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(length)

    def _send(self, answer: Answer, fault: Fault | None) -> None:
        self.send_response(answer.status)
        for key, value in {**answer.headers, "Content-Length": str(len(answer.content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            cut = fault is not None and fault.after is not None
            self.wfile.write(answer.content[: fault.after] if cut and fault else answer.content)
            self.wfile.flush()
            if cut:
                raise Cut

    # -- who asks, and for what ------------------------------------------------------------------------------------

    def _right(self) -> str | None:
        """ "write", "read", or None without a token."""
        said = self.headers.get("Authorization")
        if said is None:
            return None
        right = self.hub.tokens.get(said.removeprefix("Bearer "))
        if right is None:
            raise Answer(
                401, {"error": "Invalid token"}, X_Error_Message="Invalid credentials in Authorization header"
            )
        return right

    def _must_write(self) -> None:
        right = self._right()
        if right is None:
            raise Answer(
                401, {"error": "Invalid username or password."}, X_Error_Message="Invalid username or password."
            )
        if right != "write":
            message = "you must use a write token to upload to a repository."
            raise Answer(403, {"error": message}, X_Error_Message=message)

    def _repo(self, kind: str, repo_id: str) -> Repository:
        right = self._right()
        repo = self.hub.repositories.get((kind, repo_id))
        if repo is None or (repo.private and right is None):
            status = 404 if right is not None or repo is None else 401
            raise Answer(status, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        return repo

    def _commit(self, repo: Repository, revision: str) -> Commit:
        found = repo.find(revision)
        if found is None:
            raise Answer(404, {"error": f"Invalid rev id: {revision}"}, X_Error_Code="RevisionNotFound")
        return found

    # -- repositories ----------------------------------------------------------------------------------------------

    def create_repo(self) -> None:
        self._must_write()
        asked = json.loads(self.body)
        repo_id = f"{asked.get('organization') or 'me'}/{asked['name']}"
        kind = f"{asked.get('type') or 'model'}s"
        url = {"url": f"{self.hub.url}/{'datasets/' if kind == 'datasets' else ''}{repo_id}"}
        if (kind, repo_id) in self.hub.repositories:
            raise Answer(409, {**url, "error": "You already created this model repo"})
        repo = Repository(private=asked.get("visibility") == "private" or bool(asked.get("private")))
        attributes = self.hub.blobs.put(b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n", ".gitattributes")
        repo.commit("main", None, "initial commit", {".gitattributes": attributes})
        self.hub.repositories[kind, repo_id] = repo
        raise Answer(200, url)

    def who_am_i(self) -> None:
        if self._right() is None:
            raise Answer(401)
        raise Answer(200, {"name": "me", "orgs": [{"name": "acme"}], "type": "user"})

    def create_branch(self, kind: str, repo_id: str, name: str) -> None:
        self._must_write()
        repo = self._repo(kind, repo_id)
        if name in repo.refs:
            raise Answer(409, {"error": "Reference already exists"})
        start = (json.loads(self.body or b"{}") or {}).get("startingPoint") or "main"
        repo.refs[name] = self._commit(repo, start).oid
        raise Answer(200, {})

    def info(self, kind: str, repo_id: str, revision: str | None) -> None:
        repo = self._repo(kind, repo_id)
        commit = self._commit(repo, revision or "main")
        siblings = [{"rfilename": name} for name in sorted(commit.files)]
        about = {"id": repo_id, "sha": commit.oid, "private": repo.private, "siblings": siblings}
        raise Answer(200, {**about, "tags": [], "downloads": 0, "likes": 0})

    def commits(self, kind: str, repo_id: str, revision: str) -> None:
        repo = self._repo(kind, repo_id)
        made = [
            {
                "id": commit.oid,
                "title": commit.message,
                "message": "",
                "date": "2026-01-01T00:00:00.000Z",
                "authors": [],
            }
            for commit in repo.history(self._commit(repo, revision))
        ]
        raise Answer(200, made)

    # -- reading ---------------------------------------------------------------------------------------------------

    def tree(self, kind: str, repo_id: str, revision: str, below: str | None) -> None:
        files = self._commit(self._repo(kind, repo_id), revision).files
        prefix = f"{below}/" if below else ""
        found = {name for name in files if name.startswith(prefix)}
        if not found:
            raise Answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
        folders = {"/".join(name.split("/")[:depth]) for name in found for depth in range(1, name.count("/") + 1)}
        entries = found | {folder for folder in folders if folder.startswith(prefix)}
        if self.query.get("recursive", ["false"])[0].lower() != "true":
            entries = {name for name in entries if "/" not in name.removeprefix(prefix)}
        raise Answer(200, [self._entry(name, files) for name in sorted(entries)])

    def paths_info(self, kind: str, repo_id: str, revision: str) -> None:
        files = self._commit(self._repo(kind, repo_id), revision).files
        asked = json.loads(self.body) if self.body[:1] == b"{" else parse_qs(self.body.decode())
        paths = [name.rstrip("/") for name in asked["paths"]]
        known = [name for name in paths if name in files or any(file.startswith(f"{name}/") for file in files)]
        raise Answer(200, [self._entry(name, files) for name in known])

    def _entry(self, name: str, files: dict[str, Any]) -> dict[str, Any]:
        if name not in files:
            return {"type": "directory", "path": name, "size": 0, "oid": "0" * 40}
        blob = files[name]
        entry = {"type": "file", "path": name, "size": blob.size, "oid": blob.git_oid}
        lfs = {"oid": blob.sha256, "size": blob.size, "pointerSize": 130}
        return {**entry, "lfs": lfs} if blob.lfs else entry

    def resolve(self, dataset: str | None, repo_id: str, revision: str, name: str) -> None:
        commit = self._commit(self._repo("datasets" if dataset else "models", repo_id), revision)
        if name not in commit.files:
            raise Answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit.oid)
        blob = commit.files[name]
        content = self.hub.blobs.path(blob.sha256).read_bytes()
        headers = {"ETag": f'"{blob.etag}"', "X_Repo_Commit": commit.oid, "Accept_Ranges": "bytes"}
        if blob.lfs:
            headers |= {"X_Linked_Etag": f'"{blob.etag}"', "X_Linked_Size": str(blob.size)}
        if part := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(part[1]), min(int(part[2] or len(content) - 1), len(content) - 1)
            headers["Content_Range"] = f"bytes {first}-{last}/{len(content)}"
            raise Answer(206, content[first : last + 1], **headers)
        raise Answer(200, content, **headers)

    # -- writing ---------------------------------------------------------------------------------------------------

    def validate_yaml(self) -> None:
        """What the Hub says of a card's metadata: here that it is YAML, and what this library's cards fill in."""
        content = json.loads(self.body)["content"]
        errors = []
        try:
            data = yaml.safe_load(content.split("---")[1])
            if data.get("license", "mit") not in LICENSES:
                errors.append({"message": f'"license" must be one of {sorted(LICENSES)}'})
            for model in data.get("model-index") or []:
                for result in model["results"]:
                    assert result["task"]["type"] and result["dataset"]["type"] and result["dataset"]["name"]
                    assert all("type" in metric and "value" in metric for metric in result["metrics"])
        except (yaml.YAMLError, LookupError, AttributeError, AssertionError, TypeError) as error:
            errors.append({"message": f"metadata is no good: {error!r}"})
        raise Answer(400 if errors else 200, {"errors": errors, "warnings": []})

    def preupload(self, kind: str, repo_id: str, revision: str) -> None:
        self._must_write()
        there = self._commit(self._repo(kind, repo_id), revision).files
        said = []
        for file in json.loads(self.body)["files"]:
            name, old = file["path"], there.get(file["path"])
            mode = "lfs" if name.endswith(LFS_ENDINGS) else "regular"
            said.append({"path": name, "uploadMode": mode, "shouldIgnore": False, "oid": old.etag if old else None})
        raise Answer(200, {"files": said})

    def lfs_batch(self, dataset: str | None, repo_id: str) -> None:
        self._must_write()
        self._repo("datasets" if dataset else "models", repo_id)
        said = []
        for asked in json.loads(self.body)["objects"]:
            if self.hub.blobs.path(asked["oid"]).is_file():
                said.append(asked)
                continue
            actions = {"upload": f"lfs/{asked['oid']}", "verify": "lfs-verify"}
            links = {name: {"href": f"{self.hub.url}/{path}"} for name, path in actions.items()}
            said.append({**asked, "actions": links})
        raise Answer(200, {"transfer": "basic", "objects": said})

    def lfs_put(self, oid: str) -> None:
        if self.hub.blobs.put(self.body, "upload.bin").sha256 != oid:
            raise Answer(400, {"error": "the content is not what its hash says"})
        raise Answer(200)

    def lfs_verify(self) -> None:
        asked = json.loads(self.body)
        path = self.hub.blobs.path(asked["oid"])
        raise Answer(200 if path.is_file() and path.stat().st_size == asked["size"] else 404)

    def commit(self, kind: str, repo_id: str, revision: str) -> None:
        self._must_write()
        repo = self._repo(kind, repo_id)
        lines = [json.loads(line) for line in self.body.splitlines() if line.strip()]
        (header,) = (line["value"] for line in lines if line["key"] == "header")
        opens_pr = self.query.get("create_pr") == ["1"]
        parent = (
            self._commit(repo, header.get("parentCommit") or revision) if opens_pr else self._commit(repo, revision)
        )
        if header.get("parentCommit") not in (None, parent.oid):
            raise Answer(412, {"error": "A commit has happened since. Please refresh and try again."})
        files = dict(parent.files)
        for line in lines:
            self._change(files, line["key"], line["value"])
        number = sum(ref.startswith("refs/pr/") for ref in repo.refs) + 1
        made = repo.commit(f"refs/pr/{number}" if opens_pr else revision, parent.oid, header["summary"], files)
        base = f"{self.hub.url}/{'datasets/' if kind == 'datasets' else ''}{repo_id}"
        said = {"commitOid": made.oid, "commitUrl": f"{base}/commit/{made.oid}", "success": True}
        raise Answer(200, {**said, "pullRequestUrl": f"{base}/discussions/{number}"} if opens_pr else said)

    def _change(self, files: dict[str, Any], key: str, value: dict[str, Any]) -> None:
        name = value.get("path", "")
        if key == "file":
            files[name] = self.hub.blobs.put(base64.b64decode(value["content"]), name)
        elif key == "lfsFile":
            if not self.hub.blobs.path(value["oid"]).is_file():
                raise Answer(400, {"error": f"{name} was never uploaded"})
            files[name] = self.hub.blobs.describe(value["oid"], name)
        elif key == "deletedFile":
            if files.pop(name, None) is None:
                raise Answer(404, {"error": "A file with this name doesn't exist"}, X_Error_Code="EntryNotFound")
        elif key == "deletedFolder":
            for gone in [file for file in files if file.startswith(f"{name.rstrip('/')}/")]:
                del files[gone]


ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("GET", r"/api/whoami-v2", Handler.who_am_i),
    ("POST", r"/api/repos/create", Handler.create_repo),
    ("POST", r"/api/validate-yaml", Handler.validate_yaml),
    ("GET", rf"{API}(?:/revision/(.+))?", Handler.info),
    ("GET", rf"{API}/commits/(.+)", Handler.commits),
    ("GET", rf"{API}/tree/([^/]+)(?:/(.*))?", Handler.tree),
    ("POST", rf"{API}/paths-info/(.+)", Handler.paths_info),
    ("POST", rf"{API}/branch/(.+)", Handler.create_branch),
    ("POST", rf"{API}/preupload/(.+)", Handler.preupload),
    ("POST", rf"{API}/commit/(.+)", Handler.commit),
    ("POST", rf"/(datasets/)?{ID}\.git/info/lfs/objects/batch", Handler.lfs_batch),
    ("POST", r"/lfs-verify", Handler.lfs_verify),
    ("PUT", r"/lfs/([0-9a-f]{64})", Handler.lfs_put),
    ("GET HEAD", rf"/(datasets/)?{ID}/resolve/([^/]+)/(.+)", Handler.resolve),
]
