"""A lower learning rate after the first task: the cheapest way to change less, and hard to beat."""

from __future__ import annotations

from mas_triplets.lifelong.strategy import Strategy


class Slow(Strategy):
    """Learns the first task as it is told, and the later ones with `slowing` times the learning rate."""

    name = "slow"
    tuned = {"lifelong.slowing": (0.01, 0.03, 0.1, 0.2, 0.4, 0.7)}  # noqa: RUF012
    reads = ("slowing",)
    needs_boundaries = True

    def rate_factor(self, task: int) -> float:
        """Return 1 for the first task, `slowing` for the others."""
        return 1.0 if task == 1 else self.config.slowing
