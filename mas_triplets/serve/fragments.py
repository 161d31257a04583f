"""Parts of the page that its script fetches: one picture of the index, a photograph that is dropped, the run."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from mas_triplets.errors import UserError
from mas_triplets.evaluation.html import Html
from mas_triplets.retrieval.hits import FactHit
from mas_triplets.serve import markup
from mas_triplets.serve.engine import Engine, checked_row
from mas_triplets.serve.run_page import RunPage
from mas_triplets.serve.uploads import Uploads

FACTS, ALIKE = 5, 8
"""Facts of each order, and pictures that are alike, for one picture."""


def fragment_router(engine: Engine, uploads: Uploads) -> APIRouter:
    """Return the routes; they are the page's own affair, and no part of the API."""
    router = APIRouter(include_in_schema=False)
    page = RunPage(engine.index.run)
    record, table = engine.index.record, engine.index.rows

    async def row(row: int) -> HTMLResponse:
        checked_row(engine, row)
        alike = await engine.ask(lambda: engine.index.similar(row, ALIKE))
        values = table.slice(row, 1).to_pylist()[0]
        about = f"{values['width']:,} x {values['height']:,} pixels"
        if values["box"] is not None:
            about += f", the part from {values['box'][0]:g}, {values['box'][1]:g} to {values['box'][2]:g}, "
            about += f"{values['box'][3]:g}"
        try:
            shown = _facts(await engine.ask(lambda: engine.index.facts_of(row, FACTS)))
        except UserError as error:  # an index that knows no facts still has pictures
            shown = markup.wrong(str(error))
        size = values["width"], values["height"]
        return HTMLResponse(markup.picture(row, values["image"], size, about, shown, markup.similar(alike)))

    async def photograph(request: Request) -> HTMLResponse:
        picture = await uploads.picture(request)
        found = await engine.ask(lambda: engine.index.facts_of(picture, FACTS))
        alike = await engine.ask(lambda: engine.index.similar(picture, ALIKE))
        return HTMLResponse(markup.seen(_facts(found), markup.similar(alike)))

    async def run() -> HTMLResponse:
        return HTMLResponse(await engine.decode(page.text))

    def _facts(found: dict[int, list[FactHit]]) -> Html:
        return markup.facts(found, record.score)

    router.add_api_route("/page/row/{row}", row)
    router.add_api_route("/page/photograph", photograph, methods=["POST"])
    router.add_api_route("/page/run", run)
    return router
