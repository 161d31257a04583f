"""The rendered scenes: pictures made on the spot, so that everything can be tried without any download."""

from __future__ import annotations
