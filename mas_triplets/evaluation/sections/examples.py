"""Example retrievals: pictures with a title and a caption, such as contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image

from mas_triplets.evaluation import html
from mas_triplets.evaluation.html import Html, element


class Example(NamedTuple):
    """A picture to show in a report, such as a contact sheet of what a query found."""

    title: str
    picture: Image.Image
    caption: str


def example_section(examples: Sequence[Example]) -> Html | None:
    """Show the examples one below the other; None if there are none."""
    if not examples:
        return None
    return html.join(
        element("figure", element("h3", title), html.picture(image, title), element("figcaption", caption))
        for title, image, caption in examples
    )
