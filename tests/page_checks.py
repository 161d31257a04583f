"""What tests read out of a page, and what holds for every page."""

from __future__ import annotations

import re


def cells(page: str, *row: str) -> list[list[str]]:
    """Return the plain text of the cells of every table row that begins with `row`."""
    rows = re.findall(r"<tr>(.*?)</tr>", page)
    texts = [[re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", one)] for one in rows]
    return [text for text in texts if tuple(text[: len(row)]) == row]


def assert_self_contained(page: str) -> None:
    """Nothing is loaded: no link but to anchors of the page, no source but data, no script, no style from elsewhere."""
    assert not re.search(r"<(script|link|iframe|object|embed|base)\b", page)
    links = re.findall(r'\b(?:src|href)="([^"]+)"', page)
    assert all(link.startswith(("#", "data:")) for link in links)
    assert set(re.findall(r"url\((.)", page)) <= {"#"}
    assert "@import" not in page
    assert "http://" not in page
    assert "https://" not in page
    targets = set(re.findall(r' id="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page) + re.findall(r"url\(#([^)]+)\)", page)) <= targets
