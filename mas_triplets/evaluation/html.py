"""The page that reports are written on: one HTML file with its style inside, no script, nothing to load.

Text becomes HTML in one place, `shown`: whatever is not already `Html` is escaped.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

from PIL import Image

from mas_triplets.errors import UserError
from mas_triplets.files import write_text

_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


class Html(str):
    """Text that is HTML already, and safe."""

    __slots__ = ()


Content: TypeAlias = Html | str | float | None
"""What a cell or a paragraph may hold; None is shown as a dash."""


def shown(value: Content) -> Html:
    """Return `value` as HTML: text escaped, numbers with three decimals (whole ones with none), None as a dash.

    >>> shown("<person, ride>"), shown(0.51251), shown(-0.0001), shown(1200)
    ('&lt;person, ride&gt;', '0.513', '0.000', '1,200')
    """
    if isinstance(value, Html):
        return value
    if value is None:
        return Html('<span class="none">–</span>')
    if isinstance(value, int):
        return Html(f"{value:,}")
    if isinstance(value, float):
        text = f"{value:.3f}"
        return Html("0.000" if text == "-0.000" else text)
    return Html(html.escape(value))


def element(tag: str, *contents: Content, **attributes: str) -> Html:
    """Return `<tag attributes>contents</tag>`; write `class_` for class, `aria_label` for aria-label.

    >>> element("b", "a < b", class_="best")
    '<b class="best">a &lt; b</b>'
    """
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for name, value in attributes.items()
    )
    return Html(f"<{tag}{given}>{join(contents)}</{tag}>")


def join(contents: Iterable[Content], between: str = "") -> Html:
    """Return the contents one after another; `between` is HTML."""
    return Html(between.join(shown(content) for content in contents))


def section(title: str, *contents: Content, anchor: str) -> Html:
    """Return a part of the page with its heading, which the page's list of contents can point to."""
    return element("section", element("h2", title), *contents, id=anchor)


def details(title: Content, *contents: Content, opened: bool = False) -> Html:
    """Return something to fold out."""
    tag = "details open" if opened else "details"
    return Html(f"<{tag}>{element('summary', title)}{join(contents)}</details>")


def table(
    head: Sequence[Content],
    bodies: Sequence[Sequence[Sequence[Content]]],
    *,
    caption: Content = None,
    text_columns: int = 1,
) -> Html:
    """Return a table that scrolls sideways on a narrow screen; a line is drawn between its bodies.

    Args:
        head: the names of the columns.
        bodies: groups of rows of cells.
        caption: a sentence above it.
        text_columns: how many of the first columns hold text; the others are aligned as numbers.
    """

    def row(cells: Sequence[Content], tag: str) -> Html:
        made = []
        for number, cell in enumerate(cells):
            kind = "th" if number == 0 else tag
            scope = {"th": {"scope": "col" if tag == "th" else "row"}, "td": {}}[kind]
            made.append(element(kind, cell, **scope, **({} if number < text_columns else {"class_": "n"})))
        return element("tr", *made)

    top = element("thead", row(head, "th"))
    rest = [element("tbody", *(row(cells, "td") for cells in rows)) for rows in bodies]
    above = () if caption is None else (element("caption", caption),)
    return element("div", element("table", *above, top, *rest), class_="scroll", tabindex="0")


def terms(pairs: Iterable[tuple[Content, Content]], *, kind: str = "terms") -> Html:
    """Return a list of names and what each is."""
    return element("dl", *(element("div", element("dt", a), element("dd", b)) for a, b in pairs), class_=kind)


def figure(svg: Html, caption: Content = None) -> Html:
    """Return a drawing with its caption."""
    return element("figure", svg, *(() if caption is None else (element("figcaption", caption),)))


def grid(*contents: Content, kind: str = "grid") -> Html:
    """Return the contents beside each other where there is room."""
    return element("div", *contents, class_=kind)


def picture(image: Image.Image, description: str) -> Html:
    """Return a picture inside the page: as PNG or JPEG, whichever is smaller."""
    image = image.convert("RGB")
    png, jpeg = io.BytesIO(), io.BytesIO()
    image.save(png, "PNG", optimize=True)
    image.save(jpeg, "JPEG", quality=90, subsampling=0)  # optimize=True fails where a byte a pixel does not do: noise
    kind, data = min((("png", png.getvalue()), ("jpeg", jpeg.getvalue())), key=lambda pair: len(pair[1]))
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    size = f'width="{image.width}" height="{image.height}"'
    return Html(f'<img src="{source}" {size} alt="{html.escape(description)}">')


def page(title: str, subtitle: Content, links: Sequence[tuple[str, str]], *contents: Content, style: str = "") -> str:
    """Return the whole page; `links` are (anchor, name) of its sections, `style` is this page's own beside the usual.

    The content security policy makes the browser refuse to load anything.
    """
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}{style}</style>"
    )
    menu = [element("nav", *(element("a", name, href=f"#{anchor}") for anchor, name in links), aria_label="Contents")]
    top = element("header", element("h1", title), element("p", subtitle, class_="subtitle"), *(menu if links else []))
    body = element("body", top, element("main", *contents))
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n{body}</html>\n'


def write_page(out: Path, text: str) -> None:
    """Write the page, whole or not at all.

    Raises:
        UserError: `out` is a folder, or cannot be written.
    """
    if out.is_dir():
        raise UserError(f"{out} is a folder: give the name of the HTML file to write, such as {out / 'report.html'}")
    try:
        write_text(out, text)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}; choose another place for the report") from None


_STYLE = """
:root{--ink:#1b1f24;--soft:#57606a;--line:#d8dee4;--pale:#f6f8fa;--blue:#0b4f95}
*{box-sizing:border-box}
html{color-scheme:light;-webkit-text-size-adjust:100%}
body{margin:0 auto;padding:2.2rem 1.4rem 4rem;max-width:76rem;background:#fff;color:var(--ink);
font:16px/1.55 FONTS}
h1{margin:0;font-size:clamp(1.5rem,4.5vw,2.15rem);line-height:1.2;letter-spacing:-.015em;overflow-wrap:anywhere}
h2{margin:3rem 0 .7rem;padding-top:.9rem;border-top:2px solid var(--ink);font-size:1.28rem;line-height:1.3}
h3{margin:1.8rem 0 .3rem;font-size:1.02rem}
p{max-width:46rem;margin:.5rem 0}
a{color:var(--blue);text-underline-offset:.18em}
th a,td a,dt a{color:inherit;text-decoration:underline dotted}
code,pre{font:.86em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{overflow-x:auto;padding:1rem;background:var(--pale);border:1px solid var(--line);border-radius:.5rem}
.subtitle{margin:.4rem 0 0;color:var(--soft);font-size:1.04rem;overflow-wrap:anywhere}
nav{display:flex;flex-wrap:wrap;gap:.15rem 1.2rem;margin:1rem 0 0;font-size:.92rem}
.note{margin:1rem 0;padding:.7rem 1rem;border:1px solid var(--ink);border-left-width:6px;border-radius:.3rem}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,16rem),1fr));gap:1rem;margin:1.6rem 0}
.card{padding:1rem 1.2rem 1.1rem;border:1px solid var(--line);border-radius:.7rem;background:var(--pale)}
.card .name{font-weight:650}
.card .value{display:block;margin:.1rem 0 .35rem;font-size:2.5rem;font-weight:680;line-height:1.15;
letter-spacing:-.02em;font-variant-numeric:tabular-nums}
.card p{margin:0;color:var(--soft);font-size:.88rem;line-height:1.45}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,13rem),1fr));gap:.7rem 1.6rem;margin:1rem 0}
.facts dt{color:var(--soft);font-size:.82rem}
.facts dd{margin:0;overflow-wrap:anywhere}
.terms{margin:.6rem 0}
.terms div{display:grid;grid-template-columns:minmax(8.5rem,12rem) 1fr;gap:.2rem 1.2rem;padding:.45rem 0;
border-bottom:1px solid var(--line)}
.terms dt{font-weight:650;overflow-wrap:anywhere}
.terms dd{margin:0;max-width:46rem}
.scroll{overflow-x:auto;margin:.9rem 0;max-width:100%;
background:linear-gradient(to left,#fff 45%,#fff0) right/2.6rem 100% no-repeat local,
linear-gradient(to left,#1b1f2438,#1b1f2400) right/.9rem 100% no-repeat scroll}
.scroll:focus-visible{outline:2px solid var(--blue)}
table{border-collapse:collapse;font-size:.92rem;line-height:1.4;font-variant-numeric:tabular-nums}
caption{padding:0 0 .5rem;text-align:left;color:var(--soft);max-width:46rem}
th,td{padding:.36rem .85rem;text-align:left;white-space:nowrap;font-weight:400}
th:first-child{position:sticky;left:0;background:#fff;padding-left:0;max-width:60vw;white-space:normal;min-width:2.4rem}
thead th,thead th:first-child{border-bottom:2px solid var(--ink);font-weight:650;vertical-align:bottom}
tbody tr+tr>*{border-top:1px solid var(--line)}
tbody+tbody tr:first-child>*{border-top:1px solid var(--ink)}
.n{text-align:right}
.none,.spread{color:var(--soft)}
.spread{font-size:.86em}
.whole{white-space:nowrap}
.caption{margin:.9rem 0 -.3rem;color:var(--soft);font-size:.92rem;line-height:1.4;max-width:46rem}
.best{font-weight:760;text-decoration:underline;text-decoration-thickness:2px;text-underline-offset:.22em}
.tag{display:inline-block;margin-left:.45rem;padding:0 .45rem;border:1px solid var(--soft);border-radius:1rem;
color:var(--soft);font-size:.76rem;line-height:1.5;white-space:nowrap}
.meter{display:inline-block;width:min(16rem,34vw);height:.8rem;vertical-align:-.06rem;
border-bottom:1px solid var(--line)}
.meter span{display:block;height:100%;background:var(--blue);print-color-adjust:exact;-webkit-print-color-adjust:exact}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,27rem),1fr));gap:1.2rem 2.2rem;
align-items:start}
.small{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,15.5rem),1fr));gap:1.2rem 1.6rem;
align-items:start}
figure{margin:.8rem 0;min-width:0}
figure svg{display:block;width:100%;height:auto;max-width:40rem}
figure img{display:block;max-width:100%;height:auto;border:1px solid var(--line);border-radius:.4rem}
figcaption{margin-top:.35rem;color:var(--soft);font-size:.87rem;line-height:1.45;max-width:46rem}
details{margin:.7rem 0;border-top:1px solid var(--line);border-bottom:1px solid var(--line);padding:.1rem 0}
details+details{border-top:0;margin-top:-.7rem}
summary{padding:.45rem 0;cursor:pointer;font-weight:600}
footer{margin-top:3rem;padding-top:1rem;border-top:1px solid var(--line);color:var(--soft);font-size:.85rem}
@media(max-width:34rem){body{padding:1.2rem 1rem 3rem}.facts{grid-template-columns:1fr 1fr}
.small figure{max-width:19rem}.terms div{grid-template-columns:1fr}th,td{padding:.34rem .6rem}
.card .value{font-size:2.1rem}}
@media print{body{max-width:none;padding:0;font-size:11pt}nav{display:none}
figure,.card,tr{break-inside:avoid}.scroll{overflow:visible}}
""".replace("FONTS", _FONTS)
