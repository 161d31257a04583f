"""The page, made with Gradio: three slots and a gallery, a photograph, what was learnt.

Gradio keeps nothing between two requests: what is found depends on what the form holds, and pictures are asked for by
row. Its queue is not used, nor are its files.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI

from mas_triplets.errors import UserError
from mas_triplets.evaluation.html import Html
from mas_triplets.facts import SLOTS, WILD_CARD, Fact
from mas_triplets.serve import markup
from mas_triplets.serve.engine import Engine
from mas_triplets.serve.failures import BUG, LOG, RequestError
from mas_triplets.serve.limits import ANSWERS, FACT_LENGTH
from mas_triplets.serve.shapes import vocabulary

_HERE = Path(__file__).parent
_FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"]
_EXAMPLES = 6
_SUGGESTIONS = 5_000  # words a slot in the list of suggestions; others can be typed
_DROP = """
<label class="mt-drop" id="mt-drop"><input type="file" accept="image/*" aria-label="A photograph">
<span><b>Drop a photograph here</b>, or choose one.<br>It is looked at and not kept.</span><img alt="" hidden></label>
<div id="mt-photograph" aria-live="polite"></div>"""
_RUN = '<iframe id="mt-run" src="page/run" title="What was learnt" loading="lazy"></iframe>'
_PANEL = (
    '<div id="mt-panel" role="dialog" aria-modal="true" aria-label="A picture" hidden><button type="button" '
    'class="mt-close" aria-label="Close">✕</button><div class="mt-body"></div></div>'
)
_BRIDGE = """document.addEventListener('mt-fact', event => trigger('find', {fact: event.detail}));"""


def add_page(app: FastAPI, engine: Engine) -> dict[int, int]:
    """Mount the page on the application, at /, and return how many fields each of its functions takes."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # it reports to nobody
    index = engine.index
    words, examples = vocabulary(index), _examples(index.facts if "facts.parquet" in index.record.files else ())
    first = examples[0].slots if examples else (None, None, None)

    async def find(subject: Any, predicate: Any, thing: Any, k: Any) -> str:
        return await _found(engine, (subject, predicate, thing), k)

    async def find_again(k: Any, event: gr.EventData) -> tuple[Any, ...]:
        try:
            slots = Fact.parse(event.fact).slots
        except UserError as error:
            return (*(gr.skip() for _ in SLOTS), gr.skip(), markup.wrong(str(error)))
        shown = [slot or WILD_CARD for slot in slots]
        return (*shown, gr.Tabs(selected="find"), await _found(engine, shown, k))

    title = f"{index.path.resolve().name}: find pictures by what happens in them"
    with gr.Blocks(title=title, analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML(_head(engine), elem_id="mt-head", apply_default_css=False)
        with gr.Tabs(selected="find", elem_id="mt-tabs") as tabs:
            with gr.Tab("Find", id="find"):
                with gr.Row(elem_id="mt-form"):
                    slots = [
                        gr.Dropdown(
                            [WILD_CARD, *getattr(words, slot)[:_SUGGESTIONS]],
                            value=value or WILD_CARD,
                            label=label,
                            allow_custom_value=True,
                            min_width=150,
                            elem_id=f"mt-{slot}",
                        )
                        for slot, value, label in zip(SLOTS, first, ("Who or what", "does", "to what"), strict=True)
                    ]
                    k = gr.Number(24, label="Answers", minimum=1, maximum=ANSWERS, precision=0, min_width=110, scale=0)
                    button = gr.Button("Find", variant="primary", min_width=110, scale=0, elem_id="mt-find")
                gr.HTML(markup.chips(examples), visible=bool(examples), apply_default_css=False)
                result = gr.HTML(elem_id="mt-result", apply_default_css=False)
            with gr.Tab("Photograph", id="photograph"):
                gr.HTML(_DROP, apply_default_css=False)
            with gr.Tab("What was learnt", id="run"):
                gr.HTML(_RUN, apply_default_css=False)
        gr.HTML(_PANEL, apply_default_css=False)
        bridge = gr.HTML("", js_on_load=_BRIDGE, elem_id="mt-bridge")
        asks = [blocks.load, button.click, k.submit, *(slot.input for slot in slots)]
        plain: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
        gr.on(asks, find, [*slots, k], [result], api_name="find", trigger_mode="always_last", **plain)
        bridge.find(find_again, [k], [*slots, tabs, result], api_name="find_again", **plain)

    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        theme=_theme(),
        css=(_HERE / "page.css").read_text(encoding="utf-8"),
        head=f"<script>{(_HERE / 'page.js').read_text(encoding='utf-8')}</script>",
        footer_links=[],
        show_error=False,
        allowed_paths=[],
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
    )
    return {number: len(function.inputs) for number, function in blocks.fns.items()}


async def _found(engine: Engine, asked: Sequence[Any], k: Any) -> str:
    """Return the gallery for what the form holds, or a sentence."""
    try:
        fact = Fact(*(str(text or "")[:FACT_LENGTH] for text in asked))
        count = min(max(int(k or 1), 1), ANSWERS)
        found = await engine.ask(lambda: engine.index.search(fact, count))
    except (UserError, RequestError, ValueError) as error:
        return markup.wrong(str(error))
    except Exception:
        LOG.exception("a search failed")
        return markup.wrong(BUG)
    total = len(engine.index)
    said = f"{len(found):,} of {total:,} {'pictures' if engine.index.record.pictures.region == 'image' else 'regions'}"
    words = {slot: text for slot, text in zip(SLOTS, fact.slots, strict=True) if text}
    return markup.gallery(found, f"{said} for {fact}, the best first", words)


def _theme() -> gr.themes.Base:
    """Return the look: what every system has as fonts, so that nothing is fetched, and labels without a ground."""
    made = gr.themes.Soft(primary_hue="blue", neutral_hue="slate", font=_FONTS, font_mono=["ui-monospace", "monospace"])
    return made.set(
        block_title_background_fill="transparent",
        block_title_background_fill_dark="transparent",
        block_title_padding="0",
        block_title_text_color="*body_text_color_subdued",
        block_title_text_color_dark="*body_text_color_subdued",
        block_title_text_weight="400",
        body_text_color_subdued="*neutral_500",
        input_border_width="1px",
        input_shadow="none",
    )


def _examples(facts: Sequence[Fact]) -> list[Fact]:
    """Return some of the longest facts, from all over the list."""
    most = max((fact.order for fact in facts), default=0)
    longest = [fact for fact in facts if fact.order == most]
    return longest[:: max(1, len(longest) // _EXAMPLES)][:_EXAMPLES]


def _head(engine: Engine) -> Html:
    record = engine.index.record
    about = f"{record.pictures.pictures:,} pictures"
    if record.pictures.region == "box":
        about += f", {len(engine.index):,} regions"
    return markup.head(f"{about}, by {engine.index.run.path.resolve().name} after task {record.model.after_task}")
