"""Being asked to stop: by Ctrl-C, or by a system that ends the process."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """Notes SIGINT and SIGTERM.

    Attributes:
        patient: while true the first signal is only noted, since whoever works will look soon; a second one, or any
            while false, raises KeyboardInterrupt at once.
        asked: whether a signal has been noted.
    """

    def __init__(self) -> None:
        self.patient = False
        self.asked = False

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.patient and not self.asked:
            self.asked = True
            return
        raise KeyboardInterrupt

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen inside the `with`; only the main thread can, in another nothing is changed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._arrived) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
