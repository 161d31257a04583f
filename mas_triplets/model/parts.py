"""The parts of a model that may learn at rates of their own."""

from __future__ import annotations

from mas_triplets.model.triplet import TripletModel


def parameters_by_part(model: TripletModel) -> dict[str, list[str]]:
    """Return the names of the parameters of `encoder`, `trunk` and `heads`, in the model's order."""
    parts: dict[str, list[str]] = {"encoder": [], "trunk": [], "heads": []}
    for name, _ in model.named_parameters():
        parts[name.partition(".")[0]].append(name)
    return parts
