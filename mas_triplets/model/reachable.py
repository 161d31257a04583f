"""Whether a server can be reached, asked once and quickly: downloads themselves try for minutes."""

from __future__ import annotations

import urllib.error
import urllib.request

_SECONDS = 5.0


def reachable(url: str) -> bool:
    """Return whether anything answers at `url` within some seconds; proxies that are set are used."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_SECONDS).close()
    except urllib.error.HTTPError:  # an answer, if not the one that was hoped for
        return True
    except OSError:
        return False
    return True
