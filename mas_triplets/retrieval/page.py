"""An answer as a page: one HTML file with its pictures inside, to be sent to somebody or looked at on a phone."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from mas_triplets.data.boxes import Box
from mas_triplets.data.images import read_picture
from mas_triplets.errors import UserError
from mas_triplets.evaluation.html import Html, details, element, grid, join, page, picture, shown, table, write_page
from mas_triplets.facts import SLOTS
from mas_triplets.retrieval.compound import CompoundHit
from mas_triplets.retrieval.hits import FactHit, Hit
from mas_triplets.retrieval.index import FactIndex

_SIDE = 480  # pixels of a picture's longer side: sharp on a phone, small in a mail
_FULL = 4.0  # standard deviations that fill a bar
_SCORES = {
    "cosine": "mean cosine over the slots asked for, -1 to 1",
    "euclidean": "minus the sum of squared distances over the slots asked for, at most 0",
}
_COMPOUND = (
    "how many standard deviations above the mean of the index: the least of the facts joined with and, the most \
of those joined with or, minus those with not"
)


def write_hits_page(hits: Sequence[Hit], title: str, index: FactIndex, out: Path, asked: Path | None = None) -> None:
    """Write the pictures found, with boxes, scores and their parts, as one HTML file.

    Args:
        hits: the answer.
        title: what was asked for.
        index: where it was found.
        out: the file, which should end in .html.
        asked: a photograph that is shown first, for an answer to `--similar`.

    Raises:
        UserError: `out` is no HTML file or cannot be written.
    """
    several = any(isinstance(hit, CompoundHit) for hit in hits)
    meaning = _COMPOUND if several else _SCORES[index.record.score]
    told = f"The best {len(hits):,} of {len(index):,} {_rows(index)} in {index.path.name}. Score: {meaning}."
    cards = grid(*(_card(hit, bars=index.record.score == "cosine" or several) for hit in hits), kind="hits")
    above = [] if asked is None else [_asked(asked)]
    _write(out, page(title[:1].upper() + title[1:], told, [], *above, cards, style=_STYLE))


def write_facts_page(found: Mapping[int, Sequence[FactHit]], photo: Path, index: FactIndex, out: Path) -> None:
    """Write what a photograph shows, a table for each order of facts, as one HTML file.

    Raises:
        UserError: `out` is no HTML file or cannot be written, or the photograph cannot be read.
    """
    tables = [
        table(
            ["fact", "score", *SLOTS[:order]],
            [[[str(hit.fact), hit.score, *hit.slots.values()] for hit in hits]],
            caption=f"facts of order {order}",
        )
        for order, hits in found.items()
        if hits
    ]
    told = f"The facts that hold in it most, by {index.path.name}. Score: {_SCORES[index.record.score]}."
    _write(out, page(photo.name, told, [], _asked(photo), *tables, style=_STYLE))


def _write(out: Path, text: str) -> None:
    if out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--html {out}: the name should end in .html")
    write_page(out, text)


def _rows(index: FactIndex) -> str:
    return "pictures" if index.record.pictures.region == "image" else "rows (boxes and pictures)"


def _card(hit: Hit, *, bars: bool) -> Html:
    name = Path(hit.image).name
    top = element(
        "div",
        element("span", f"{hit.rank}", class_="rank"),
        element("span", hit.score, class_="score"),
        class_="top",
    )
    compound = isinstance(hit, CompoundHit)
    parts = hit.facts if isinstance(hit, CompoundHit) else hit.slots
    lines = [_part(name, value, value / _FULL if compound else value, bars=bars) for name, value in parts.items()]
    place = details(element("span", name, class_="name"), element("p", hit.image), *_box_line(hit.box))
    return element("article", _shot(hit), top, element("dl", *lines, class_="parts"), place, class_="hit")


def _part(name: str, value: float, share: float, *, bars: bool) -> Html:
    width = f"{100 * min(1.0, max(0.0, share)):.0f}%"
    bar = Html(f'<span class="bar"><span style="width:{width}"></span></span>') if bars else Html("")
    return element("div", element("dt", name), element("dd", bar, element("span", value, class_="number")))


def _box_line(box: Box | None) -> list[Html]:
    return [] if box is None else [element("p", f"box {' '.join(f'{value:g}' for value in box)}")]


def _shot(hit: Hit) -> Html:
    """Return the picture with its box drawn over it; one that cannot be read says so."""
    try:
        image = read_picture(Path(hit.image))
    except UserError:
        return element("div", element("p", "cannot be read any more"), class_="shot lost")
    return element("div", _small(image, Path(hit.image).name), _outline(image.size, hit.box), class_="shot")


def _asked(photo: Path) -> Html:
    image = read_picture(photo)
    return element(
        "div",
        element("div", _small(image, photo.name), class_="shot"),
        element("p", "what was asked about"),
        class_="asked",
    )


def _small(image: Image.Image, description: str) -> Html:
    image.thumbnail((_SIDE, _SIDE))
    return picture(image, description)


def _outline(size: tuple[int, int], box: Box | None) -> Html:
    if box is None:
        return Html("")
    x1, y1, x2, y2 = box
    place = f'x="{x1:g}" y="{y1:g}" width="{max(1.0, x2 - x1):g}" height="{max(1.0, y2 - y1):g}"'
    drawn = join(Html(f'<rect class="{kind}" {place}/>') for kind in ("under", "over"))
    view = html.escape(f"0 0 {size[0]} {size[1]}")
    return Html(f'<svg viewBox="{view}" aria-hidden="true">{shown(drawn)}</svg>')


_STYLE = """
.hits{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,15.5rem),1fr));gap:1.3rem;margin:1.6rem 0;
align-items:start}
.hit{border:1px solid var(--line);border-radius:.7rem;overflow:hidden;background:#fff;
box-shadow:0 1px 2px #1b1f2414}
.shot{position:relative;aspect-ratio:4/3;background:var(--pale);display:grid;place-items:center}
.shot img,.shot svg{position:absolute;inset:0;width:100%;height:100%}
.shot img{object-fit:contain}
.shot rect{fill:none;vector-effect:non-scaling-stroke}
.shot .under{stroke:#fffc;stroke-width:5}
.shot .over{stroke:#c62828;stroke-width:2.5}
.lost{color:var(--soft)}
.top{display:flex;justify-content:space-between;align-items:baseline;padding:.6rem .9rem 0}
.rank{color:var(--soft);font-size:.9rem}
.rank::before{content:"No. "}
.score{font-size:1.35rem;font-weight:680;font-variant-numeric:tabular-nums}
.parts{margin:.2rem 0 .5rem;padding:0 .9rem}
.parts div{display:grid;grid-template-columns:1fr auto;gap:.6rem;align-items:center;font-size:.84rem;line-height:1.6}
.parts dt{color:var(--soft);overflow-wrap:anywhere}
.parts dd{margin:0;display:flex;align-items:center;gap:.55rem}
.bar{width:3.8rem;height:.4rem;border-radius:.2rem;background:var(--line);overflow:hidden}
.bar span{display:block;height:100%;background:var(--blue)}
.number{min-width:3.2em;text-align:right;font-variant-numeric:tabular-nums}
.hit details{margin:0;border-bottom:0;padding:0 .9rem}
.hit summary{font-weight:400;font-size:.84rem;color:var(--soft);overflow-wrap:anywhere}
.hit details p{margin:0 0 .5rem;font-size:.78rem;overflow-wrap:anywhere;color:var(--soft)}
.asked{width:min(100%,20rem);margin:1.4rem 0 0}
.asked .shot{border-radius:.7rem;overflow:hidden;border:1px solid var(--ink)}
.asked p{margin:.3rem 0 0;color:var(--soft);font-size:.88rem}
"""
