"""Memory Aware Synapses (Aljundi et al., ECCV 2018)."""

from __future__ import annotations

from torch import Tensor, nn

from mas_triplets.lifelong.importance import estimate_importance
from mas_triplets.lifelong.quadratic import QuadraticStrategy
from mas_triplets.lifelong.strategy import Batches


class MemoryAwareSynapses(QuadraticStrategy):
    """Omega_p = 1/N sum_n |d ||F(x_n)||^2 / d theta_p| over the task's training pictures (Eq. 3); no label is used.

    In several processes each is given its own samples, rank::processes of all; the sums are combined.
    """

    name = "mas"

    def measure(self, model: nn.Module, batches: Batches) -> dict[str, Tensor]:
        """Estimate the importance on the task's pictures, the first `max_samples` of all processes together."""
        most = share_of(self.config.max_samples, self.rank, self.processes)
        return estimate_importance(
            model,
            batches() if most != 0 else (),
            statistic=self.config.statistic,
            mode=self.config.mode,
            max_samples=most or None,
            combine=self.combine,
        )


def share_of(count: int | None, rank: int, processes: int) -> int | None:
    """Return how many of the first `count` samples are among the samples rank::processes; None (all) stays None.

    Example: of 5 samples in 3 processes rank 0 has 0 and 3, rank 1 has 1 and 4, rank 2 has 2 alone: 2, 2, 1.
    """
    return None if count is None else (count - rank + processes - 1) // processes
