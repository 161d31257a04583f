"""Who answers questions: one thread for the index and its model, some for pictures, none of them the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mas_triplets.errors import UserError
from mas_triplets.retrieval.index import FactIndex
from mas_triplets.serve.failures import RequestError
from mas_triplets.serve.limits import WAITING

T = TypeVar("T")
_DECODERS = 2  # Pillow lets others run while it decodes; more would only need more memory at once


class Engine:
    """The index, loaded once, and the threads that ask it.

    FAISS and torch use all processors for one question, and the language table learns words as it is asked for them;
    so one thread asks, and what is asked at the same time waits its turn. See docs/benchmarks.md for what that gives.

    Attributes:
        index: the index.
    """

    def __init__(self, index: FactIndex) -> None:
        """Load the model now: nobody's first question should wait for it.

        Raises:
            UserError: the model cannot be loaded.
        """
        self.index = index
        _ = index.model
        self._asking = ThreadPoolExecutor(1, "index")
        self._decoding = ThreadPoolExecutor(_DECODERS, "pictures")
        self._waiting = 0

    async def ask(self, function: Callable[[], T]) -> T:
        """Run what needs the index or the model, in turn.

        Raises:
            RequestError: too many wait already.
        """
        return await self._run(self._asking, function)

    async def decode(self, function: Callable[[], T]) -> T:
        """Run what decodes, draws or encodes pictures.

        Raises:
            RequestError: too many wait already.
        """
        return await self._run(self._decoding, function)

    async def _run(self, pool: ThreadPoolExecutor, function: Callable[[], T]) -> T:
        if self._waiting >= WAITING:
            raise RequestError(503, "too many questions at once: ask again in a moment")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, function)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the threads; what has begun is finished."""
        for pool in (self._asking, self._decoding):
            pool.shutdown(cancel_futures=True)


def checked_row(engine: Engine, row: int) -> int:
    """Return `row`, if there is one of that number.

    Raises:
        RequestError: there is none (404).
    """
    try:
        engine.index.check_row(row)
    except UserError as error:
        raise RequestError(404, str(error)) from None
    return row
