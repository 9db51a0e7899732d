"""The server: a thread that listens, what is known of tokens, and what shall go wrong."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

from hub_server.handler import Handler
from hub_server.store import Blobs, Repository

WRITE_TOKEN, READ_TOKEN = "hf_writesEverything0123456789", "hf_readsEverything0123456789"


@dataclass
class Fault:
    """What shall go wrong with the next requests of a kind."""

    pattern: str
    times: int
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    after: int | None = None
    answer_lost: bool = False


class HubServer:
    """Serves repositories while used as a context manager.

    Args:
        folder: where contents lie.
        repos: from "OWNER/NAME" to a folder of files, to begin with: a model and a dataset each.

    Attributes:
        url: what to set HF_ENDPOINT to.
        requests: "METHOD PATH" of every request, in order.
        agents: the user agents that were seen.
        repositories: by kind ("models", "datasets") and id.
    """

    def __init__(self, folder: Path, repos: dict[str, Path] | None = None) -> None:
        self.requests: list[str] = []
        self.agents: set[str] = set()
        self.tokens = {WRITE_TOKEN: "write", READ_TOKEN: "read"}
        self.blobs = Blobs(folder / "blobs")
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.lock = threading.RLock()
        self._faults: list[Fault] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        for repo_id, files in (repos or {}).items():
            self.add(repo_id, files)

    def add(self, repo_id: str, folder: Path, private: bool = False) -> str:
        """Put a folder into a repository as one commit, past the client; returns the commit's hash."""
        names = {file: file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
        files = {name: self.blobs.put(file.read_bytes(), name) for file, name in names.items()}
        for kind in ("models", "datasets"):
            repo = self.repositories.setdefault((kind, repo_id), Repository(private))
            made = repo.commit("main", repo.refs.get("main"), "Added", files)
        return made.oid

    def model(self, repo_id: str) -> Repository:
        return self.repositories["models", repo_id]

    def fail(self, pattern: str, status: int, times: int = 1, **headers: str) -> None:
        """Answer the next requests whose "METHOD PATH" a pattern finds with an error, to be tried again at once."""
        told = {"Retry-After": "0", **{key.replace("_", "-"): value for key, value in headers.items()}}
        self._faults.append(Fault(pattern, times, status, told))

    def cut(self, pattern: str, after: int = 0, times: int = 1) -> None:
        """Break the connection off after so many bytes of the body: of an upload's, or of the answer's."""
        self._faults.append(Fault(pattern, times, after=after))

    def lose_answer(self, pattern: str, times: int = 1) -> None:
        """Do what is asked, and break the connection off instead of saying so."""
        self._faults.append(Fault(pattern, times, answer_lost=True))

    def corrupt(self, repo_id: str, name: str) -> None:
        """Change a byte of a model's file on the disk; its hash, as told, stays."""
        commit = self.model(repo_id).find("main")
        assert commit is not None
        path = self.blobs.path(commit.files[name].sha256)
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(bytes(content))

    def count(self, pattern: str) -> int:
        """How many requests a pattern finds."""
        return sum(bool(re.search(pattern, request)) for request in self.requests)

    def fault_of(self, request: str) -> Fault | None:
        """The fault that is due for a request, which counts it."""
        with self.lock:
            for fault in self._faults:
                if fault.times > 0 and re.search(fault.pattern, request):
                    fault.times -= 1
                    return fault
        return None

    def __enter__(self) -> HubServer:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
