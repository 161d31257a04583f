"""Put a real server under load: 2,000 requests at 32 at once on loopback, a tenth of them malformed.

    python -m benchmarks.serve_load INDEX

The server is the real command in a process of its own, on an index of your own. What is asked, by turns: searches by
facts of its vocabulary, similar rows, facts of a row, thumbnails, an uploaded picture, the page's form; and malformed
requests of ten kinds, from a fact without its bracket to bytes that are not HTTP. A 5xx, a traceback, or a well-formed
request that is not 200 ends the benchmark with exit code 1. Memory is what the server holds (RSS) before and after the
counted requests, which come after as many that are not counted. Prints a row of Markdown.
"""

from __future__ import annotations

import argparse
import http.client
import io
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import local
from typing import Any
from urllib.parse import quote

import numpy as np
import psutil
from PIL import Image

FORM = "/gradio_api/run/predict"


@dataclass(frozen=True)
class Request:
    """One request; `raw` bytes are sent as they are."""

    kind: str
    path: str = "/"
    body: bytes | None = None
    raw: bytes | None = None


@dataclass(frozen=True)
class Answer:
    """Its status, 0 where the server hung up, and the time to its end in seconds."""

    kind: str
    status: int
    seconds: float
    leaks: bool


class Client:
    """Sends requests, each thread over a connection of its own that it keeps."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port, self._own = host, port, local()

    def send(self, request: Request) -> Answer:
        """Send one request and read its answer."""
        start = time.perf_counter()
        status, body = self._raw(request.raw) if request.raw is not None else self._http(request)
        return Answer(request.kind, status, time.perf_counter() - start, b"Traceback" in body)

    def _http(self, request: Request) -> tuple[int, bytes]:
        if not hasattr(self._own, "connection"):
            self._own.connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        connection = self._own.connection
        method = "GET" if request.body is None else "POST"
        try:
            connection.request(method, request.path, request.body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (http.client.HTTPException, ConnectionError):  # it may refuse a body before it has all of it
            connection.close()
            return 0, b""

    def _raw(self, data: bytes) -> tuple[int, bytes]:
        with socket.create_connection((self.host, self.port), timeout=60) as connection:
            connection.sendall(data)
            answer = connection.makefile("rb").read()
        return (int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else 0), answer


def requests(client: Client, count: int, seed: int) -> list[Request]:
    """Return `count` requests, a tenth of them malformed, in random order."""
    draw = random.Random(seed)
    words = json.loads(_get(client, "/api/vocabulary"))
    rows = json.loads(_get(client, "/api/index"))["rows"]
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (360, 480, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG")
    picture = buffer.getvalue()

    def form(*data: object) -> bytes:
        return json.dumps({"data": data, "fn_index": 0}).encode()

    def fact() -> list[str]:
        return [draw.choice(words[slot] or ["*"]) if draw.random() < 0.75 else "*" for slot in ("predicate", "object")]

    def good(kind: str) -> Request:
        slots, row = [draw.choice(words["subject"]), *fact()], draw.randrange(rows)
        return {
            "search": Request(kind, f"/api/search?k=24&fact={quote(', '.join(slots))}"),
            "form": Request(kind, FORM, form(*slots, 24)),
            "similar": Request(kind, f"/api/similar/{row}"),
            "facts": Request(kind, f"/api/facts/{row}"),
            "thumbnail": Request(kind, f"/api/thumbnail/{row}"),
            "upload": Request(kind, "/api/facts?k=5", picture),
        }[kind]

    file = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    bad = [
        Request("malformed", "/api/search?fact=" + quote("<dog")),
        Request("malformed", "/api/search?fact=dog&k=0"),
        Request("malformed", f"/api/similar/{rows}"),
        Request("malformed", "/api/picture/..%2f..%2fetc%2fpasswd"),
        Request("malformed", "/gradio_api/file=/etc/passwd"),
        Request("malformed", "/api/facts", picture[: len(picture) // 2]),
        Request("malformed", "/api/facts", b"\x89PNG\r\n\x1a\n" + bytes(1000)),
        Request("malformed", FORM, form(file, "*", "*", 3)),
        Request("malformed", FORM, b"{"),
        Request("malformed", raw=b"\x16\x03\x01 this is not HTTP\r\n\r\n"),
    ]
    kinds = itertools.cycle(
        ["search"] * 8 + ["form"] * 3 + ["similar"] * 2 + ["facts"] * 2 + ["thumbnail"] * 4 + ["upload"]
    )
    made = [bad[number // 10 % 10] if number % 10 == 0 else good(next(kinds)) for number in range(count)]
    draw.shuffle(made)
    return made


@contextmanager
def server(index: Path, threads: int) -> Iterator[tuple[Client, psutil.Process]]:
    """Start the real command on a free port, and end it by Ctrl-C."""
    command = [sys.executable, "-m", "mas_triplets", "serve", str(index), "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = next((word for word in line.split() if word.startswith("http://")), None)
        if address is None:
            raise SystemExit("the server did not start")
        try:
            yield Client("127.0.0.1", int(address.rsplit(":", 1)[1])), psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGINT)


def _get(client: Client, path: str) -> bytes:
    connection = http.client.HTTPConnection(client.host, client.port, timeout=60)
    connection.request("GET", path)
    return connection.getresponse().read()


def main() -> None:
    """Run the load and print what it measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("index", type=Path, metavar="INDEX")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2, help="of OpenMP, in the server")
    options = parser.parse_args()
    with server(options.index, options.threads) as (client, process), ThreadPoolExecutor(options.at_once) as pool:
        list(pool.map(client.send, requests(client, options.requests, seed=1)))
        wanted = requests(client, options.requests, seed=2)
        before, start = process.memory_info().rss / 2**20, time.perf_counter()
        answers = list(pool.map(client.send, wanted))
        took, after = time.perf_counter() - start, process.memory_info().rss / 2**20
        rows = json.loads(_get(client, "/api/index"))["rows"]
    for kind in sorted({answer.kind for answer in answers}):
        mine = [answer for answer in answers if answer.kind == kind]
        print(f"{kind}: {_latency(mine)}, {dict(Counter(answer.status for answer in mine))}", file=sys.stderr)
    failed = sum(answer.status >= 500 or answer.leaks for answer in answers)
    unanswered = sum(answer.kind != "malformed" and answer.status != 200 for answer in answers)
    refused = sum(400 <= answer.status < 500 for answer in answers)
    well = [answer for answer in answers if answer.kind != "malformed"]
    p50, p99 = np.percentile([1000 * answer.seconds for answer in well], [50, 99])
    print("| rows | requests | at once | 4xx | 5xx | p50 ms | p99 ms | requests a second | MiB before | MiB after |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    cells: list[Any] = [f"{rows:,}", f"{len(answers):,}", options.at_once, refused, failed, f"{p50:.0f}", f"{p99:.0f}"]
    cells += [f"{len(answers) / took:.0f}", f"{before:.0f}", f"{after:.0f}"]
    print("| " + " | ".join(map(str, cells)) + " |")
    if failed or unanswered:
        raise SystemExit(f"{failed} answers were 5xx or showed a traceback, {unanswered} well-formed requests failed")


def _latency(answers: list[Answer]) -> str:
    p50, p99 = np.percentile([1000 * answer.seconds for answer in answers], [50, 99])
    return f"{len(answers)} requests, p50 {p50:.0f} ms, p99 {p99:.0f} ms"


if __name__ == "__main__":
    main()
