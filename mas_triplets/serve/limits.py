"""What a client may ask for: every number that keeps a request small, in one place."""

from __future__ import annotations

from typing import Final

UPLOAD_BYTES: Final = 20 * 2**20
"""Of a picture that is sent."""

UPLOAD_PIXELS: Final = 50_000_000
"""Width times height of a picture that is sent; told by its header, before anything is decoded."""

UPLOAD_SECONDS: Final = 60
"""In which a picture has to arrive."""

UPLOADS: Final = 4
"""Pictures that are received at once; further ones wait."""

FORM_BYTES: Final = 64 * 2**10
"""Of anything else that is sent."""

ANSWERS: Final = 200
"""Pictures, or facts of an order, in one answer."""

FACT_LENGTH: Final = 300
"""Characters of a fact."""

WAITING: Final = 256
"""Questions that wait for the index; the next one is told to come again."""

SIDE: Final = 1600
"""Largest side of a picture as it is shown, in pixels."""

THUMBNAIL: Final = 320
"""Side of a small picture, in pixels."""
