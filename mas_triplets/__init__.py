"""mas-triplets: learn <subject, predicate, object> facts without forgetting, and find pictures by them.

The public names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mas_triplets.data.prepared import PreparedDataset
    from mas_triplets.errors import UserError
    from mas_triplets.evaluation.run import evaluate
    from mas_triplets.facts import Fact
    from mas_triplets.model.triplet import TripletModel
    from mas_triplets.retrieval.index import FactIndex
    from mas_triplets.training.run import train

    __version__: str

_HOMES = {
    "Fact": "mas_triplets.facts",
    "FactIndex": "mas_triplets.retrieval.index",
    "PreparedDataset": "mas_triplets.data.prepared",
    "TripletModel": "mas_triplets.model.triplet",
    "UserError": "mas_triplets.errors",
    "evaluate": "mas_triplets.evaluation.run",
    "train": "mas_triplets.training.run",
}

__all__ = [
    "Fact",
    "FactIndex",
    "PreparedDataset",
    "TripletModel",
    "UserError",
    "__version__",
    "evaluate",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("mas-triplets")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mas_triplets' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
