"""What the page's form may send to Gradio: words and numbers, nothing that Gradio would take for a file or a session.

Gradio looks for files anywhere in what it is sent, and copies those it is told the path of. So a form is read here
first, and written anew from the few values that it may have.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from starlette.types import Message, Receive, Scope

from mas_triplets.serve.failures import RequestError
from mas_triplets.serve.limits import FACT_LENGTH, FORM_BYTES


async def form_of(scope: Scope, receive: Receive, fields: Mapping[int, int]) -> tuple[Scope, Receive]:
    """Return a request with the form of `scope` and `receive` written anew.

    Args:
        scope: the request.
        receive: its body.
        fields: how many fields each of Gradio's functions has.

    Raises:
        RequestError: it is too long, or no such form.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise RequestError(400, "the form did not arrive whole")
        body += message.get("body", b"")
        if len(body) > FORM_BYTES:
            raise RequestError(413, f"a form has at most {FORM_BYTES // 1024} KiB")
        if not message.get("more_body"):
            break
    anew = rewritten(bytes(body), fields)
    left: list[Message] = [{"type": "http.request", "body": anew, "more_body": False}]
    headers = [(name, value) for name, value in scope["headers"] if name not in (b"content-length", b"content-type")]
    headers += [(b"content-length", str(len(anew)).encode()), (b"content-type", b"application/json")]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return {**scope, "headers": headers}, again


def rewritten(body: bytes, fields: Mapping[int, int]) -> bytes:
    """Return the JSON of a form with nothing but its function, its fields and the fact that was clicked.

    Raises:
        RequestError: it is no form of the page.
    """
    try:
        tree = json.loads(body)
    except (ValueError, RecursionError):
        _refuse()
    if not isinstance(tree, dict):
        _refuse()
    function, data, event = tree.get("fn_index"), tree.get("data"), tree.get("event_data")
    if type(function) is not int or not isinstance(data, list) or len(data) != fields.get(function):
        _refuse()
    if not all(_is_value(value) for value in data):
        _refuse()
    if event is not None and not (isinstance(event, dict) and isinstance(event.get("fact"), str)):
        _refuse()
    clicked = event["fact"][:FACT_LENGTH] if event else ""
    return json.dumps({"fn_index": function, "data": data, "event_data": {"fact": clicked}}).encode()


def _is_value(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= FACT_LENGTH
    return value is None or (isinstance(value, int | float) and abs(value) < 1e9 and math.isfinite(value))


def _refuse() -> NoReturn:
    raise RequestError(422, f"this is not what the page's form sends: words of at most {FACT_LENGTH} characters")
