"""Language models by their name on the model hub, with a small hub of our own, and without any."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_checkpoints import bert

from mas_triplets.config import TextEncoderConfig
from mas_triplets.errors import UserError
from mas_triplets.model.texts import Vectors, make_text_encoder
from mas_triplets.model.texts.hub import hub_folder


def vectors(folder: Path) -> Vectors:
    return make_text_encoder(TextEncoderConfig(name="transformers", path=folder)).encode(["dog", "hot dog"]).vectors


HUB_CALL = """
import sys
from mas_triplets.errors import UserError
from mas_triplets.model.texts.hub import hub_folder
for name in sys.argv[1:]:
    try:
        print(hub_folder(name, "model.text.path"))
    except UserError as error:
        print("UserError", error)
"""


def call_hub(endpoint: str, cache: Path, *names: str, **more: str) -> list[str]:
    """Ask for names in a process of its own, as the library reads its environment once; gives folders or sentences."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_CACHE": str(cache), "HF_HUB_DISABLE_XET": "1", **more}
    command = [sys.executable, "-c", HUB_CALL, *names]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return done.stdout.splitlines()


@contextmanager
def small_hub(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder as the model `small/bert`; gives the address and the requests that arrive."""
    commit, asked = "0123456789abcdef0123456789abcdef01234567", []
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}

    class Hub(BaseHTTPRequestHandler):
        def answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{len(body):040x}"')
            self.send_header("X-Repo-Commit", commit)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            asked.append(path)
            if path.startswith("/api/models/small/bert/tree/"):
                listed = [
                    {"type": "file", "path": name, "size": file.stat().st_size, "oid": f"{file.stat().st_size:040x}"}
                    for name, file in files.items()
                ]
                self.answer(200, json.dumps(listed).encode())
            elif path.startswith("/api/models/small/bert"):
                siblings = [{"rfilename": name} for name in files]
                self.answer(200, json.dumps({"id": "small/bert", "sha": commit, "siblings": siblings}).encode())
            elif path.startswith(f"/small/bert/resolve/{commit}/"):
                self.answer(200, files[path.split("/", 5)[5]].read_bytes(), "application/octet-stream")
            else:
                self.answer(200 if path == "/" else 404, b"{}")

        do_HEAD = do_GET  # noqa: N815 - the name is the library's

        def log_message(self, format: str, *args: Any) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def test_a_name_on_the_hub_is_fetched_once(tmp_path: Path) -> None:
    source = bert(tmp_path / "source")
    names = sorted(path.name for path in source.iterdir())
    expected = vectors(source)
    (source / "onnx").mkdir()
    (source / "onnx" / "model.onnx").write_bytes(b"of no use here")
    (source / "pytorch_model.bin").write_bytes(b"the same weights once more")
    with small_hub(source) as (endpoint, asked):
        first, absent, second = call_hub(endpoint, tmp_path / "cache", "small/bert", "small/absent", "small/bert")
    assert first == second
    assert sorted(path.name for path in Path(first).iterdir()) == names
    assert np.array_equal(vectors(Path(first)), expected)
    assert any("model.safetensors" in path for path in asked)
    assert not any("small/bert" in path for path in asked[asked.index("/api/models/small/absent") :])
    assert absent.startswith("UserError small/absent cannot be had from the model hub (")
    assert "give its folder as model.text.path" in absent


def test_without_the_hub_a_sentence_comes_quickly(tmp_path: Path) -> None:
    nobody = "http://127.0.0.1:9"
    for more in ({}, {"HF_HUB_OFFLINE": "1"}):
        began = time.monotonic()
        (answer,) = call_hub(nobody, tmp_path, "small/bert", **more)
        assert answer.startswith("UserError small/bert is no folder here, it is not in the model hub's cache")
        assert "download it on a machine with a network and give its folder as model.text.path" in answer
        assert time.monotonic() - began < 30  # much of it is importing; the library alone tries for 45 s


def test_what_is_no_name_is_told() -> None:
    with pytest.raises(UserError, match="a/b/c is neither a folder nor a name on the model hub"):
        hub_folder("a/b/c", "model.text.path")
