"""Who may use the page: other web pages, other names and other users of the machine are refused."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from magical_hub.app.guard import Guard


class Caller:
    """A program that sends what headers it likes."""

    def __init__(self, site: str) -> None:
        parts = urlsplit(site)
        self.host, self.token = parts.netloc, parts.query
        answer, _ = self.ask("GET", f"/?{self.token}")
        assert answer.status == 303 and answer.headers["Location"] == "/"
        assert "HttpOnly" in answer.headers["Set-Cookie"] and "samesite=strict" in answer.headers["Set-Cookie"].lower()
        self.cookie = answer.headers["Set-Cookie"].partition(";")[0]

    def ask(
        self, method: str, path: str, body: bytes | None = None, host: str | None = None, **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection(self.host, timeout=60)
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", self.host if host is None else host)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer, answer.read()


@pytest.fixture
def caller(site: str) -> Iterator[Caller]:
    yield Caller(site)


PATHS = ["/", "/config", "/gradio_api/info", "/gradio_api/file=/etc/passwd", "/gradio_api/startup-events"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:7860",
        "127.0.0.1.evil.example",
        "[::2]",
        "",
        "127.0.0.1@evil.example",
        "[",
        "2130706433",
    ],
)
def test_another_name_is_refused(caller, host, path):
    answer, body = caller.ask("GET", path, host=host, Cookie=caller.cookie)
    assert answer.status == 403, body[:100]


@pytest.mark.parametrize("path", PATHS[:-1])
@pytest.mark.parametrize(
    "attempt", ["nothing", "a wrong token", "a wrong cookie", "an empty one", "another page's cookie"]
)
def test_another_user_is_refused(caller, path, attempt):
    headers = {
        "a wrong cookie": {"Cookie": caller.cookie[:-1]},
        "an empty one": {"Cookie": caller.cookie.partition("=")[0] + "="},
        "another page's cookie": {"Cookie": "magical-hub-1=" + caller.cookie.partition("=")[2]},
    }.get(attempt, {})
    path = f"{path}?token=x" if attempt == "a wrong token" else path
    answer, body = caller.ask("GET", path, **headers)
    assert answer.status == 401 and b"carries the token" in body


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost", "http://["]
)
@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/call/_start", "/gradio_api/queue/join"])
def test_another_page_is_refused_even_with_the_cookie(caller, origin, path):
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.pkl"\r\n\r\nX\r\n--x--\r\n'
    kind = "multipart/form-data; boundary=x"
    answer, _ = caller.ask("POST", path, body, Origin=origin, Cookie=caller.cookie, Content_Type=kind)
    assert answer.status == 403


def test_our_own_page_is_served_with_a_policy(caller):
    own = {"Origin": f"http://{caller.host}", "Cookie": caller.cookie}
    answer, body = caller.ask("GET", "/config", **own)
    assert answer.status == 200 and b'"components"' in body
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "http" not in policy
    name = caller.host.replace("127.0.0.1", "localhost")  # an SSH tunnel
    assert caller.ask("GET", "/config", host=name, Cookie=caller.cookie)[0].status == 200
    answer, _ = caller.ask("GET", f"/config?x=1&{caller.token}&y=%3Cb")
    assert answer.status == 303 and answer.headers["Location"] == "/config?x=1&y=%3Cb"


@pytest.mark.parametrize(("host", "served"), [("0.0.0.0", True), ("10.0.0.5", False)])
def test_of_an_address_for_others_the_token_is_the_guard(host, served):
    headers = [(b"host", b"lab.example:1")]
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": headers}
    answer = Guard(None, host=host, port=1, token="secret")._answer(scope)  # type: ignore[arg-type]
    assert answer is not None and answer.status_code == (401 if served else 403)
    scope["headers"] = [*headers, (b"cookie", b"magical-hub-1=secret")]
    answer = Guard(None, host=host, port=1, token="secret")._answer(scope)  # type: ignore[arg-type]
    assert (answer is None) == served
    assert Guard(None, host=host, port=1, token=None)._answer(scope) is None  # type: ignore[arg-type]
