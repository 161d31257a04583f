"""Who is told how far work is, and remembers what was said."""

from __future__ import annotations

from mas_triplets.progress import Silent


class Notes(Silent):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)
