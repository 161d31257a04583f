"""Pictures that clients send: as the body of a request, held in memory while they are looked at, never on a disk."""

from __future__ import annotations

import asyncio

from fastapi import Request
from PIL import Image
from starlette.requests import ClientDisconnect

from mas_triplets.data.images import picture_from_bytes
from mas_triplets.errors import UserError
from mas_triplets.serve.engine import Engine
from mas_triplets.serve.failures import RequestError
from mas_triplets.serve.limits import UPLOAD_BYTES, UPLOAD_PIXELS, UPLOAD_SECONDS, UPLOADS

NAME = "the picture sent"


class Uploads:
    """Receives pictures, a few at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._turn = asyncio.Semaphore(UPLOADS)

    async def picture(self, request: Request) -> Image.Image:
        """Return the RGB picture that is the body of a request, whatever the client calls it.

        Raises:
            RequestError: it is too large, comes too slowly, or is no picture.
        """
        if request.headers.get("content-type", "").startswith("multipart/"):
            raise RequestError(415, "send the picture itself as the body, not a form: curl --data-binary @photo.jpg")
        async with self._turn:
            try:
                async with asyncio.timeout(UPLOAD_SECONDS):
                    data = await _body(request)
            except TimeoutError:
                raise RequestError(408, f"{NAME} did not arrive in {UPLOAD_SECONDS} s") from None
            if not data:
                raise RequestError(400, "no picture was sent: send one as the body of the request")
            try:
                return await self._engine.decode(lambda: picture_from_bytes(data, NAME, UPLOAD_PIXELS))
            except UserError as error:
                raise RequestError(422, str(error)) from None


async def _body(request: Request) -> bytes:
    """Read the body, no further than the bound."""
    most = RequestError(413, f"{NAME} is larger than {UPLOAD_BYTES // 2**20} MiB: send a smaller one")
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > UPLOAD_BYTES:
        raise most
    data = bytearray()
    try:
        async for part in request.stream():
            data += part
            if len(data) > UPLOAD_BYTES:
                raise most
    except ClientDisconnect:
        raise RequestError(400, f"{NAME} did not arrive whole") from None
    return bytes(data)
