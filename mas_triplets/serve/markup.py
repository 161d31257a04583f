"""The parts of the page as HTML: galleries, facts, one picture. All text is escaped by `evaluation.html`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mas_triplets.evaluation.html import Content, Html, element, join
from mas_triplets.facts import Fact
from mas_triplets.retrieval.hits import FactHit, Hit

_LARGE = 1024  # pixels a side
_ORDERS = {3: "Three slots", 2: "Two slots", 1: "One slot"}


def gallery(found: Sequence[Hit], said: Content, words: Mapping[str, str]) -> Html:
    """Return pictures found for a fact; `words` are what each slot was asked for."""
    tiles = [_tile(hit, _part_list(hit, words)) for hit in found]
    return join((element("p", said, class_="mt-said", role="status"), element("div", *tiles, class_="mt-grid")))


def similar(found: Sequence[Hit]) -> Html:
    """Return pictures that are alike, in small."""
    return element("div", *(_tile(hit, Html("")) for hit in found), class_="mt-grid mt-small")


def facts(found: Mapping[int, Sequence[FactHit]], score: str) -> Html:
    """Return facts by order, the longest first; each finds its pictures when it is clicked."""
    parts = []
    for order in sorted(found, reverse=True):
        hits = found[order]
        if hits:
            shown = element("div", *(_fact(hit, score) for hit in hits), class_="mt-facts")
            parts.append(element("div", element("h4", _ORDERS[order]), shown))
    return element("div", *parts, class_="mt-orders")


def picture(row: int, image: str, size: tuple[int, int], about: str, shown: Html, alike: Html) -> Html:
    """Return everything about one row: the picture, which facts hold in it, which others are like it.

    Args:
        row: its number.
        image: its file, of which the name is shown.
        size: width and height, so that its place is kept while it is on its way.
        about: a line about it.
        shown: the facts.
        alike: the others.
    """
    width, height = (round(_LARGE * side / max(size)) for side in size)
    place = f'src="api/picture/{row}?side={_LARGE}" width="{width}" height="{height}"'
    large = Html(f'<img class="mt-large" {place} alt="">')
    top = element("h3", Path(image).name), large, element("p", about, class_="mt-about")
    return join((*top, seen(shown, alike)))


def seen(shown: Html, alike: Html) -> Html:
    """Return which facts hold in a picture, and which others are like it."""
    return join(
        (
            element("section", element("h3", "What it shows"), shown),
            element("section", element("h3", "Pictures like it"), alike),
        )
    )


def wrong(sentence: str) -> Html:
    """Return a sentence about what cannot be done."""
    return element("p", sentence, class_="mt-wrong", role="alert")


def chips(examples: Sequence[Fact]) -> Html:
    """Return facts to click on."""
    made = [element("button", _plain(fact), class_="mt-chip", type="button", data_fact=str(fact)) for fact in examples]
    return element("div", element("span", "Try"), *made, class_="mt-chips")


def _tile(hit: Hit, below: Html) -> Html:
    label = f"{Path(hit.image).name}, rank {hit.rank}, score {hit.score:.3f}"
    head = element(
        "span", element("b", str(hit.rank)), element("span", f"{hit.score:.3f}", class_="mt-score"), class_="mt-line"
    )
    image = Html(f'<img src="api/thumbnail/{hit.row}" alt="" loading="lazy" width="320" height="320">')
    kind = "mt-tile" if hit.box is None else "mt-tile mt-part"
    return element("button", image, head, below, class_=kind, type="button", data_row=str(hit.row), aria_label=label)


def _part_list(hit: Hit, words: Mapping[str, str]) -> Html:
    parts = [
        element("span", words.get(slot, slot), " ", element("i", f"{part:.2f}")) for slot, part in hit.slots.items()
    ]
    return element("span", *parts, class_="mt-parts") if len(parts) > 1 else Html("")


def _fact(hit: FactHit, score: str) -> Html:
    share = min(max(hit.score, 0.0), 1.0) if score == "cosine" else 0.0
    bar = element("span", element("span", style=f"width:{100 * share:.0f}%"), class_="mt-bar")
    return element(
        "button",
        element("span", _plain(hit.fact)),
        *((bar,) if score == "cosine" else ()),
        element("i", f"{hit.score:.3f}"),
        type="button",
        data_fact=str(hit.fact),
        title=f"Find pictures of {hit.fact}",
    )


def _plain(fact: Fact) -> str:
    return " ".join(slot for slot in fact.slots if slot is not None)


def head(about: str) -> Html:
    """Return the top of the page."""
    return element(
        "header",
        element("h1", "Find pictures by what happens in them"),
        element("p", about, " · ", Html('<a href="openapi.json">API</a>')),
    )
