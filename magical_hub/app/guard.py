"""Who may use the page: requests to our own Host, from our own Origin, by whoever has the token of the address.

A web page elsewhere can make a browser send requests to 127.0.0.1, even under a name of its own that it has re-bound
to that address (DNS rebinding): Host and Origin give it away. Other users of the machine can reach the port too: they
lack the token, which the address carries once, as Jupyter's does, and a cookie from then on.
"""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERYWHERE = ("0.0.0.0", "::", "")
COOKIE = "magical-hub-{}"
"""Its name has the port in it: cookies belong to a host whatever the port, and one user may have two pages."""
OPEN = "/gradio_api/startup-events"
"""The address that Gradio requests from its own server while it starts; it reveals nothing and changes nothing."""
POLICY = {
    "default-src": "'self'",
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval'",  # which Gradio's own page needs
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
}
"""Nothing in a name or a report makes a browser load a foreign address."""


class Guard:
    """Middleware around the page's server.

    Args:
        app: the server.
        host, port: the address that it listens on.
        token: which requests must know; None serves anybody, under any name (a Space).
    """

    def __init__(self, app: ASGIApp, host: str, port: int, token: str | None) -> None:
        self._app, self._token, self._cookie = app, token, COOKIE.format(port)
        self._hosts = None if host in EVERYWHERE or token is None else {*LOOPBACK, host}
        frames = {} if token is None else {"frame-ancestors": "'none'"}
        self._policy = "; ".join(f"{name} {value}" for name, value in (POLICY | frames).items())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, redirect, or let through and add the Content-Security-Policy."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        answer = self._answer(scope)
        if answer is None:

            async def send_with_policy(message: Message) -> None:
                if message["type"] == "http.response.start":
                    headers = MutableHeaders(scope=message)
                    headers["Content-Security-Policy"] = self._policy
                    headers["X-Content-Type-Options"] = "nosniff"
                    headers["Referrer-Policy"] = "no-referrer"
                await send(message)

            await self._app(scope, receive, send_with_policy)
        elif scope["type"] == "http":
            await answer(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _answer(self, scope: Scope) -> Response | None:
        """The answer in place of the page's own, or None."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._hosts is not None and _name(host) not in self._hosts:
            return PlainTextResponse("this page is not served under that name", 403)
        origin = headers.get("origin")
        if self._token is None:
            return None
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            return PlainTextResponse("requests of other web pages are refused", 403)
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if scope.get("method") == "GET" and any(name == "token" and self._is_right(value) for name, value in query):
            rest = urlencode([(name, value) for name, value in query if name != "token"])
            there = RedirectResponse(scope["path"] + (f"?{rest}" if rest else ""), 303)
            there.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
            return there
        if scope["path"] == OPEN or self._is_right(cookie_parser(headers.get("cookie", "")).get(self._cookie, "")):
            return None
        return PlainTextResponse("open the address that magical-hub app printed: it carries the token", 401)

    def _is_right(self, token: Any) -> bool:
        return secrets.compare_digest(str(token).encode(), str(self._token).encode())


def _name(host: str) -> str:
    """The host of a Host header, without the port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
