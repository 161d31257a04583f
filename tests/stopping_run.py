"""The command line in one of two processes, where the second is asked to stop in the middle of an epoch."""

from __future__ import annotations

import os
import signal

from mas_triplets.__main__ import main
from mas_triplets.training.session import Session

due = Session._due


def stops(self: Session) -> bool:
    """Send this process the signal, then answer."""
    if (self.state.stage, self.state.step) == (2, 2) and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGTERM)
    return due(self)


setattr(Session, "_due", stops)  # noqa: B010 - a type checker takes an assignment for a mistake
if __name__ == "__main__":
    main()
