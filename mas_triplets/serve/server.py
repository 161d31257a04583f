"""Serving an index: a socket, the application, and the address to open."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import webbrowser
from collections.abc import Callable
from tempfile import TemporaryDirectory

from mas_triplets.errors import UserError
from mas_triplets.retrieval.index import FactIndex

_OWN_NAMES = ("localhost", "127.0.0.1", "[::1]")


def serve(index: FactIndex, host: str, port: int, *, started: Callable[[str], None]) -> None:
    """Answer for an index until Ctrl-C.

    Args:
        index: the index.
        host: a name or an address of this machine; 127.0.0.1 is seen from this machine only.
        port: 0 takes any that is free.
        started: told the address once it answers.

    Raises:
        UserError: the address cannot be taken.
    """
    import uvicorn

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # whatever is sent here that is not HTTP is not our trouble
    with _listening(host, port) as listening, TemporaryDirectory(prefix="mas-triplets-") as scratch:
        os.environ["GRADIO_TEMP_DIR"] = scratch  # Gradio makes folders there when it is imported; nothing is put there
        from mas_triplets.serve.application import make_application

        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listening.getsockname()[1]}"
        application = make_application(index, {*_OWN_NAMES, shown.lower()} if is_local(host) else None)

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                started(address)

        config = uvicorn.Config(
            application, log_config=None, access_log=False, server_header=False, ws="none", timeout_graceful_shutdown=2
        )
        try:
            Server(config).run([listening])
        except KeyboardInterrupt:
            return  # it is how a server ends


def open_browser(address: str) -> None:
    """Open the page in the user's browser, where there is one."""
    webbrowser.open(address)


def check_installed() -> None:
    """Check that what the extra `web` brings is there.

    Raises:
        UserError: it is not.
    """
    from importlib.util import find_spec

    absent = [name for name in ("gradio", "fastapi", "uvicorn", "prometheus_client") if find_spec(name) is None]
    if absent:
        raise UserError(f"serve needs {', '.join(absent)}: install them with `pip install 'mas-triplets[web]'`")


def is_local(host: str) -> bool:
    """Whether an address is seen from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UserError(f"--host {host} is not known here: {error.strerror}; give an address of this machine") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
    except OSError as error:
        listening.close()
        raise UserError(
            f"{host}, port {port}, cannot be taken: {error.strerror}; give another --port, 0 for any that is free, or "
            "another --host"
        ) from None
    return listening
