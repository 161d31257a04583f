"""The API and the page over HTTP: the same answers as in Python, bounds, and what a client must not get."""

from __future__ import annotations

import io
import json
import re
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_run import small_run

pytest.importorskip("gradio", reason="the page needs the extra `web`: pip install 'mas-triplets[web]'")
from starlette.testclient import TestClient

from mas_triplets import Fact, FactIndex, UserError
from mas_triplets.retrieval.answers import facts_json, hits_json
from mas_triplets.retrieval.build import build_index
from mas_triplets.serve import limits, uploads
from mas_triplets.serve.application import make_application
from mas_triplets.serve.engine import Engine
from mas_triplets.serve.failures import RequestError
from mas_triplets.serve.forms import rewritten
from mas_triplets.serve.server import is_local, serve

torch.set_num_threads(1)

FORM = "/gradio_api/run/predict"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


def boxes_index(home: Path, score: str) -> FactIndex:
    """An index of boxes, whose language is a few words, so that there are words that nothing is known of."""
    known = {"person": "1 0 0", "dog": "0 1 0", "ride": "0 0 1", "chase": "1 1 0", "horse": "0 1 1", "cat": "1 0 1"}
    (home / "words.txt").write_text("".join(f"{word} {numbers}\n" for word, numbers in known.items()))
    text = {"name": "glove", "path": str(home / "words.txt")}
    run = small_run(home, score, model__score=score, data__region="box", model__text=text)
    return build_index(run, home / f"index-{score}")


def client_of(index: FactIndex) -> TestClient:
    application = make_application(index, {"127.0.0.1"})
    return TestClient(application, base_url="http://127.0.0.1", raise_server_exceptions=False)


@pytest.fixture(scope="module")
def index(home: Path) -> FactIndex:
    return boxes_index(home, "cosine")


@pytest.fixture(scope="module")
def client(index: FactIndex, home: Path) -> Iterator[TestClient]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(home / "gradio"))
        with client_of(index) as made:
            yield made


@pytest.fixture(scope="module", params=["cosine", "euclidean"])
def either(home: Path, request: pytest.FixtureRequest) -> Iterator[tuple[TestClient, FactIndex]]:
    """An index of either score, and who asks for it."""
    index = boxes_index(home, request.param)
    with client_of(index) as made:
        yield made, index


def got(client: TestClient, path: str, **parameters: Any) -> Any:
    answer = client.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def png(size: tuple[int, int] = (20, 16), seed: int = 5) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("fact", ["<person, ride, horse>", "<*, chase>", "dog"])
def test_search_is_that_of_the_index_with_rows(either: tuple[TestClient, FactIndex], fact: str) -> None:
    client, index = either
    found = got(client, "/api/search", fact=fact, k=30)
    hits = index.search(fact, 30)
    assert [{key: value for key, value in one.items() if key != "row"} for one in found] == hits_json(hits)
    rows = index.rows.to_pylist()
    assert len({one["row"] for one in found}) == len(found)
    assert all((rows[one["row"]]["image"], rows[one["row"]]["box"]) == (one["image"], one["box"]) for one in found)
    assert len(got(client, "/api/search", fact=fact)) == 10


def plain_likeness(index: FactIndex, first: int, second: int) -> float:
    """The mean cosine of the three slots, or minus the squared distance, from the numbers in the index."""
    dim = index.record.dim
    a, b = (index.faiss.reconstruct(row)[: 3 * dim].astype(float) for row in (first, second))
    return float(a @ b) / 3 if index.record.score == "cosine" else -float(np.square(a - b).sum())


def test_similar_rows_equal_a_plain_loop(either: tuple[TestClient, FactIndex]) -> None:
    client, index = either
    others = [row for row in range(len(index)) if row != 7]
    wanted = sorted(others, key=lambda row: (-plain_likeness(index, 7, row), row))[:5]
    found = got(client, "/api/similar/7", k=5)
    assert [one["row"] for one in found] == wanted
    assert [one["rank"] for one in found] == [1, 2, 3, 4, 5]
    assert [one["score"] for one in found] == pytest.approx([plain_likeness(index, 7, row) for row in wanted], abs=1e-6)


def test_facts_of_a_row_are_those_of_its_picture(either: tuple[TestClient, FactIndex]) -> None:
    client, index = either
    whole = [row for row, box in enumerate(index.rows["box"].to_pylist()) if box is None]
    for row in whole[:3]:
        path = index.rows["image"][row].as_py()
        wanted, found = facts_json(index.facts_of(path, 2)), got(client, f"/api/facts/{row}", k=2)
        assert [one["fact"] for one in found] == [one["fact"] for one in wanted]
        assert [one["score"] for one in found] == pytest.approx([one["score"] for one in wanted], abs=1e-5)
        sent = client.post("/api/facts?k=2", content=Path(path).read_bytes()).json()
        assert sent == json.loads(json.dumps(wanted))
        similar = client.post("/api/similar?k=1", content=Path(path).read_bytes()).json()
        assert similar[0]["image"] == path


def test_pictures_are_drawn_by_row_with_their_box(client: TestClient, index: FactIndex) -> None:
    row = next(row for row, box in enumerate(index.rows["box"].to_pylist()) if box is not None)
    for path in (f"/api/picture/{row}?side=200", f"/api/thumbnail/{row}", f"/api/thumbnail/{row}"):
        answer = client.get(path)
        assert answer.headers["content-type"] == "image/jpeg"
        with Image.open(io.BytesIO(answer.content)) as picture:
            assert picture.size == ((200, 160) if "picture" in path else (320, 256))
            boxed = np.asarray(picture).astype(int)
    plain = client.get(f"/api/picture/{row}?side=320&box=false")
    with Image.open(io.BytesIO(plain.content)) as picture:
        differs = (np.abs(np.asarray(picture).astype(int) - boxed).sum(-1) > 150).nonzero()
    x1, y1, x2, y2 = (16 * value for value in index.rows["box"][row].as_py())
    assert (differs[1].min(), differs[1].max()) == (pytest.approx(x1, abs=10), pytest.approx(x2, abs=10))
    assert (differs[0].min(), differs[0].max()) == (pytest.approx(y1, abs=10), pytest.approx(y2, abs=10))


def test_what_the_index_is_and_knows(client: TestClient, index: FactIndex) -> None:
    about = got(client, "/api/index")
    assert (about["rows"], about["region"], about["score"]) == (len(index), "box", index.record.score)
    words = got(client, "/api/vocabulary")
    assert words == {"subject": ["dog", "person"], "predicate": ["chase", "ride"], "object": ["cat", "horse"]}
    assert got(client, "/healthz") == {"status": "ok"}


def test_the_description_lists_the_routes(client: TestClient) -> None:
    paths = got(client, "/openapi.json")["paths"]
    assert {path: sorted(methods) for path, methods in paths.items()} == {
        "/api/search": ["get"],
        "/api/similar/{row}": ["get"],
        "/api/similar": ["post"],
        "/api/facts/{row}": ["get"],
        "/api/facts": ["post"],
        "/api/picture/{row}": ["get"],
        "/api/thumbnail/{row}": ["get"],
        "/api/vocabulary": ["get"],
        "/api/index": ["get"],
        "/healthz": ["get"],
        "/metrics": ["get"],
    }
    assert list(paths["/api/facts"]["post"]["requestBody"]["content"]) == ["image/*"]


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/api/search?fact=<person, ride, hoarse>", 400, "did you mean 'horse'"),
        ("/api/search?fact=<*, *>", 400, "at least one slot"),
        ("/api/search?fact=<dog", 400, "brackets"),
        ("/api/search", 422, "'fact' does not fit"),
        ("/api/search?fact=dog&k=0", 422, "'k' does not fit"),
        (f"/api/search?fact=dog&k={limits.ANSWERS + 1}", 422, "less than or equal to"),
        (f"/api/search?fact={'d' * (limits.FACT_LENGTH + 1)}", 422, "at most"),
        ("/api/similar/100000", 404, "there is no row 100000"),
        ("/api/similar/-1", 404, "there is no row -1"),
        ("/api/facts/x", 422, "'row' does not fit"),
        ("/api/picture/100000", 404, "there is no row"),
        ("/api/picture/0?side=1000000", 422, "'side' does not fit"),
        ("/page/row/100000", 404, "there is no row"),
        ("/api/nothing", 404, "there is nothing at /api/nothing"),
        ("/nothing", 404, "there is nothing at /nothing"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(client: TestClient, path: str, status: int, says: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert says in answer.json()["error"]
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("path", ["/api/facts", "/api/similar", "/page/photograph"])
def test_uploads_are_bounded(client: TestClient, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def says(content: Any, status: int, words: str, **headers: str) -> None:
        answer = client.post(path, content=content, headers=headers)
        assert (answer.status_code, list(answer.json())) == (status, ["error"])
        assert words in answer.json()["error"]

    says(b"", 400, "no picture was sent")
    says(b"root:x:0:0:root", 422, "not a picture that can be read")
    says(b"<svg xmlns='http://www.w3.org/2000/svg'/>", 422, "not a picture that can be read")
    says(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 422, "not a picture that can be read")
    says(png()[:-60], 422, "is damaged")
    says(png(), 415, "curl --data-binary", **{"Content-Type": "multipart/form-data; boundary=x"})
    small = bytearray(png())
    for side, problem in ((10_000, "10,000 x 10,000 pixels"), (60_000, "too many pixels")):
        small[16:24] = struct.pack(">II", side, side)  # what its header says is believed before anything is decoded
        small[29:33] = struct.pack(">I", zlib.crc32(small[12:29]))
        says(bytes(small), 422, problem)
    with monkeypatch.context() as patch:
        patch.setattr(uploads, "UPLOAD_PIXELS", 319)
        says(png(), 422, "20 x 16 pixels, at most 319 are taken")
    monkeypatch.setattr(uploads, "UPLOAD_BYTES", 1000)
    says(b"x" * 1001, 413, "larger than")
    says(iter([b"x" * 600, b"x" * 600]), 413, "larger than")  # chunked: nothing says beforehand how much it is


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_every_format_of_pictures_is_taken(client: TestClient, kind: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), "red").save(buffer, kind)
    assert client.post("/api/facts?k=1", content=buffer.getvalue()).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=PICTURE",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/proxy=http://127.0.0.1/",
        "/file=/etc/passwd",
        "/static/../../../../../../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/assets//etc/passwd",
        "/api/picture/..%2f..%2fetc%2fpasswd",
        "/config",
        "/gradio_api/info",
        "/gradio_api/queue/data?session_hash=x",
        "/monitoring",
        "/docs",
    ],
)
def test_files_and_gradios_other_paths_are_not_served(client: TestClient, index: FactIndex, path: str) -> None:
    answer = client.get(path.replace("PICTURE", index.rows["image"][0].as_py()))
    assert 400 <= answer.status_code < 500
    assert "root:" not in answer.text


def test_gradio_takes_no_upload_and_no_path(client: TestClient, home: Path) -> None:
    assert client.post("/gradio_api/upload", files={"files": ("../../name.png", png())}).status_code == 404
    assert client.post("/gradio_api/queue/join", json={"data": [], "fn_index": 0}).status_code == 404
    file = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    for data in ([file, "*", "*", 3], ["dog", "*", "*", file], [[file], "*", "*", 3]):
        answer = client.post(FORM, json={"data": data, "fn_index": 0})
        assert (answer.status_code, list(answer.json())) == (422, ["error"])
    assert [path for path in (home / "gradio").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"[" * 50_000,
        b'{"data": ["dog", "*", "*", 3]}',
        b'{"data": ["dog"], "fn_index": 0}',
        b'{"data": "dog*", "fn_index": 0}',
        b'{"data": ["dog", "*", "*", 3], "fn_index": 7}',
        b'{"data": ["dog", "*", "*", 3], "fn_index": true}',
        b'{"data": ["dog", "*", "*", NaN], "fn_index": 0}',
        b'{"data": ["dog", "*", "*", 1e999], "fn_index": 0}',
        b'{"data": [3], "fn_index": 1, "event_data": {"fact": ["dog"]}}',
        b'{"data": ["' + b"d" * 301 + b'", "*", "*", 3], "fn_index": 0}',
    ],
)
def test_a_malformed_form_is_refused(client: TestClient, body: bytes) -> None:
    answer = client.post(FORM, content=body)
    assert (answer.status_code, list(answer.json())) == (422, ["error"])
    with pytest.raises(RequestError):
        rewritten(body, {0: 4, 1: 1})


def test_a_form_too_long_is_refused(client: TestClient) -> None:
    assert client.post(FORM, content=b" " * (limits.FORM_BYTES + 1)).status_code == 413
    assert client.post(FORM, content=iter([b" " * 60_000, b" " * 60_000])).status_code == 413


def test_a_form_is_written_anew_without_what_it_does_not_need() -> None:
    sent = {"data": ["dog", None, "*", 3], "fn_index": 0, "session_hash": "x", "request": {}, "trigger_id": 4}
    anew = {"fn_index": 0, "data": ["dog", None, "*", 3], "event_data": {"fact": ""}}
    assert json.loads(rewritten(json.dumps(sent).encode(), {0: 4})) == anew


def asked(client: TestClient, function: int, data: list[Any], **event: str) -> list[Any]:
    answer = client.post(FORM, json={"data": data, "fn_index": function, "event_data": event or None})
    assert answer.status_code == 200, answer.text
    found: list[Any] = answer.json()["data"]
    return found


def test_the_form_finds_pictures_by_row(client: TestClient, index: FactIndex) -> None:
    page = asked(client, 0, ["dog", "chase", "*", 5])[0]
    rows = [int(row) for row in re.findall(r'data-row="(\d+)"', page)]
    assert rows == [hit.row for hit in index.search(Fact("dog", "chase"), 5)]
    assert "5 of" in page
    clicked = asked(client, 1, [5], fact="<dog, chase>")
    assert clicked[:3] == ["dog", "chase", "*"]
    assert clicked[-1] == page
    wrong = asked(client, 0, ["hoarse", "*", "*", 5])[0]
    assert "did you mean &#x27;horse&#x27;" in wrong
    assert "at least one slot" in asked(client, 0, [None, "", "*", 5])[0]
    assert "<script>" not in asked(client, 0, ["<script>alert(1)</script>", "*", "*", 5])[0]
    assert "is not a fact" in asked(client, 1, [5], fact="<dog")[-1]


def test_parts_of_the_page(client: TestClient, index: FactIndex) -> None:
    page = client.get("/page/row/3").text
    assert Path(index.rows["image"][3].as_py()).name in page
    assert page.count("data-fact=") == 6
    assert [int(row) for row in re.findall(r'data-row="(\d+)"', page)] == [hit.row for hit in index.similar(3, 8)]
    photograph = client.post("/page/photograph", content=png())
    assert (photograph.status_code, photograph.text.count("data-fact=")) == (200, 6)
    assert "not evaluated yet" in client.get("/page/run").text


def test_the_page_of_an_evaluated_run_shows_what_was_learnt(home: Path) -> None:
    from mas_triplets.evaluation.run import evaluate

    run = small_run(home, "evaluated")
    evaluate(run)
    with TestClient(make_application(build_index(run, home / "index-evaluated"))) as client:
        page = client.get("/page/run").text
        assert page.count("<svg") >= 4
        for part in ("Own-task mAP", "forgetting", "Where importance sits"):
            assert part in page


def test_the_page_loads_nothing_from_elsewhere(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert "fonts.googleapis" not in answer.text + client.get("/theme.css").text
    assert not re.search(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="(?:https?:)?//', answer.text)
    assert "connect-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_other_names_of_this_machine_are_turned_away(client: TestClient) -> None:
    assert client.get("/healthz", headers={"Host": "evil.example"}).status_code == 421
    assert client.get("/healthz", headers={"Host": "127.0.0.1:8000"}).status_code == 200
    assert [is_local(host) for host in ("localhost", "127.0.0.1", "::1", "0.0.0.0", "example.org")] == [
        *(True, True, True),
        *(False, False),
    ]


def test_metrics_count_by_route_and_status(index: FactIndex) -> None:
    with client_of(index) as client:
        for fact in ("dog", "person", "<"):
            client.get("/api/search", params={"fact": fact})
        client.get("/api/similar/1")
        client.get("/api/similar/2")
        client.get("/made/up/by/a/client")
        text = client.get("/metrics").text
    for line in (
        'mas_triplets_requests_total{method="GET",route="/api/search",status="200"} 2.0',
        'mas_triplets_requests_total{method="GET",route="/api/search",status="400"} 1.0',
        'mas_triplets_requests_total{method="GET",route="/api/similar/{row}",status="200"} 2.0',
        'mas_triplets_requests_total{method="GET",route="none",status="404"} 1.0',
        'mas_triplets_request_seconds_count{route="/api/search"} 3.0',
        f"mas_triplets_rows {float(len(index))}",
    ):
        assert line in text.splitlines()
    assert "made" not in text


def test_a_bug_is_a_sentence_and_is_logged(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: Any) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(FactIndex, "search", fails)
    answer = client.get("/api/search?fact=dog")
    assert (answer.status_code, list(answer.json())) == (500, ["error"])
    assert "secret" not in answer.text + asked(client, 0, ["dog", "*", "*", 5])[0]
    assert caplog.text.count("ZeroDivisionError: a secret") == 2


def test_a_picture_that_is_gone(home: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.png").write_bytes(png())
    index = build_index(small_run(home, "gone"), tmp_path / "index", tmp_path / "photos")
    (tmp_path / "photos" / "one.png").unlink()
    with TestClient(make_application(index)) as client:
        answer = client.get("/api/picture/0")
        assert (answer.status_code, str(tmp_path) in answer.text) == (404, False)
        assert client.get("/page/row/0").status_code == 200
        (tmp_path / "photos" / "one.png").symlink_to("/etc/passwd")
        assert client.get("/api/picture/0").status_code == 404


def test_too_many_questions_are_told_to_come_again(index: FactIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio
    from threading import Event

    monkeypatch.setattr("mas_triplets.serve.engine.WAITING", 2)
    free, engine = Event(), Engine(index)

    async def story() -> None:
        two = [asyncio.create_task(engine.ask(free.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(RequestError, match="too many") as refused:
            await engine.ask(lambda: True)
        assert refused.value.status == 503
        free.set()
        assert await asyncio.gather(*two) == [True, True]
        assert await engine.ask(lambda: "again") == "again"

    asyncio.run(story())
    engine.close()


def test_an_address_that_is_taken_is_told(index: FactIndex) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match=r"cannot be taken.*--port"):
            serve(index, "127.0.0.1", taken.getsockname()[1], started=print)
    with pytest.raises(UserError, match=r"not known here|cannot be taken"):
        serve(index, "203.0.113.7", 0, started=print)
