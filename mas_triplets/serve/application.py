"""The whole application: the API, the parts of the page, the page, and what guards them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from mas_triplets.retrieval.index import FactIndex
from mas_triplets.serve.api import api_router
from mas_triplets.serve.engine import Engine
from mas_triplets.serve.failures import RequestError, add_handlers
from mas_triplets.serve.fragments import fragment_router
from mas_triplets.serve.guard import Guard
from mas_triplets.serve.metrics import Metrics
from mas_triplets.serve.page import add_page
from mas_triplets.serve.pictures import Pictures
from mas_triplets.serve.uploads import Uploads


def make_application(index: FactIndex, hosts: Collection[str] | None = None) -> ASGIApp:
    """Return the application that answers for an index.

    Args:
        index: the index; its model is loaded now.
        hosts: names under which it may be asked for, such as "localhost"; any if None.

    Raises:
        UserError: the model or the facts of the index cannot be read.
    """
    engine, metrics = Engine(index), Metrics(len(index))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        engine.close()

    app = FastAPI(
        title="mas-triplets",
        description="Find pictures by <subject, predicate, object> facts, and the facts of a picture.",
        version=version("mas-triplets"),
        docs_url=None,  # both pages would load their scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    add_handlers(app)
    uploads = Uploads(engine)
    routers = (api_router(engine, Pictures(index), uploads, metrics), fragment_router(engine, uploads))
    own = {"/openapi.json"}
    for router in routers:
        app.include_router(router)
        own |= {route.path for route in router.routes if isinstance(route, APIRoute)}
    for below in ("/api/{path:path}", "/page/{path:path}"):  # else Gradio, which is mounted at /, would be asked
        app.add_api_route(
            below, _nothing, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False
        )
    fields = add_page(app, engine)
    return Guard(app, own, fields, metrics, hosts)


async def _nothing(request: Request) -> None:
    raise RequestError(404, f"there is nothing at {request.url.path[:200]} for {request.method}: see /openapi.json")
