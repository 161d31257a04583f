"""What a client is told when something is wrong: one sentence as {"error": ...}, and never a traceback."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from mas_triplets.errors import UserError

if TYPE_CHECKING:
    from starlette.responses import Response

LOG = logging.getLogger("mas_triplets.serve")
BUG = "something went wrong here, and it has been noted: it is not your fault"


class RequestError(Exception):
    """A request that is not answered: the status, 400 to 599, and the sentence that says why."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def told(status: int, sentence: str) -> JSONResponse:
    """Return the answer {"error": sentence}."""
    return JSONResponse({"error": sentence}, status)


def add_handlers(app: FastAPI) -> None:
    """Turn what routes raise into answers; a bug is 500 and a plain sentence."""

    def refused(request: Request, error: Exception) -> Response:
        del request
        return told(error.status if isinstance(error, RequestError) else 400, str(error))

    def invalid(request: Request, error: Exception) -> Response:
        del request
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        return told(422, f"'{first['loc'][-1]}' does not fit: {first['msg'][:1].lower()}{first['msg'][1:]}")

    def failed(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        sentences = {404: f"there is nothing at {request.url.path}", 405: f"{request.method} is not done here"}
        return told(error.status_code, sentences.get(error.status_code, str(error.detail)))

    def bug(request: Request, error: Exception) -> Response:
        del request, error  # raised again after this answer, and logged by `guard`
        return told(500, BUG)

    app.add_exception_handler(Exception, bug)
    app.add_exception_handler(RequestError, refused)
    app.add_exception_handler(UserError, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, failed)
