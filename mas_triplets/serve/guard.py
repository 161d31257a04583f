"""What stands before every request: who may ask, which of Gradio's paths there are, what is counted and logged."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mas_triplets.serve.failures import BUG, LOG, RequestError, told
from mas_triplets.serve.forms import form_of
from mas_triplets.serve.metrics import Metrics

_PAGE = {"/", "/theme.css", "/favicon.ico"}
_PAGE_BELOW = ("/assets/", "/static/")
_FORM = "/gradio_api/run/predict"
_METHODS = {"GET", "HEAD", "POST"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'self'; "
        "frame-ancestors 'self'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""The page works by itself: the policy makes the browser refuse to load anything from elsewhere."""


class Guard:
    """ASGI middleware around the whole application.

    Of Gradio only what the page needs can be reached: no upload, no file, no proxy, no queue that others wait in.

    Args:
        app: the application.
        own: the paths of its own routes, as patterns.
        fields: how many fields each of Gradio's functions takes.
        metrics: who counts.
        hosts: names under which it may be asked for, or None for any. A page elsewhere that has its own name point to
            this machine, to read through the visitor's browser what is here, is turned away.
    """

    def __init__(
        self,
        app: ASGIApp,
        own: Collection[str],
        fields: Mapping[int, int],
        metrics: Metrics,
        hosts: Collection[str] | None,
    ) -> None:
        self._app, self._own, self._fields, self._metrics, self._hosts = app, own, fields, metrics, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        began, status = time.perf_counter(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        try:
            self._check(scope)
            if scope["path"] == _FORM:
                scope, receive = await form_of(scope, receive, self._fields)
            await self._app(scope, receive, sending)
        except RequestError as error:
            await told(error.status, str(error))(scope, receive, sending)
        except Exception:
            LOG.exception("%s %s failed", scope["method"], scope["path"])
            if not status:
                await told(500, BUG)(scope, receive, sending)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.note(self._route(scope), method, status or 499, time.perf_counter() - began)

    def _check(self, scope: Scope) -> None:
        """Check that a request may go further.

        Raises:
            RequestError: it may not.
        """
        path, method = scope["path"], scope["method"]
        if self._hosts is not None and _host(Headers(scope=scope).get("host", "")) not in self._hosts:
            raise RequestError(421, "this server does not go by that name: it answers on the address that it printed")
        if path in self._own or path.startswith(("/api/", "/page/")) or (method == "POST" and path == _FORM):
            return
        if method not in ("GET", "HEAD") or not _is_page(path):
            raise RequestError(404, f"there is nothing at {path[:200]}")

    def _route(self, scope: Scope) -> str:
        path: Any = getattr(scope.get("route"), "path", None)
        if path in self._own:
            return str(path)
        return "page" if scope["path"] == _FORM or _is_page(scope["path"]) else "none"


def _is_page(path: str) -> bool:
    return path in _PAGE or path.startswith(_PAGE_BELOW)


def _host(header: str) -> str:
    """Return the name in a Host header, without its port.

    >>> _host("127.0.0.1:8000"), _host("[::1]:8000"), _host("localhost")
    ('127.0.0.1', '[::1]', 'localhost')
    """
    name, _, port = header.rpartition(":")
    return (name if name and port.isdecimal() else header).lower()
