"""What every part of a configuration is made of: frozen, without unknown keys, finite numbers only."""

from __future__ import annotations

from datetime import date
from pathlib import PurePath
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


def _as_text(value: Any) -> Any:
    """Return a path, a number or a date as the text it is read from: YAML takes the name 2024 for a number."""
    return str(value) if isinstance(value, int | date | PurePath) and not isinstance(value, bool) else value


Name = Annotated[str, BeforeValidator(_as_text)]


class Node(BaseModel):
    """A part of a configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
