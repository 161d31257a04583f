"""The JSON API: what the command line answers, over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import PlainTextResponse, Response

from mas_triplets.errors import UserError
from mas_triplets.facts import Fact
from mas_triplets.retrieval.answers import facts_json
from mas_triplets.serve.engine import Engine, checked_row
from mas_triplets.serve.failures import RequestError
from mas_triplets.serve.limits import ANSWERS, FACT_LENGTH, SIDE
from mas_triplets.serve.metrics import CONTENT_TYPE, Metrics
from mas_triplets.serve.pictures import Pictures
from mas_triplets.serve.shapes import (
    About,
    FoundFact,
    FoundPicture,
    Vocabulary,
    Wrong,
    about,
    found_pictures,
    vocabulary,
)
from mas_triplets.serve.uploads import Uploads

K = Annotated[int, Query(ge=1, le=ANSWERS, description="Number of answers; of facts, for each order.")]
Text = Annotated[str, Query(max_length=FACT_LENGTH, description="Such as <person, ride, horse>; * is open.")]
Side = Annotated[int, Query(ge=16, le=SIDE, description="The picture fits a square of so many pixels.")]

_PICTURE = {
    "requestBody": {"required": True, "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}
}
_JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}
_CACHED = {"Cache-Control": "private, max-age=300"}


def api_router(engine: Engine, pictures: Pictures, uploads: Uploads, metrics: Metrics) -> APIRouter:
    """Return the routes of the API."""
    router = APIRouter(responses={code: {"model": Wrong} for code in (400, 404, 422)})
    words, facts_of = vocabulary(engine.index), engine.index.facts_of

    async def search(fact: Text, k: K = 10) -> list[FoundPicture]:
        """Find the pictures that show a fact."""
        parsed = Fact.parse(fact)
        return found_pictures(await engine.ask(lambda: engine.index.search(parsed, k)))

    async def similar(row: int, k: K = 10) -> list[FoundPicture]:
        """Find the rows most like one, which is left out."""
        checked_row(engine, row)
        return found_pictures(await engine.ask(lambda: engine.index.similar(row, k)))

    async def similar_to(request: Request, k: K = 10) -> list[FoundPicture]:
        """Find the rows most like the picture that is sent."""
        picture = await uploads.picture(request)
        return found_pictures(await engine.ask(lambda: engine.index.similar(picture, k)))

    async def facts(row: int, k: K = 10) -> list[FoundFact]:
        """Tell which facts hold in a row."""
        checked_row(engine, row)
        found = await engine.ask(lambda: engine.index.facts_of(row, k))
        return [FoundFact(**value) for value in facts_json(found)]

    async def facts_in(request: Request, k: K = 10) -> list[FoundFact]:
        """Tell which facts hold in the picture that is sent, as the body of the request."""
        picture = await uploads.picture(request)
        found = await engine.ask(lambda: facts_of(picture, k))
        return [FoundFact(**value) for value in facts_json(found)]

    async def picture(row: int, side: Side = SIDE, box: bool = True) -> Response:
        """Show the picture of a row as JPEG, with the row's box drawn or not."""
        checked_row(engine, row)
        return await _jpeg(engine, lambda: pictures.jpeg(row, side, boxed=box))

    async def thumbnail(row: int) -> Response:
        """Show the picture of a row in small, with the row's box."""
        checked_row(engine, row)
        return await _jpeg(engine, lambda: pictures.thumbnail(row))

    def known_words() -> Vocabulary:
        """List the words of each slot."""
        return words

    def about_index() -> About:
        """Tell what the index is."""
        return about(engine.index)

    def health() -> dict[str, str]:
        """Say that the server is there, and that its index and model are loaded."""
        return {"status": "ok"}

    def numbers() -> PlainTextResponse:
        """Give the metrics in the text form of Prometheus."""
        return PlainTextResponse(metrics.text(), media_type=CONTENT_TYPE)

    router.add_api_route("/api/search", search)
    router.add_api_route("/api/similar/{row}", similar)
    router.add_api_route("/api/similar", similar_to, methods=["POST"], openapi_extra=_PICTURE)
    router.add_api_route("/api/facts/{row}", facts)
    router.add_api_route("/api/facts", facts_in, methods=["POST"], openapi_extra=_PICTURE)
    router.add_api_route("/api/picture/{row}", picture, response_class=Response, responses=_JPEG)
    router.add_api_route("/api/thumbnail/{row}", thumbnail, response_class=Response, responses=_JPEG)
    router.add_api_route("/api/vocabulary", known_words)
    router.add_api_route("/api/index", about_index)
    router.add_api_route("/healthz", health)
    router.add_api_route("/metrics", numbers, response_class=PlainTextResponse)
    return router


async def _jpeg(engine: Engine, draw: Callable[[], bytes]) -> Response:
    """Return a drawn picture; one that is gone is 404, since the index is as it was."""
    try:
        return Response(await engine.decode(draw), media_type="image/jpeg", headers=_CACHED)
    except UserError:
        raise RequestError(404, "the picture of this row is gone or damaged: fill the index again") from None
