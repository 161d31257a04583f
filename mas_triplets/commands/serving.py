"""The verb of showing an index to others: serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="An index.")],
    host: Annotated[str, typer.Option(help="Address to answer on; others can see 127.0.0.1 not.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes any that is free.", min=0, max=65535)] = 7860,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    run: Annotated[Path | None, typer.Option(help="The run that filled the index, if it has moved.")] = None,
) -> None:
    """Show an index as a web page, with a JSON API, until Ctrl-C."""
    from mas_triplets.serve.server import check_installed, is_local, open_browser

    check_installed()
    from mas_triplets.retrieval.index import FactIndex
    from mas_triplets.serve.server import serve as answer

    def started(address: str) -> None:
        print(
            f"Serving {index} on {address} (Ctrl-C ends it); the API is described at {address}/openapi.json", flush=True
        )
        if not is_local(host):
            print("Whoever reaches this address sees the pictures.", flush=True)
        if open_page:
            open_browser(address)

    answer(FactIndex.open(index, run=run), host, port, started=started)
