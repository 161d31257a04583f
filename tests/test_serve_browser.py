"""The page in a real browser: Debian's chromium against the real server on a tiny index."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from PIL import Image
from small_run import small_run

from mas_triplets import Fact, FactIndex
from mas_triplets.evaluation.run import evaluate
from mas_triplets.retrieval.build import build_index

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

for module in ("gradio", "playwright"):
    pytest.importorskip(module, reason="the page is tested with the extras `web` and `dev`")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("no browser is installed: apt-get install chromium", allow_module_level=True)

torch.set_num_threads(1)
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> FactIndex:
    home = tmp_path_factory.mktemp("browser")
    known = {"person": "1 0 0", "dog": "0 1 0", "ride": "0 0 1", "chase": "1 1 0", "horse": "0 1 1", "cat": "1 0 1"}
    (home / "words.txt").write_text("".join(f"{word} {numbers}\n" for word, numbers in known.items()))
    run = small_run(home, data__region="box", model__text={"name": "glove", "path": str(home / "words.txt")})
    evaluate(run)
    return build_index(run, home / "index")


@pytest.fixture(scope="module")
def address(index: FactIndex) -> Iterator[str]:
    """Where the real command answers; it ends by Ctrl-C with exit code 0."""
    command = [sys.executable, "-m", "mas_triplets", "serve", str(index.path), "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        line = server.stdout.readline()
        found = [word for word in line.split() if word.startswith("http://127.0.0.1:")]
        assert found, server.stderr.read()
        try:
            yield found[0]
        finally:
            server.send_signal(signal.SIGINT)
            problems = server.stderr.read()
    assert (server.returncode, "Traceback" in problems) == (0, False), problems


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def page(browser: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page as it is when its first pictures are there; it asked nobody but the server, and nothing failed in it."""
    width = getattr(request, "param", 1280)
    made = browser.new_page(viewport={"width": width, "height": 844})
    asked: list[str] = []
    failed: list[str] = []
    made.on("request", lambda request: asked.append(request.url))
    made.on("pageerror", lambda error: failed.append(str(error)))
    made.goto(address)
    made.wait_for_selector("#mt-result .mt-tile")
    yield made
    made.close()
    assert [url for url in asked if not url.startswith((address, f"blob:{address}"))] == []
    assert failed == []


def shown_rows(page: Page, where: str) -> list[int]:
    return [int(tile.get_attribute("data-row") or "-1") for tile in page.locator(f"{where} .mt-tile").all()]


def ask(page: Page, slot: str, word: str) -> None:
    """Type a word into a slot, and wait for the answer."""
    field = page.get_by_label(slot)
    field.fill(word)
    with page.expect_response(lambda answer: answer.url.endswith("/run/predict")):
        field.press("Enter")


def test_a_fact_that_is_typed_finds_its_pictures(page: Page, index: FactIndex) -> None:
    for slot, word in (("Who or what", "dog"), ("does", "chase"), ("to what", "*")):
        ask(page, slot, word)
    page.get_by_text("pictures for <dog, chase>").or_(page.get_by_text("regions for <dog, chase>")).wait_for()
    assert shown_rows(page, "#mt-result") == [hit.row for hit in index.search(Fact("dog", "chase"), 24)]
    page.wait_for_function("document.querySelector('#mt-result img').naturalWidth === 320")


def test_a_picture_that_is_clicked_shows_its_facts_and_others_like_it(page: Page, index: FactIndex) -> None:
    first = shown_rows(page, "#mt-result")[0]
    page.locator("#mt-result .mt-tile").first.click()
    panel = page.get_by_role("dialog")
    panel.get_by_text("What it shows").wait_for()
    best = index.facts_of(first, 1)[3][0]
    assert panel.locator("[data-fact]").first.get_attribute("data-fact") == str(best.fact)
    assert shown_rows(page, "#mt-panel") == [hit.row for hit in index.similar(first, 8)]
    page.wait_for_function("document.querySelector('#mt-panel .mt-large').naturalWidth > 320")
    panel.locator(".mt-tile").first.click()  # a picture like it, in the same panel
    name = Path(index.rows["image"][index.similar(first, 1)[0].row].as_py()).name
    panel.get_by_role("heading", name=name).wait_for()
    page.keyboard.press("Escape")
    assert panel.is_hidden()


def test_a_fact_that_is_clicked_is_looked_for(page: Page, index: FactIndex) -> None:
    page.locator("#mt-result .mt-tile").first.click()
    fact = page.locator("#mt-panel [data-fact='<dog>']")
    fact.click()
    page.get_by_text("for <dog>, the best first").wait_for()
    assert page.get_by_label("Who or what").input_value() == "dog"
    assert page.get_by_label("does").input_value() == "*"
    assert page.get_by_role("dialog").is_hidden()
    assert shown_rows(page, "#mt-result") == [hit.row for hit in index.search(Fact("dog"), 24)]


def test_an_unknown_word_is_told_with_the_nearest(page: Page) -> None:
    ask(page, "Who or what", "hoarse")
    alert = page.locator("#mt-result").get_by_role("alert")
    alert.wait_for()
    assert "did you mean 'horse'" in alert.inner_text()


def test_a_photograph_shows_its_facts_and_a_broken_one_a_sentence(page: Page, index: FactIndex, tmp_path: Path) -> None:
    photograph, broken = tmp_path / "photo.jpg", tmp_path / "broken.jpg"
    Image.effect_noise((60, 50), 90).convert("RGB").save(photograph)
    broken.write_bytes(photograph.read_bytes()[:300])
    page.get_by_role("tab", name="Photograph").click()
    page.set_input_files("#mt-drop input", photograph)
    page.locator("#mt-photograph .mt-facts").first.wait_for()
    facts = [one.get_attribute("data-fact") for one in page.locator("#mt-photograph [data-fact]").all()]
    found = index.facts_of(photograph, 5)
    assert facts == [str(hit.fact) for order in (3, 2, 1) for hit in found[order]]
    assert len(shown_rows(page, "#mt-photograph")) == 8
    page.set_input_files("#mt-drop input", broken)
    alert = page.locator("#mt-photograph").get_by_role("alert")
    alert.wait_for()
    assert "cannot be decoded" in alert.inner_text() or "can be read" in alert.inner_text()
    assert page.locator("#mt-photograph [data-fact]").count() == 0


def test_what_was_learnt_is_drawn(page: Page) -> None:
    page.get_by_role("tab", name="What was learnt").click()
    run = page.frame_locator("#mt-run")
    run.get_by_role("heading", name="Where importance sits").wait_for()
    assert run.locator("svg").count() >= 4
    page.wait_for_function("document.getElementById('mt-run').offsetHeight > 1500")


@pytest.mark.parametrize("page", [390], indirect=True)
def test_a_phone_does_not_scroll_sideways(page: Page, tmp_path: Path) -> None:
    def fits() -> bool:
        return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))

    assert fits()
    page.locator("#mt-result .mt-tile").first.click()
    page.get_by_role("dialog").get_by_text("What it shows").wait_for()
    assert fits()
    assert page.evaluate("document.querySelector('#mt-panel .mt-body').scrollWidth <= innerWidth")
    page.keyboard.press("Escape")
    photograph = tmp_path / "photo.png"
    Image.new("RGB", (3000, 200), "red").save(photograph)
    page.get_by_role("tab", name="Photograph").click()
    page.set_input_files("#mt-drop input", photograph)
    page.locator("#mt-photograph .mt-facts").first.wait_for()
    assert fits()
    page.get_by_role("tab", name="What was learnt").click()
    page.frame_locator("#mt-run").get_by_role("heading", name="Where importance sits").wait_for()
    assert fits()
