"""A real HTTP server on loopback that speaks the reading half of the Hub's protocol, over folders."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer:
    """Serves repositories while used as a context manager.

    Args:
        repos: from "OWNER/NAME" to the folder that holds the repository's files.

    Attributes:
        url: what to set HF_ENDPOINT to.
        requests: "METHOD PATH" of every request, in order.
    """

    def __init__(self, repos: dict[str, Path]) -> None:
        self.requests: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.requests.append(f"GET {self.path}")
                self._answer(body=True)

            def do_HEAD(self) -> None:
                server.requests.append(f"HEAD {self.path}")
                self._answer(body=False)

            def log_message(self, *args: object) -> None:
                pass

            def _answer(self, body: bool) -> None:
                path = self.path.partition("?")[0]
                if match := re.fullmatch(
                    r"/api/(?:models|datasets)/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+)/?(.*))?", path
                ):
                    repo_id, kind, _, below = match.groups()
                    if repo_id not in repos:
                        return self._send(404, b"", {"X-Error-Code": "RepoNotFound"}, body)
                    files = [file for file in sorted(repos[repo_id].rglob("*")) if file.is_file()]
                    names = [file.relative_to(repos[repo_id]).as_posix() for file in files]
                    if kind == "tree":
                        base = repos[repo_id] / below
                        if not base.is_dir():
                            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, body)
                        found = base.rglob("*") if "recursive=true" in self.path.lower() else base.iterdir()
                        answer: object = [_entry(file, repos[repo_id]) for file in sorted(found)]
                    else:
                        siblings = [{"rfilename": name} for name in names]
                        answer = {"id": repo_id, "sha": COMMIT, "private": False, "siblings": siblings}
                    return self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"}, body)
                if match := re.fullmatch(r"/(?:datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                    repo_id, _, name = match.groups()
                    file = repos.get(repo_id, Path("/nowhere")) / name
                    if not file.is_file():
                        return self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, body)
                    content, headers = file.read_bytes(), {"ETag": f'"{_sha(file)}"', "X-Repo-Commit": COMMIT}
                    if part := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
                        first, last = map(int, part.groups())
                        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
                        return self._send(206, content[first : last + 1], headers, body)
                    return self._send(200, content, headers, body)
                return self._send(404, b"", {}, body)

            def _send(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
                self.send_response(status)
                for key, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(key, value)
                self.end_headers()
                if body:
                    self.wfile.write(content)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()


def _entry(file: Path, root: Path) -> dict[str, object]:
    name = file.relative_to(root).as_posix()
    if file.is_dir():
        return {"type": "directory", "path": name, "size": 0, "oid": COMMIT}
    return {"type": "file", "path": name, "size": file.stat().st_size, "oid": _sha(file)}


def _sha(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
