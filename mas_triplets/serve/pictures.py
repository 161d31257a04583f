"""Pictures of the index as a browser shows them: asked for by row, drawn anew as JPEG with the box that was found.

A file is never sent as it is. So only what Pillow can decode leaves this machine, at a bounded size and without what
cameras write into their files, and a link in the place of a picture gives nothing else away.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from pathlib import Path
from threading import Lock

from PIL import ImageFont

from mas_triplets.data.images import read_picture
from mas_triplets.data.sheet import Box, framed
from mas_triplets.retrieval.index import FactIndex
from mas_triplets.serve.limits import THUMBNAIL

_QUALITY = 88
_KEPT = 16 * 2**20  # bytes of small pictures that are remembered


class Pictures:
    """Draws pictures of an index; small ones are remembered, up to 16 MiB of them. Safe from several threads."""

    def __init__(self, index: FactIndex) -> None:
        self._images, self._boxes = index.rows["image"], index.rows["box"]
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    def thumbnail(self, row: int) -> bytes:
        """Return the JPEG of a row, at most `THUMBNAIL` pixels a side, with its box.

        Raises:
            UserError: the picture is gone or damaged.
        """
        with self._lock:
            if row in self._kept:
                self._kept.move_to_end(row)
                return self._kept[row]
        data = self.jpeg(row, THUMBNAIL, boxed=True)
        with self._lock:
            if row not in self._kept:
                self._kept[row] = data
                self._size += len(data)
            while self._size > _KEPT:
                self._size -= len(self._kept.popitem(last=False)[1])
        return data

    def jpeg(self, row: int, side: int, *, boxed: bool) -> bytes:
        """Return the JPEG of a row, scaled to fit a square of `side` pixels, with its box drawn or not.

        Raises:
            UserError: the picture is gone or damaged.
        """
        picture = read_picture(Path(self._images[row].as_py()))
        box = self._boxes[row].as_py()
        boxes = [Box(tuple(box))] if boxed and box is not None else []
        font = ImageFont.load_default(max(12, side // 40))
        shown = framed(picture, boxes, side, font=font, thick=max(3, side // 160))
        buffer = io.BytesIO()
        shown.save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
        return buffer.getvalue()
